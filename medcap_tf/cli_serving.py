"""The commands around TensorFlow Serving: `export.py`, the client of a running server, and the web page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from medcap_tf import cli_options
from medcap_tf.errors import InputError


def add_export(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export.py`."""
    parser.add_argument("model", type=Path, metavar="RUN", help="the run folder that train.py wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="BASE", help="the model's folder; versions go in it")
    parser.add_argument(
        "--version", type=cli_options.positive, metavar="N", help="default: one more than the highest there is"
    )
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help="ResNet50 layers that `activations` shows")
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "bfloat16", "float16"),
        help="of the visual encoder; the search stays in float32 (default: %(default)s)",
    )  # fmt: skip


def export(chosen: argparse.Namespace) -> None:
    """Write the version; the last line printed starts a server."""
    from medcap_tf.serving.export import export as write_export

    done = write_export(
        chosen.model,
        chosen.out,
        version=chosen.version,
        settings=cli_options.decoding(chosen),
        layers=chosen.layers,
        precision=chosen.precision,
    )
    if done.compared:
        print(f"{chosen.precision}: {done.equal} of {done.compared} validation captions as the run writes them")
    print(done.folder)
    print(done.command)


def exported(chosen: argparse.Namespace) -> Any:
    """The captioner of an export folder; None where the folder is none."""
    from medcap_tf.serving.files import find_version

    folder = find_version(chosen.model)
    if folder is None:
        return None
    if cli_options.decoding(chosen):
        raise InputError(f"{chosen.model}: an export's decoding options are fixed; export the run again with others")
    from medcap_tf.serving.exported import ExportedCaptioner

    return ExportedCaptioner(folder)


def add_client(commands: Any) -> None:
    """`client`, which asks a running server."""
    parser = commands.add_parser("client", help="caption images by a running TensorFlow Serving")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--url", required=True, help="http://HOST:8501 or grpc://HOST:8500")
    parser.add_argument("--model", default="medcap", help="its name on the server (default: %(default)s)")
    parser.add_argument("--explain", action="store_true", help="pictures of where it looked for each word, too")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the pictures go")
    parser.add_argument("--json", action="store_true", help="an object a line")
    parser.add_argument(
        "--batch-size", type=cli_options.positive, default=8, metavar="B", help="images a request (default: 8)"
    )
    parser.add_argument("--timeout", default=60, metavar="S", help="seconds for one answer (default: 60)")
    parser.set_defaults(run=client)


def client(chosen: argparse.Namespace) -> None:
    """A line an image: path, caption, score; with `--explain` a picture each, from the server's answer alone."""
    if chosen.explain and not chosen.out:
        raise InputError("--explain draws pictures: say where they go with --out DIR")
    if chosen.out and chosen.out.exists() and not chosen.out.is_dir():
        raise InputError(f"--out {chosen.out}: is a file; give a folder")
    from medcap_tf.folders import find_files
    from medcap_tf.serving.client import Options, connect, in_batches
    from medcap_tf.serving.upload import try_read

    server = connect(chosen.url, Options(chosen.model, chosen.timeout))
    paths = find_files(chosen.images)
    signature = "explain" if chosen.explain else "serving_default"
    failed = 0
    for path, row in zip(paths, in_batches(server, signature, map(try_read, paths), chosen.batch_size)):
        if isinstance(row, InputError) or not row["valid"]:
            failed += 1
            _print_failure(path, row, chosen.json)
            continue
        _print_row(path, row, chosen.json)
        if chosen.explain and row["length"]:
            print(_draw(path, row, chosen.out))
    if failed:
        raise InputError(f"{failed} of {len(paths)} images could not be read by the server")


def _print_failure(path: Path, row: Mapping[str, Any] | InputError, as_json: bool) -> None:
    from medcap_tf.serving.upload import REFUSED

    reason = row if isinstance(row, InputError) else f"{path}: {REFUSED}"
    print(f"error: {reason}" if str(path) in str(reason) else f"error: {path}: {reason}", file=sys.stderr)
    if as_json:
        _print_json(path, {"caption": "", "stems": "", "score": 0.0, "length": 0, "valid": False})


def _print_row(path: Path, row: Mapping[str, Any], as_json: bool) -> None:
    texts = {name: row[name].decode(errors="replace") for name in ("caption", "stems")}
    score = float(row["score"])
    if as_json:
        _print_json(path, {**texts, "score": score, "length": int(row["length"]), "valid": True})
    else:
        print(f"{path}\t{texts['caption']}\t{score:.4f}")


def _print_json(path: Path, values: Mapping[str, Any]) -> None:
    print(json.dumps({"path": str(path), **values}, ensure_ascii=False))


def _draw(path: Path, row: Mapping[str, Any], folder: Path) -> Path:
    """The answer's attention over the image; raises InputError where the file is of a kind that cannot be drawn."""
    from medcap_tf.explain.figures import words_figure
    from medcap_tf.explain.pictures import file_name
    from medcap_tf.explain.plate import save
    from medcap_tf.explain.reasons import told
    from medcap_tf.images import read_image
    from medcap_tf.serving.answers import to_caption

    reasons = told(to_caption(path, row, threshold=0.0), read_image(path))
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{file_name(path)}.attention.png"
    titles = ("where it looked", "attention, in shares of an even spread")
    save(partial(words_figure, reasons, reasons.attention, *titles), picture, dpi=110)
    return picture


def add_demo(commands: Any) -> None:
    """`demo`, the web page."""
    parser = commands.add_parser("demo", help="a web page: drop an image in, read its caption and see why")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="a running server: http://HOST:8501 or grpc://HOST:8500")
    source.add_argument("--model", type=Path, metavar="RUN_OR_EXPORT", help="or a model of this machine")
    parser.add_argument("--name", default="medcap", help="with --url: the model's name there (default: %(default)s)")
    parser.add_argument("--timeout", default=20, metavar="S", help="with --url: seconds for one answer")
    parser.add_argument(
        "--concept-threshold", type=float, default=0.5, metavar="P",
        help="with --url: concepts from this score on are shown; an export's own is in signatures.json (default: 0.5)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="the address to answer at (default: this machine alone)")
    parser.add_argument("--port", type=cli_options.positive, metavar="N", help="default: 7860 or the next that is free")
    parser.add_argument(
        "--max-megabytes", type=cli_options.positive, default=20, metavar="M", help="largest file (default: 20)"
    )
    parser.set_defaults(run=_demo, beam_width=None, max_length=None, neighbours=None, no_repeat_ngram=None)


def _demo(chosen: argparse.Namespace) -> None:
    """Show the page until interrupted."""
    from medcap_tf.webpage import Address, serve

    address = Address(chosen.host, chosen.port, chosen.max_megabytes)
    if chosen.url:
        from medcap_tf.serving.client import Options, connect
        from medcap_tf.serving.remote import RemoteCaptioner

        remote = connect(chosen.url, Options(chosen.name, chosen.timeout))
        serve(RemoteCaptioner(remote, chosen.concept_threshold), address)
    elif export := exported(chosen):
        serve(export, address)
    else:
        from medcap_tf.explain.reasons import explain

        captioner = cli_options.load(chosen)
        # A run can say more than its answer holds: Grad-CAM, what each word gave to each concept.
        serve(captioner, address, lambda caption, image: next(explain(captioner, [caption])))
