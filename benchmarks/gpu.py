"""What training takes on this machine: run it once on a GPU, and send the table back.

    python benchmarks/gpu.py [--quick] [--out gpu.md]

Prints what `medcap gpu` does, then a row for each stage, precision and batch size: milliseconds a step, images a
second, and the memory that the step takes at most. The steps are those of a training, on zeros in place of images: what
they cost does not depend on what is in them. Without a GPU the figures are the processor's and its memory's, and the
table says so. Half an hour on a GPU; `--quick` leaves out what few would train.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from medcap_tf.config import Config, load
from medcap_tf.errors import InputError
from medcap_tf.training.batch_size import measure
from medcap_tf.training.device import examine_gpus

WORDS, CONCEPTS = 14_000, 3_000  # as ImageCLEFmed 2023 to 2025 have them
COLUMNS = ("settings", "precision", "XLA", "batch", "stage", "ms a step", "images a second", "MB")
# What the settings train, by what people call it.
CASES = {
    "224 pixels, features cached": {"visual.trainable": "none"},
    "224 pixels, last stage learns": {"visual.trainable": "last_stage", "semantic.epochs": 0},
    "224 pixels, encoder learns": {"visual.trainable": "all", "semantic.epochs": 0},
    "224 pixels, concepts first": {"visual.concept_epochs": 1, "semantic.epochs": 0, "visual.trainable": "none"},
    "112 pixels, encoder learns": {"visual.image_size": 112, "visual.trainable": "all", "semantic.epochs": 0},
}
PRECISIONS = {True: ("float32", "mixed_float16", "mixed_bfloat16"), False: ("float32",)}  # by whether there is a GPU


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="float32 and the default precision alone, without XLA")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="default: 8 32 128 on a GPU, 8 32 else")
    parser.add_argument("--steps", type=int, default=10, help="of which the fastest counts")
    parser.add_argument("--out", type=Path, help="a file for the table too")
    args = parser.parse_args()
    on_gpu = not examine_gpus().remedy and len(examine_gpus().lines) > 1
    lines = [*examine_gpus().lines, "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print("\n".join(lines), flush=True)
    for line in rows(on_gpu, args.quick, args.batch_sizes or ([8, 32, 128] if on_gpu else [8, 32]), args.steps):
        lines.append(line)
        print(line, flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


def rows(on_gpu: bool, quick: bool, sizes: list[int], steps: int) -> Iterator[str]:
    """A row of the table for each stage of each case."""
    demo = load(Path(__file__).parents[1] / "assets" / "demo.json")
    own = {name: Config().replace({**settings, "visual.weights": "none"}) for name, settings in CASES.items()}
    for name, config in {**own, "the demo": demo}.items():
        for precision in PRECISIONS[on_gpu][: 2 if quick else None]:
            for xla in (False, True) if on_gpu and not quick else (False,):
                chosen = config.replace({"training.precision": precision, "training.xla": xla})
                for size in sizes:
                    yield from cells(name, chosen, size, steps)


def cells(name: str, config: Config, size: int, steps: int) -> Iterator[str]:
    """The rows of one case at one batch size; what does not fit is said, and the next one follows."""
    case = [name, config.training.precision, "on" if config.training.xla else "off", str(size)]
    try:
        probe = measure(config, WORDS, CONCEPTS, True, size, steps)
    except InputError as error:
        print(error, file=sys.stderr)
        yield f"| {' | '.join([*case, 'all', 'failed', '', ''])} |"
        return
    for stage, cost in probe.stages.items():
        figures = [f"{1000 * cost.seconds:,.0f}", f"{size / cost.seconds:,.0f}", f"{cost.megabytes:,.0f}"]
        yield f"| {' | '.join([*case, stage, *figures])} |"


if __name__ == "__main__":
    main()
