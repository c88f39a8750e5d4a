"""`train`, and `gpu`: what it would run on."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from medcap_tf import config as configuration
from medcap_tf.cli import options
from medcap_tf.errors import InputError
from medcap_tf.setting_values import parse_settings

LOST = 3  # exit code of a process whose training others have left


def add_commands(commands: Any) -> None:
    """`train` and `gpu`."""
    _add_train(commands)
    _add_gpu(commands)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a captioner on a folder of images and tables",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a captioner on a folder of images and tables, caption its test split and score it.\n\n"
        "Stages: concepts from images (visual.concept_epochs > 0), concepts from words, captions.\n"
        "An interrupted run goes on where it stood when the same command is given --resume.",
        epilog=f"settings, with their defaults:\n{configuration.describe()}\n\n"
        "examples:\n"
        "  medcap train --data DIR --out runs/first\n"
        "  medcap train --data DIR --out runs/scratch --set visual.weights=none visual.concept_epochs=12\n\n"
        f"{options.RESEARCH}",
    )
    add_arguments(parser)
    parser.set_defaults(run=_train)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a training is given."""
    parser.add_argument("--data", type=Path, required=True, help="the data set; check it with: medcap records DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run folder to write")
    parser.add_argument("--config", type=Path, help="a JSON file of settings, {section: {field: value}}")
    parser.add_argument("--set", nargs="+", default=[], action="extend", metavar="section.field=value", dest="settings")
    parser.add_argument("--resume", action="store_true", help="go on with RUN if it was begun; else begin it")
    options.add_verbose(parser)


def read_config(args: argparse.Namespace) -> configuration.Config:
    """The settings given."""
    config = configuration.load(args.config) if args.config else configuration.Config()
    return config.replace(parse_settings(args.settings))


def show_scores(run: Path, scores: dict[str, Any]) -> None:
    """The scores of a finished run, and which files hold what."""
    from medcap_tf.evaluation.score_files import format_scores
    from medcap_tf.run_folder import RunFolder

    print(format_scores(scores))
    names = ("config", "history", "history_plot", "predictions", "predicted_concepts", "scores", "subgroups")
    print(f"\n{run}: {', '.join(RunFolder(run).listed([*names, 'subgroups_plot']))}")


def _train(args: argparse.Namespace) -> None:
    config = read_config(args)
    from medcap_tf.training.loop import Interrupted
    from medcap_tf.training.run import train as run_training
    from medcap_tf.training.workers import WorkerLost

    try:
        scores = run_training(config, args.data, args.out, args.resume)
    except Interrupted as stop:
        print(f"{stop}. To go on, give the same command with --resume", file=sys.stderr)
        sys.exit(130)
    except WorkerLost as lost:
        print(f"error: {lost}. To go on, start all of them again with --resume", file=sys.stderr, flush=True)
        os._exit(LOST)  # TensorFlow would wait for those that are gone
    if scores:  # of several processes the first has them
        show_scores(args.out, scores)


def _add_gpu(commands: Any) -> None:
    parser = commands.add_parser(
        "gpu",
        help="NVIDIA cards, driver and libraries, and why TensorFlow does not use them where it does not",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print NVIDIA's driver and cards, CUDA's libraries where TensorFlow looks for them, and the\n"
        "precision that a training would choose.\n\n"
        "Exit code 1: there is a card that TensorFlow does not use; the error says why, and what to do.",
    )
    options.add_verbose(parser)
    parser.set_defaults(run=_gpu)


def _gpu(args: argparse.Namespace) -> None:
    from medcap_tf.training.device import examine_gpus

    report = examine_gpus()
    print("\n".join(report.lines))
    if report.remedy:
        raise InputError(f"TensorFlow does not use the NVIDIA card of this machine: {report.remedy}")
