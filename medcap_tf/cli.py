"""The commands. Results go to stdout, progress to stderr; exit code 0: done, 1: the input is at fault, 2: wrong usage.

TensorFlow is imported by the commands that need it, inside them: `--help` and the data doctor start at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from medcap_tf import __version__, cli_options, cli_scores, cli_serving
from medcap_tf import config as configuration
from medcap_tf.errors import InputError

if TYPE_CHECKING:
    from medcap_tf.explain.references import Pictured

_BEGAN = time.perf_counter()
_RESEARCH = "Software for research, not a medical device."


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """`python -m medcap_tf COMMAND ...`; exits."""
    parser = argparse.ArgumentParser(
        prog="medcap",
        description=f"Captions medical images and shows why. {_RESEARCH} To train: python train.py --help",
    )
    parser.add_argument("--version", action="version", version=f"medcap_tf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_records, _add_phantoms, _add_caption, _add_explain, _add_audit):
        add(commands)
    for add in (cli_scores.add_evaluate, cli_scores.add_score, cli_scores.add_compare, cli_scores.add_submit):
        add(commands)
    cli_serving.add_client(commands)
    cli_serving.add_demo(commands)
    chosen = parser.parse_args(arguments)
    _finish(chosen, chosen.run)


def train(arguments: Sequence[str] | None = None) -> NoReturn:
    """`python train.py ...`; exits."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a captioner on a folder of images and tables, caption its test split and score it.\n\n"
        "Stages: concepts from images (visual.concept_epochs > 0), concepts from words, captions.\n"
        "An interrupted run goes on where it stood when the same command is given --resume.",
        epilog=f"settings, with their defaults:\n{configuration.describe()}\n\n"
        "examples:\n"
        "  python train.py --data DIR --out runs/first\n"
        "  python train.py --data DIR --out runs/scratch --set visual.weights=none visual.concept_epochs=12\n\n"
        f"{_RESEARCH}",
    )
    parser.add_argument("--data", type=Path, required=True, help="the data set; check it with: medcap records DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run folder to write")
    parser.add_argument("--config", type=Path, help="a JSON file of settings, {section: {field: value}}")
    parser.add_argument("--set", nargs="+", default=[], action="extend", metavar="section.field=value", dest="settings")
    parser.add_argument("--resume", action="store_true", help="go on with RUN if it was begun; else begin it")
    cli_options.add_verbose(parser)
    _finish(parser.parse_args(arguments), _train)


def export(arguments: Sequence[str] | None = None) -> NoReturn:
    """`python export.py ...`; exits."""
    parser = argparse.ArgumentParser(
        prog="export.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Export a run for TensorFlow Serving, check it through the server's own loader, and write the\n"
        "server's configuration beside it. The last line printed starts a server.",
        epilog=f"example:\n  python export.py runs/first --out served/medcap\n\n{_RESEARCH}",
    )
    cli_serving.add_export(parser)
    cli_options.add_decoding(parser)
    _finish(parser.parse_args(arguments), cli_serving.export)


def _finish(chosen: argparse.Namespace, run: Callable[[argparse.Namespace], None]) -> NoReturn:
    if not getattr(chosen, "verbose", False):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.simplefilter("ignore")
    try:
        run(chosen)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout left, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _train(chosen: argparse.Namespace) -> None:
    config = configuration.load(chosen.config) if chosen.config else configuration.Config()
    config = config.replace(configuration.parse_settings(chosen.settings))
    from medcap_tf.evaluation import format_scores
    from medcap_tf.training.loop import Interrupted
    from medcap_tf.training.run import train as run_training

    try:
        scores = run_training(config, chosen.data, chosen.out, chosen.resume)
    except Interrupted as stop:
        print(f"{stop}. To go on, give the same command with --resume", file=sys.stderr)
        sys.exit(130)
    print(format_scores(scores))
    names = (
        "config.json", "history.csv", "history.png", "predictions.csv", "concepts.csv", "scores.json", "groups.csv",
        "groups.png",
    )  # fmt: skip
    print(f"\n{chosen.out}: {', '.join(name for name in names if (chosen.out / name).is_file())}")


