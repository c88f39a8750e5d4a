"""`medcap`, and the scripts `train.py` and `export.py`. Results go to stdout, progress to stderr; exit code 0: done,
1: the input is at fault, 2: wrong usage.

TensorFlow is imported by the commands that need it, inside them: `--help` and the data doctor start at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from medcap_tf import __version__
from medcap_tf.cli import captions, claims, cluster, data, explanations, scores, serving, submissions, training
from medcap_tf.cli.options import RESEARCH
from medcap_tf.errors import InputError


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(prog="medcap", description=f"Captions medical images and shows why. {RESEARCH}")
    parser.add_argument("--version", action="version", version=f"medcap_tf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in (data, training, captions, explanations, scores, claims, submissions, serving, cluster):
        room.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """`medcap COMMAND ...`; exits."""
    args = build_parser().parse_args(arguments)
    try:
        _run(args)
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


def _run(args: argparse.Namespace) -> None:
    # TensorFlow would reserve the whole of a GPU's memory, also for one caption.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if not getattr(args, "verbose", False):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.simplefilter("ignore")
    args.run(args)
