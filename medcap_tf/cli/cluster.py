"""`cluster`: what many machines, or many processes of this one, do together on Ray, the extra `cluster`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from medcap_tf.cli import options, scores, training
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
    _add_train(parts)
    _add_features(parts)
    _add_evaluate(parts)


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
    parser.add_argument("--explain", action="store_true", help="each word's maps and boxes too")
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

    model = Model(args.model.resolve(), options.decoding(args), args.explain)
    if not model.path.exists():
        raise InputError(f"{args.model}: no such folder; give a run or an export")
    summary = caption_all(model, args.source, args.out, resources, args.part_size or PART_SIZE, args.csv)
    print(end_line(summary, args.out))
    if summary["captioned"]:
        print(f"{args.out}/captions: a row an image; pandas.read_parquet reads the folder", file=sys.stderr)


def _add_train(parts: Any) -> None:
    parser = parts.add_parser(
        "train",
        help="train one captioner by several workers together",
        description="`medcap train` by several workers, each of which has an equal share of every batch. DATA and RUN "
        "have to be the same folders on all machines. A worker that dies ends the others within seconds, and all are "
        "started again from the last checkpoint.",
    )
    training.add_arguments(parser)
    _add_resources(parser)
    parser.add_argument(
        "--max-failures", type=options.natural, default=3, metavar="N", help="how often to start again (default: 3)"
    )
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> None:
    resources = _resources(args)
    config = training.read_config(args)
    from medcap_tf.cluster.training import train_together
    from medcap_tf.run_folder import RunFolder
    from medcap_tf.training.begin import read_begun

    run = RunFolder(args.out)
    read_begun(run, config, args.resume)
    # Workers are started in other places, and again: what is begun then is gone on with.
    arguments = ["--data", args.data.resolve(), "--out", args.out.resolve(), "--resume"]
    arguments += ["--config", args.config.resolve()] if args.config else []
    arguments += ["--set", *args.settings] if args.settings else []
    train_together([*arguments, *(["--verbose"] if args.verbose else [])], args.out, resources, args.max_failures)
    training.show_scores(args.out, run.read_scores())


def _add_features(parts: Any) -> None:
    parser = parts.add_parser(
        "features",
        help="fill the feature cache of a training by many workers",
        description="Computes the frozen encoder's features of DATA, which the training of RUN with the same settings "
        "then finds. Only for an encoder that the settings begin with: visual.concept_epochs=0.",
    )
    training.add_arguments(parser)
    _add_resources(parser)
    parser.set_defaults(run=_features)


def _features(args: argparse.Namespace) -> None:
    resources = _resources(args)
    config = training.read_config(args)
    from medcap_tf.cluster.features import fill_cache

    summary = fill_cache(args.data, args.out, config, resources)
    print(f"{summary['folder']}: features of {summary['images']} views of images, {summary['new']} of them new")
    if summary["unreadable"]:
        print(f"{summary['unreadable']} could not be read: medcap records {args.data} names them", file=sys.stderr)


def _add_evaluate(parts: Any) -> None:
    parser = parts.add_parser(
        "evaluate",
        help="caption a split by many workers and score it",
        description="The same files and scores as `medcap evaluate`, where DATA and RUN are the same folders on all "
        "machines.",
    )
    scores.add_evaluation(parser)
    _add_resources(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    resources = _resources(args)
    from medcap_tf.cluster.engine import connected
    from medcap_tf.cluster.evaluation import SharedCaptioner
    from medcap_tf.cluster.worker import Model

    args.data = args.data.resolve()
    records, dataset = options.read_split(args)
    with connected(resources) as workers:
        model = Model(args.model.resolve(), options.decoding(args))
        scores.evaluate_split(args, SharedCaptioner(model, resources, workers), records, dataset)