def _add_records(commands: Any) -> None:
    parser = commands.add_parser("records", help="examine a data set: what is in it, and every problem with its row")
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="the same for machines")
    parser.add_argument("--skip-images", action="store_true", help="do not decode every image")
    parser.add_argument("--stemmer", default="snowball", choices=("snowball", "porter", "lancaster", "none"))
    parser.add_argument("--keep-stop-words", action="store_true")
    parser.set_defaults(run=_records)


def _records(chosen: argparse.Namespace) -> None:
    from medcap_tf.doctor import examine, render
    from medcap_tf.records import read_dataset
    from medcap_tf.text import Normalizer

    normalizer = Normalizer(chosen.stemmer, not chosen.keep_stop_words)
    report = examine(read_dataset(chosen.data), normalizer, check_images=not chosen.skip_images)
    print(json.dumps(report, indent=2, ensure_ascii=False) if chosen.json else render(report))


def _add_phantoms(commands: Any) -> None:
    parser = commands.add_parser("phantoms", help="draw a synthetic data set: images, captions, concepts, masks")
    parser.add_argument("out", type=Path, metavar="DIR")
    for split, count in (("train", 1200), ("valid", 150), ("test", 150)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"images (default: {count})")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws the same bytes")
    parser.set_defaults(run=_phantoms)


def _phantoms(chosen: argparse.Namespace) -> None:
    from medcap_tf.phantoms import draw_dataset

    draw_dataset(chosen.out, {"train": chosen.train, "valid": chosen.valid, "test": chosen.test}, chosen.seed)
    print(chosen.out)


def _add_caption(commands: Any) -> None:
    parser = commands.add_parser("caption", help="caption image files or folders of them")
    parser.add_argument("model", type=Path, metavar="RUN_OR_EXPORT")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--json", action="store_true", help="an object a line, with stems, concepts and word weights")
    cli_options.add_decoding(parser)
    parser.set_defaults(run=_caption)


def _caption(chosen: argparse.Namespace) -> None:
    from medcap_tf.folders import find_files

    paths = find_files(chosen.images)
    captioner = cli_serving.exported(chosen) or cli_options.load(chosen)
    failed, names = 0, captioner.concept_names
    for caption in captioner.caption(paths):
        if chosen.json:
            print(json.dumps(_caption_json(caption, names, _word_scores(captioner, caption)), ensure_ascii=False))
        elif caption.error:
            print(f"error: {caption.error}", file=sys.stderr)
        else:
            print(f"{caption.path}\t{caption.text}\t{caption.score:.4f}")
            concepts = ", ".join(f"{names.get(code, code)} {score:.2f}" for code, score in caption.concepts)
            print(f"  concepts: {concepts or 'none'}", file=sys.stderr)
        failed += bool(caption.error)
    if failed:
        raise InputError(f"{failed} of {len(paths)} images could not be read")


def _word_scores(captioner: Any, caption: Any) -> dict[str, float]:
    """What the classifier of words reads in the caption alone, by code; nothing of an export, or without concepts."""
    semantic = getattr(getattr(captioner, "models", None), "semantic", None)
    if semantic is None or not caption.words:
        return {}
    return dict(zip(captioner.concepts, captioner.word_concepts(caption.tokens[None])[0][0].tolist()))


def _caption_json(caption: Any, names: Mapping[str, str], word_scores: Mapping[str, float]) -> dict[str, Any]:
    if caption.error:
        return {"path": str(caption.path), "error": caption.error}
    return {
        "path": str(caption.path),
        "caption": caption.text,
        "score": caption.score,
        "words": caption.words,
        "stems": caption.stems,
        "word_importance": None if caption.word_importance is None else caption.word_importance.tolist(),
        "concepts": [
            {"code": code, "name": names.get(code, ""), "score": score, "word_score": word_scores.get(code)}
            for code, score in caption.concepts
        ],
    }


