"""The commands around data sets: `records` examines one, `phantoms` draws one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medcap_tf.cli import options
from medcap_tf.errors import InputError

_COUNTS = {"train": 1200, "valid": 150, "test": 150}


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
    parser = commands.add_parser(
        "phantoms",
        help="draw a synthetic data set: images, captions, concepts, masks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draw a synthetic data set, or, with --backgrounds, findings and devices into real images.",
        epilog="examples:\n"
        "  medcap phantoms DIR --train 4000\n"
        "  medcap phantoms DIR --backgrounds DATA                        # every image of DATA, in its own split\n"
        "  medcap phantoms DIR --backgrounds FILMS --modality radiograph --region chest --view frontal\n\n"
        "What an image is of is read from its concepts, its caption and its folders; the options say it of the rest.",
    )
    parser.add_argument("out", type=Path, metavar="DIR")
    for split, count in _COUNTS.items():
        help = f"images (default: {count}; with --backgrounds: one of each)"
        parser.add_argument(f"--{split}", type=int, metavar="N", help=help)
    parser.add_argument(
        "--seed", type=options.natural, default=0, metavar="S", help="the same seed draws the same bytes"
    )
    parser.add_argument(
        "--backgrounds", type=Path, metavar="DATA", help="real images to draw into: half-synthetic ones"
    )
    parser.add_argument("--modality", choices=("radiograph", "CT", "MR", "ultrasound"), help="of backgrounds")
    parser.add_argument("--region", choices=("chest", "brain", "abdomen", "other"), help="of backgrounds")
    parser.add_argument(
        "--view", choices=("frontal", "axial", "other"), help="of backgrounds; sides are stated in the first two"
    )
    parser.set_defaults(run=_phantoms)


def _phantoms(args: argparse.Namespace) -> None:
    counts = {split: getattr(args, split) for split in _COUNTS}
    assumed = {name: getattr(args, name) or "" for name in ("modality", "region", "view")}
    if args.backgrounds is None:
        if any(assumed.values()):
            raise InputError("--modality, --region and --view describe real images; give --backgrounds DATA too")
        from medcap_tf.phantoms import draw_dataset

        draw_dataset(args.out, {s: _COUNTS[s] if n is None else n for s, n in counts.items()}, args.seed)
    else:
        from medcap_tf.phantoms.backgrounds import Assumed
        from medcap_tf.phantoms.half_synthetic import draw_half_synthetic_dataset

        draw_half_synthetic_dataset(args.out, args.backgrounds, counts, args.seed, Assumed(**assumed))
    print(args.out)
