"""The commands around data sets: `records` examines one, `phantoms` draws one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medcap_tf.cli import options


def add_commands(commands: Any) -> None:
    """`records` and `phantoms`."""
    _add_records(commands)
    _add_phantoms(commands)


def _add_records(commands: Any) -> None:
    parser = commands.add_parser("records", help="examine a data set: what is in it, and every problem with its row")
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="the same for machines")
    parser.add_argument("--skip-images", action="store_true", help="do not decode every image")
    parser.add_argument("--stemmer", default="snowball", choices=("snowball", "porter", "lancaster", "none"))
    parser.add_argument("--keep-stop-words", action="store_true")
    parser.set_defaults(run=_records)


def _records(args: argparse.Namespace) -> None:
    from medcap_tf.data.doctor import examine, render
    from medcap_tf.data.records import read_dataset
    from medcap_tf.text import Normalizer

    normalizer = Normalizer(args.stemmer, not args.keep_stop_words)
    report = examine(read_dataset(args.data), normalizer, check_images=not args.skip_images)
    print(json.dumps(report, indent=2, ensure_ascii=False) if args.json else render(report))


def _add_phantoms(commands: Any) -> None:
    parser = commands.add_parser("phantoms", help="draw a synthetic data set: images, captions, concepts, masks")
    parser.add_argument("out", type=Path, metavar="DIR")
    for split, count in (("train", 1200), ("valid", 150), ("test", 150)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"images (default: {count})")
    parser.add_argument(
        "--seed", type=options.natural, default=0, metavar="S", help="the same seed draws the same bytes"
    )
    parser.set_defaults(run=_phantoms)


def _phantoms(args: argparse.Namespace) -> None:
    from medcap_tf.phantoms import draw_dataset

    draw_dataset(args.out, {"train": args.train, "valid": args.valid, "test": args.test}, args.seed)
    print(args.out)
