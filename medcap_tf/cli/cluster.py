"""`cluster`: what many machines, or many processes of this one, do together on Ray, the extra `cluster`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medcap_tf.cli import options
from medcap_tf.errors import InputError


def add_commands(commands: Any) -> None:
    """`cluster caption` and its siblings."""
    parser = commands.add_parser(
        "cluster",
        help="caption and train on many machines, or many processes of this one",
        description="Bulk captioning and training on Ray: pip install 'medcap_tf[cluster]'. Without --address, Ray is "
        "started on this machine for the length of the command, and cannot be reached from any other.",
    )
    parts = parser.add_subparsers(dest="cluster_command", required=True, metavar="COMMAND")
    _add_caption(parts)


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster, or auto")
    parser.add_argument("--workers", type=options.positive, metavar="N", help="default: as many as there is room for")
    parser.add_argument(
        "--cpus-per-worker", type=options.positive, default=1, metavar="K", help="processors each (default: 1)"
    )
    parser.add_argument(
        "--gpus-per-worker", type=_gpus, default=0.0, metavar="K", help="GPUs each, or a fraction of one (default: 0)"
    )


def _gpus(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0 or (number > 1 and number != int(number)):
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number of GPUs, or a fraction below 1")
    return number


def _resources(args: argparse.Namespace) -> Any:
    from medcap_tf.cluster.engine import Resources, check_installed

    check_installed()
    return Resources(args.address, args.workers, args.cpus_per_worker, args.gpus_per_worker)


def _add_caption(parts: Any) -> None:
    parser = parts.add_parser(
        "caption",
        help="caption every image of a folder, a table, Parquet or TFRecord files, each exactly once",
        description="Writes DIR/captions/*.parquet, a row an image, and DIR/summary.json. The same command goes on "
        "where one was killed, and captions what the source has gained since.",
    )
    parser.add_argument("model", type=Path, metavar="RUN_OR_EXPORT")
    parser.add_argument("source", metavar="SOURCE", help="a folder, a glob, a table of paths, Parquet or TFRecord "
                        "files; here, or at an address such as s3://BUCKET/FOLDER")  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder, or an address")
    parser.add_argument("--csv", action="store_true", help="captions.csv too")
    parser.add_argument(
        "--part-size", type=options.positive, metavar="N", help="images a file of the output, at most (default: 1000)"
    )
    _add_resources(parser)
    options.add_decoding(parser)
    parser.set_defaults(run=_caption)


def _caption(args: argparse.Namespace) -> None:
    resources = _resources(args)
    from medcap_tf.cluster.bulk import PART_SIZE, caption_all, end_line
    from medcap_tf.cluster.worker import Model

    model = Model(args.model.resolve(), options.decoding(args))
    if not model.path.exists():
        raise InputError(f"{args.model}: no such folder; give a run or an export")
    summary = caption_all(model, args.source, args.out, resources, args.part_size or PART_SIZE, args.csv)
    print(end_line(summary, args.out))
    if summary["captioned"]:
        print(f"{args.out}/captions: a row an image; pandas.read_parquet reads the folder", file=sys.stderr)