def _add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="draw why: regions of each word, words of each concept, layers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Caption images and draw why: a report for the browser, pictures, and their numbers. At its end\n"
        "it says on stderr where the time went.",
        epilog="examples:\n"
        "  medcap explain RUN scan.png --out why\n"
        "  medcap explain RUN folder --references captions.xlsx --out why --no-pictures\n"
        "  medcap explain RUN --data DIR --split test --worst --limit 20 --out why\n\n"
        "With --data the report opens at the captions furthest from their references (by METEOR).",
    )
    parser.add_argument("model", type=Path, metavar="RUN")
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--data", type=Path, metavar="DIR", help="instead of images: a data set, with its references")
    parser.add_argument("--split", default="test", help="which part of --data (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="explain the first N images alone")
    parser.add_argument("--worst", action="store_true", help="of all captions, those furthest from their references")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--layers", nargs="*", default=["conv1_relu", "conv2_block3_out", "conv3_block4_out"], metavar="LAYER",
        help="ResNet50 layers to show, by name or running number (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--methods", nargs="*", default=[], metavar="METHOD",
        help="tf-explain's views of the strongest concepts: all, or some of grad_cam, occlusion_sensitivity, "
        "integrated_gradients, smoothgrad, vanilla_gradients, gradients_inputs, activations (default: none)",
    )  # fmt: skip
    parser.add_argument("--references", type=Path, metavar="TABLE", help="reference captions; their words turn red")
    parser.add_argument("--no-pictures", action="store_true", help="report.html alone, as for hundreds of images")
    parser.add_argument("--dpi", type=int, default=110, help="110 for a screen (default), 300 for print")
    parser.add_argument("--pdf", action="store_true", help="a PDF of each figure too")
    cli_options.add_decoding(parser)
    parser.set_defaults(run=_explain)


def _explain(chosen: argparse.Namespace) -> None:
    explained = _explained(chosen)
    paths, references = [image.path for image in explained], {i.image_id: i.reference for i in explained}
    captioner = cli_options.load(chosen)
    from tqdm import tqdm

    from medcap_tf.explain.clock import Clock
    from medcap_tf.explain.methods import METHODS
    from medcap_tf.explain.pictures import write_pictures
    from medcap_tf.explain.reasons import explain, layer_by
    from medcap_tf.explain.references import with_ids
    from medcap_tf.explain.report import write_report
    from medcap_tf.explain.worst import SCORE, worst

    layers = [layer_by(captioner, name) for name in chosen.layers]
    methods = METHODS if chosen.methods == ["all"] else chosen.methods
    if set(methods) - set(METHODS):
        raise InputError(f"--methods {' '.join(methods)}: there are all, {', '.join(METHODS)}")
    audited, names = chosen.model / "audit.json", captioner.concept_names
    chosen.out.mkdir(parents=True, exist_ok=True)
    clock, failed = Clock(), 0
    clock.seconds["start-up"] = time.perf_counter() - _BEGAN
    captions = clock.each("captions", with_ids(captioner.caption(paths), explained))
    count = len(paths)
    if chosen.worst:
        told = tqdm(captions, total=count, desc="captions", unit="image", leave=False)
        captions = worst(told, references, chosen.limit or count)
        count = len(captions)

    def each() -> Iterator[Any]:
        nonlocal failed
        found = clock.each("reasons", explain(captioner, captions, layers, references, methods))
        for reasons in tqdm(found, total=count, unit="image", leave=False):
            if reasons.caption.error:
                failed += 1
                tqdm.write(f"error: {reasons.caption.error}", file=sys.stderr)
            if not chosen.no_pictures:
                with clock.part("pictures"):
                    written = write_pictures(reasons, chosen.out, chosen.dpi, chosen.pdf, names)
                print(*written, sep="\n", end="\n" if written else "")
            yield reasons

    title = f"Captions of {chosen.model.resolve().name}, and why"
    audit = json.loads(audited.read_text(encoding="utf-8")) if audited.is_file() else None
    worst_by = SCORE if chosen.data or chosen.worst else ""
    with clock.part("report"):
        print(write_report(chosen.out / "report.html", each(), title, audit, names, worst_by))
    print(clock, file=sys.stderr)
    if failed:
        raise InputError(f"{failed} of {count} images could not be read")


