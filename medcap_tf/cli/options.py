"""What several commands ask for: a run with its decoding options, and a split of a data set."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcap_tf.caption import NOVEL_FROM, UNLIKE, Caption
from medcap_tf.errors import InputError

RESEARCH = "Software for research, not a medical device."
EDITIONS = ("2021", "2022", "2023", "2024", "2025", "2026")  # of ImageCLEFmed Caption
_DECODING = ("beam_width", "max_length", "neighbors", "no_repeat_ngram")
_NO_NAME = re.compile(r"[^\w.-]+")  # what a file's name is kept free of
_SHOWN = 20  # problems of a table; the same mistake tends to be in every row


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """The options that a run may be decoded with."""
    parser.add_argument("--beam-width", type=int, metavar="K", help="beams of the search; 1: greedy")
    parser.add_argument("--max-length", type=int, metavar="T", help="longest caption, in tokens")
    parser.add_argument(
        "--neighbors", "--neighbours", type=int, metavar="N", help="similar training images that count; 0: none"
    )
    parser.add_argument(
        "--no-repeat-ngram", type=int, metavar="N", help="no sequence of N words twice in a caption; 0: all may repeat"
    )
    add_verbose(parser)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """For commands that load TensorFlow."""
    parser.add_argument("--verbose", action="store_true", help="show TensorFlow's own messages too")


def add_split(parser: argparse.ArgumentParser) -> None:
    """The split of a data set."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set")
    parser.add_argument("--split", default="test", help="train, valid or test (default: %(default)s)")


def add_edition(parser: argparse.ArgumentParser, *older: str, required: bool = False) -> None:
    """The year of the task, as `args.edition`; under `older` names, too."""
    parser.add_argument(
        "--edition", *older, dest="edition", choices=EDITIONS, required=required, help="ImageCLEFmed Caption's year"
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Where the scores of an edition that need a model find its weights."""
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="of the scores that need a model; without: not computed"
    )


def load(args: argparse.Namespace) -> Any:
    """The captioner of the run `args.model`, with the decoding options given."""
    from medcap_tf.captioner import RunCaptioner

    return RunCaptioner.load(args.model, decoding(args))


def decoding(args: argparse.Namespace) -> dict[str, Any]:
    """The decoding options given, as settings."""
    return {f"decoding.{name}": getattr(args, name) for name in _DECODING if getattr(args, name) is not None}


def suffix_of_files(args: argparse.Namespace, records: Sequence[Any]) -> str:
    """What stands after the names of the files that a command writes, so that those in a run's own folder stay: which
    are of its own test split, with its own decoding. Nothing in another folder.

    Args:
        args: with `model`, `out`, `data`, `split` and the decoding options.
        records: of the split.
    """
    from medcap_tf.evaluation.score_files import file_suffix
    from medcap_tf.run_folder import RunFolder
    from medcap_tf.training.identity import Identity

    if args.out and args.out.resolve() != args.model.resolve():
        return ""
    run = RunFolder(args.model)
    config, identity = run.read_config(), Identity.load(run)
    own = args.split == config.data.test_split
    elsewhere = identity is not None and not (identity.is_test(records) if own else identity.holds(records))
    others = [f"_{_NO_NAME.sub('-', args.data.resolve().name)}"] if elsewhere else []
    others.append(file_suffix(args.split, config.data.test_split))
    changed = config.replace(decoding(args)).decoding
    for name in _DECODING:
        if getattr(changed, name) != getattr(config.decoding, name):
            others.append(f"_{name}_{getattr(changed, name)}")
    return "".join(others)


def read_split(args: argparse.Namespace) -> tuple[Any, Any]:
    """The records of the split, and the data set; raises InputError where it has no such split."""
    from medcap_tf.data.records import read_dataset

    dataset = read_dataset(args.data)
    if args.split not in dataset.splits:
        raise InputError(f"{args.data}: no split {args.split!r}; there are {', '.join(dataset.splits)}")
    show_problems(dataset.problems_of(args.split))
    return dataset.splits[args.split], dataset


def check_out(args: argparse.Namespace) -> None:
    """Raise InputError where files cannot be written into `args.out`, or would be read as part of the data."""
    from medcap_tf.files import check_place

    check_place(args.out or args.model)
    check_outside("--out", args.out, args.data)


def check_outside(option: str, path: Path | None, data: Path | None) -> None:
    """Raise InputError where what an option asks to write would be read as part of the data, or replace some of it."""
    if path and data and path.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{option} {path}: lies in the data set, which would be read with it; give another place")


def read_names(path: Path) -> dict[str, str]:
    """What codes are called, by a table; its problems are shown."""
    from medcap_tf.data.tables import read_concept_names

    table = read_concept_names(path)
    show_problems(table.problems)
    return table.values


def show_problems(problems: Sequence[Any]) -> None:
    """What is wrong with a table's rows, on stderr: a row left out changes what the rest says."""
    for problem in problems[:_SHOWN]:
        place = f"{problem.file}:{problem.row}" if problem.row else problem.file
        print(f"{place}: {problem.problem}", file=sys.stderr)
    if len(problems) > _SHOWN:
        print(f"and {len(problems) - _SHOWN} problems more", file=sys.stderr)


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """A whole number from 0 on, for argparse."""
    return _at_least(0, text)


def port(text: str) -> int:
    """A number of a port, for argparse."""
    number = positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text}: ports end at 65535")
    return number


def trust_columns(confidence: float | None, novelty: float | None, novel_from: float = NOVEL_FROM) -> list[str]:
    """What stands after a caption's score: confidence, novelty, and a word where the image is unlike the training
    images; nothing of a model that knows neither."""
    if confidence is None and novelty is None:
        return []
    known = ((confidence, "{:.3f}"), (novelty, "{:.1f}"))
    unlike = [UNLIKE] if Caption(novelty=novelty).is_novel(novel_from) else []
    return ["" if value is None else form.format(value) for value, form in known] + unlike


def percentile(text: str) -> float:
    """A number from 0 to 100, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number from 0 to 100")
    return number


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, {least} or more")
    return number
