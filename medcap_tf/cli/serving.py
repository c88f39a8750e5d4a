"""The commands around TensorFlow Serving: `export.py`, the client of a running server, and the web page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from medcap_tf.cli import options
from medcap_tf.errors import InputError


def add_commands(commands: Any) -> None:
    """`export`, `client` and `demo`."""
    _add_export(commands)
    _add_client(commands)
    _add_demo(commands)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="export a run for TensorFlow Serving",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Export a run for TensorFlow Serving, check it through the server's own loader, and write the\n"
        "server's configuration beside it. The last line printed starts a server.",
        epilog=f"example:\n  medcap export runs/first --out served/medcap\n\n{options.RESEARCH}",
    )
    parser.add_argument("model", type=Path, metavar="RUN", help="the run folder that train.py wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="BASE", help="the model's folder; versions go in it")
    parser.add_argument(
        "--version", type=options.positive, metavar="N", help="default: one more than the highest there is"
    )
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help="ResNet50 layers that `activations` shows")
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "bfloat16", "float16"),
        help="of the visual encoder; the search stays in float32 (default: %(default)s)",
    )  # fmt: skip
    options.add_decoding(parser)
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> None:
    """Write the version; the last line printed starts a server."""
    from medcap_tf.serving.export import export as write_export

    done = write_export(
        args.model,
        args.out,
        version=args.version,
        settings=options.decoding(args),
        layers=args.layers,
        precision=args.precision,
    )
    if done.compared:
        print(f"{args.precision}: {done.equal} of {done.compared} validation captions as the run generates them")
    print(done.folder)
    print(done.command)


def exported(args: argparse.Namespace) -> Any:
    """The captioner of an export folder; None where the folder is none."""
    from medcap_tf.serving.files import find_version

    folder = find_version(args.model)
    if folder is None:
        return None
    from medcap_tf.serving.export_captioner import ExportCaptioner

    return ExportCaptioner(folder, options.decoding(args))


def saved_graph(args: argparse.Namespace) -> Any:
    """The captioner of a run whose graph is saved; None where it is not, or for other decoding than the run's own."""
    from medcap_tf.run_folder import RunFolder
    from medcap_tf.serving.run_graph import RunGraph

    return RunGraph.find(RunFolder(args.model), options.decoding(args))


def _add_client(commands: Any) -> None:
    parser = commands.add_parser("client", help="caption images by a running TensorFlow Serving")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--url", required=True, help="http://HOST:8501 or grpc://HOST:8500")
    parser.add_argument(
        "--name", "--model", default="medcap", help="the model's name on the server (default: %(default)s)"
    )
    parser.add_argument("--explain", action="store_true", help="pictures of where it looked for each word, too")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the pictures go")
    parser.add_argument("--json", action="store_true", help="an object a line; with --explain also its words' regions")
    parser.add_argument(
        "--batch-size", type=options.positive, default=8, metavar="B", help="images a request (default: 8)"
    )
    parser.add_argument("--timeout", default=60, metavar="S", help="seconds for one answer (default: 60)")
    parser.set_defaults(run=_client)


def _client(args: argparse.Namespace) -> None:
    """A line an image: path, caption, score; with `--explain` a picture each, from the server's answer alone."""
    if args.explain and not args.out:
        raise InputError("--explain draws pictures: say where they go with --out DIR")
    if args.out and args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out {args.out}: is a file; give a folder")
    from medcap_tf.data.folders import find_files
    from medcap_tf.serving.client import connect, in_batches
    from medcap_tf.serving.request import Options
    from medcap_tf.serving.upload import try_read

    server = connect(args.url, Options(args.name, args.timeout))
    paths = find_files(args.images)
    signature = "explain" if args.explain else "serving_default"
    failed = 0
    for path, row in zip(paths, in_batches(server, signature, map(try_read, paths), args.batch_size)):
        if isinstance(row, InputError) or not row["valid"]:
            failed += 1
            _print_failure(path, row, args.json)
            continue
        _print_row(path, row, args.json)
        if args.explain and row["length"]:
            print(_draw(path, row, args.out))
    if failed:
        raise InputError(f"{failed} of {len(paths)} images could not be read")