def _explained(chosen: argparse.Namespace) -> list[Pictured]:
    """The images to explain, each under an ID of its own, with the references that are known."""
    from medcap_tf.explain.references import with_references
    from medcap_tf.tables import read_captions

    if bool(chosen.images) == bool(chosen.data):
        raise InputError("give either images (or folders of them) or --data DIR")
    for option in ("limit", "dpi"):
        if getattr(chosen, option) is not None and getattr(chosen, option) < 1:
            raise InputError(f"--{option} {getattr(chosen, option)}: give at least 1")
    images, own = _of_split(chosen) if chosen.data else _of_files(chosen.images)
    if chosen.references:
        table = read_captions(chosen.references)
        cli_options.show_problems(table.problems)
        images = with_references(images, table.values, str(chosen.references), own)
        print(f"references: of {sum(bool(i.reference) for i in images)} of {len(images)} images", file=sys.stderr)
    if not chosen.worst:
        return images[: chosen.limit]
    if not any(image.reference for image in images):
        raise InputError("--worst needs references: give --references TABLE, or --data with a split that has captions")
    return images


def _of_split(chosen: argparse.Namespace) -> tuple[list[Pictured], list[str]]:
    """The images of a split with its captions, and their IDs."""
    from medcap_tf.explain.references import Pictured

    records = [record for record in cli_options.read_split(chosen)[0] if record.image_path]
    if not records:
        raise InputError(f"{chosen.data}: split {chosen.split!r} has no images")
    images = [Pictured(record.image_path, record.image_id, record.caption) for record in records]
    return images, [record.image_id for record in records]


def _of_files(given: Sequence[Path]) -> tuple[list[Pictured], list[str]]:
    """Image files, and what those inside folders are called from the folder on."""
    from medcap_tf.explain.references import id_within, name_images
    from medcap_tf.folders import find_files

    found = [(path, top) for top in given for path in find_files([top])]
    return name_images([path for path, _ in found]), [id_within(*pair) if pair[0] != pair[1] else "" for pair in found]


def _add_audit(commands: Any) -> None:
    parser = commands.add_parser("audit", help="hold the explanations against the truth, chance and a ruined model")
    parser.add_argument("model", type=Path, metavar="RUN")
    cli_options.add_split(parser)
    parser.add_argument("--images", type=int, default=50, metavar="N", help="for the costly measures (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where audit.json and audit.png go (default: RUN)")
    cli_options.add_decoding(parser)
    parser.set_defaults(run=_audit)


def _audit(chosen: argparse.Namespace) -> None:
    if chosen.images < 1:
        raise InputError(f"--images {chosen.images}: give at least 1")
    records, _ = cli_options.read_split(chosen)
    captioner = cli_options.load(chosen)
    from medcap_tf.explain.audit import audit, format_audit, write_audit
    from medcap_tf.explain.audit_figure import audit_figure
    from medcap_tf.explain.plate import save

    found = audit(captioner, records, chosen.split, chosen.images, chosen.seed)
    out = chosen.out or chosen.model
    write_audit(out / "audit.json", found)
    save(partial(audit_figure, found), out / "audit.png", dpi=110)
    print(format_audit(found))
    print(f"\n{out}: audit.json, audit.png", file=sys.stderr)
