"""The commands. Results go to stdout, progress to stderr; exit code 0: done, 1: the input is at fault, 2: wrong usage.

TensorFlow is imported by the commands that need it, inside them: `--help` and the data doctor start at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NoReturn

from medcap_tf import __version__, cli_explain, cli_options, cli_scores, cli_serving
from medcap_tf import config as configuration
from medcap_tf.errors import InputError

_RESEARCH = "Software for research, not a medical device."


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """`python -m medcap_tf COMMAND ...`; exits."""
    parser = argparse.ArgumentParser(
        prog="medcap",
        description=f"Captions medical images and shows why. {_RESEARCH} To train: python train.py --help",
    )
    parser.add_argument("--version", action="version", version=f"medcap_tf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_records, _add_phantoms, _add_caption, cli_explain.add_explain, cli_explain.add_audit):
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
    parser.add_argument(
        "--seed", type=cli_options.natural, default=0, metavar="S", help="the same seed draws the same bytes"
    )
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