def _print_failure(path: Path, row: Mapping[str, Any] | InputError, as_json: bool) -> None:
    from medcap_tf.serving.upload import REFUSED

    reason = row if isinstance(row, InputError) else f"{path}: {REFUSED}"
    print(f"error: {reason}" if str(path) in str(reason) else f"error: {path}: {reason}", file=sys.stderr)
    if as_json:
        _print_json(path, {"caption": "", "stems": "", "score": 0.0, "length": 0, "valid": False})


def _print_row(path: Path, row: Mapping[str, Any], as_json: bool) -> None:
    texts = {name: row[name].decode(errors="replace") for name in ("caption", "stems")}
    score = float(row["score"])
    trust = {name: float(row[name]) for name in ("confidence", "novelty") if name in row}
    if as_json:
        length = int(row["length"])
        _print_json(path, {**texts, "score": score, **trust, "length": length, "valid": True, **_regions(row, length)})
    else:
        columns = options.trust_columns(trust.get("confidence"), trust.get("novelty"))
        print("\t".join([str(path), texts["caption"], f"{score:.4f}", *columns]))


def _regions(row: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Boxes and positions of each word's map, where the answer has maps."""
    if "attention" not in row or not length:
        return {}
    from medcap_tf.explain.regions import word_regions

    return {"regions": word_regions(row.get("evidence", row["attention"])[:length])}


def _print_json(path: Path, values: Mapping[str, Any]) -> None:
    print(json.dumps({"path": str(path), **values}, ensure_ascii=False))


def _draw(path: Path, row: Mapping[str, Any], folder: Path) -> Path:
    """The answer's maps that say most, over the image; raises InputError where the file is of a kind that cannot be
    drawn."""
    from medcap_tf.data.images import read_image
    from medcap_tf.explain.explanation import from_caption
    from medcap_tf.explain.figures import WORD_MAPS, words_figure
    from medcap_tf.explain.pictures import file_name
    from medcap_tf.explain.plate import save
    from medcap_tf.serving.answers import to_caption

    explanation = from_caption(to_caption(path, row, threshold=0.0), read_image(path))
    folder.mkdir(parents=True, exist_ok=True)
    kind, maps = next(iter(explanation.word_maps().items()))
    picture = folder / f"{file_name(path)}.{kind}.png"
    save(partial(words_figure, explanation, maps, *WORD_MAPS[kind]), picture, dpi=110)
    return picture


def _add_demo(commands: Any) -> None:
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
    parser.add_argument("--port", type=options.port, metavar="N", help="default: 7860 or the next that is free")
    parser.add_argument(
        "--max-megabytes", type=options.positive, default=20, metavar="M", help="largest file (default: 20)"
    )
    parser.set_defaults(run=_demo, beam_width=None, max_length=None, neighbors=None, no_repeat_ngram=None)


def _demo(args: argparse.Namespace) -> None:
    """Show the page until interrupted."""
    from medcap_tf.webpage import Address, serve

    address = Address(args.host, args.port, args.max_megabytes)
    if args.url:
        from medcap_tf.serving.client import connect
        from medcap_tf.serving.remote_captioner import RemoteCaptioner
        from medcap_tf.serving.request import Options

        remote = connect(args.url, Options(args.name, args.timeout))
        serve(RemoteCaptioner(remote, args.concept_threshold), address)
    elif export := exported(args):
        serve(export, address)
    else:
        from medcap_tf.explain.explainer import Explainer

        captioner = options.load(args)
        # A run can say more than its answer holds: Grad-CAM, what each word gave to each concept.
        explainer = Explainer(captioner)
        serve(captioner, address, lambda caption, image: explainer.explain(caption))
