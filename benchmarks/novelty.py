"""What a run's novelty is worth: its test split told from images that are nothing like it.

    python benchmarks/novelty.py RUN DATA [--others NAME=FOLDER ...]

Text pages, noise and flat images are drawn; photographs are those that matplotlib brings, whole and in parts, in color
and gray, and whatever lies in the folders given. Printed is the area under the ROC curve of each kind against the test
split, by the signal that the run's novelty goes by, and by the other; and the share of each kind that is called unlike
the training images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from medcap_tf.caption import OF_NOVELTY
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.folders import find_files
from medcap_tf.data.images import to_array
from medcap_tf.data.records import read_dataset

_COUNT, _SIDE = 40, 256
_SHIPPED = Path(matplotlib.get_data_path())
_WORDS = (
    "no acute finding the image shows a line of text that is read from left to right and has nothing to do with".split()
)


def main() -> None:
    """Print a row a kind of image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME=FOLDER", help="further foreign images")
    args = parser.parse_args()
    captioner, rng = RunCaptioner.load(args.run), np.random.default_rng(0)
    split = read_dataset(args.data).splits[captioner.config.data.test_split]
    kinds = {
        "test": [record.image_file for record in split],
        "photographs": _photographs(rng), "text": _texts(rng), "noise": _noise(rng), "flat": _flat(),
    }  # fmt: skip
    for name, _, folder in (other.partition("=") for other in args.others):
        found = find_files([Path(folder)])
        kinds[name] = found[:: max(1, len(found) // 60)]
    said = {name: [c for c in captioner.caption(images) if not c.error] for name, images in kinds.items()}
    signals = [name for name in OF_NOVELTY if name in said["test"][0].signals]
    print("| | images | " + " | ".join(f"AUC by {name}" for name in signals) + " | called unlike |")
    print("|---|---|" + "---|" * (len(signals) + 1))
    for name, captions in said.items():
        areas = [_area(captions, said["test"], signal) if name != "test" else "" for signal in signals]
        unlike = np.mean([caption.is_novel() for caption in captions])
        print(f"| {name} | {len(captions)} | {' | '.join(areas)} | {unlike:.3f} |")


def _area(foreign: Sequence, own: Sequence, signal: str) -> str:
    values = np.array([caption.signals[signal] for caption in (*foreign, *own)])
    ranks, count = pd.Series(values).rank().to_numpy(), len(foreign)
    return f"{(ranks[:count].sum() - count * (count + 1) / 2) / (count * len(own)):.3f}"


def _photographs(rng: np.random.Generator) -> list[np.ndarray]:
    images = []
    for name in ("grace_hopper.jpg", "Minduka_Present_Blue_Pack.png"):
        photograph = Image.fromarray(to_array(_SHIPPED / "sample_data" / name))
        for part in range(10):
            side = int(min(photograph.size) * (1 if part == 0 else rng.uniform(0.4, 0.9)))
            left, top = (int(rng.integers(0, whole - side + 1)) for whole in photograph.size)
            cut = photograph.crop((left, top, left + side, top + side))
            images += [np.array(cut), np.array(cut.convert("L").convert("RGB"))]
    return images


def _texts(rng: np.random.Generator) -> list[np.ndarray]:
    images = []
    for page in range(_COUNT):
        paper, ink = ((20,) * 3, (230,) * 3) if page % 4 == 3 else ((255,) * 3, (0,) * 3)
        image, size = Image.new("RGB", (600, 800), paper), int(rng.integers(14, 40))
        font = ImageFont.truetype(str(_SHIPPED / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
        for top in range(30, 760, int(size * 1.4)):
            ImageDraw.Draw(image).text((30, top), " ".join(rng.choice(_WORDS, 16)), ink, font)
        images.append(np.array(image))
    return images


def _noise(rng: np.random.Generator) -> list[np.ndarray]:
    """In color and gray, of grains from one pixel to a quarter of the image."""
    images = []
    for number in range(_COUNT):
        cells = _SIDE // (1, 4, 16, 64)[number % 4]
        grains = rng.integers(0, 256, (cells, cells, 3 if number % 8 < 4 else 1), np.uint8)
        image = Image.fromarray(np.broadcast_to(grains, (cells, cells, 3)).copy())
        images.append(np.array(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)))
    return images


def _flat() -> list[np.ndarray]:
    """Grays, colors and ramps."""
    colors = [(v, v, v) for v in range(0, 256, 17)] + [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 64, 0)]
    ramps = [np.linspace(*ends, _SIDE).astype(np.uint8)[None, :, None] for ends in ((0, 255), (64, 192), (100, 140))]
    return [np.full((_SIDE, _SIDE, 3), color, np.uint8) for color in colors] + [
        np.broadcast_to(ramp, (_SIDE, _SIDE, 3)).copy() for ramp in ramps
    ]


if __name__ == "__main__":
    main()
