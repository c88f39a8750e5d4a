"""Masks of findings: where they lie beside a data set's images, and where findings of a word usually are.

Axes: H x W pixels of a mask, G cells a side of a prior.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medcap_tf.data import images
from medcap_tf.data.folders import image_stem
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.explain.grid import shares_of_regions
from medcap_tf.text import Normalizer

CELLS = 64  # a side of a prior


def mask_of(record: Record) -> np.ndarray | None:
    """bool [H, W], or None where the data set has no mask of the image; raises InputError where it has two, or one that
    cannot be read. Of 0..255 the upper half is the mask; where nothing is so bright, as of labels 0 and 1, all above 0.
    """
    present = [path for path in mask_paths(record) if path.is_file()]
    if len(present) > 1:
        raise InputError(f"{present[0]} and {present[1]} are both masks of {record.image_id!r}; take one away")
    if not present:
        return None
    values = images.read_image(present[0]).max(-1)
    return values > (127 if values.max() > 127 else 0)


def mask_paths(record: Record) -> list[Path]:
    """Where the mask of an image may lie: `masks/ID.png` beside the folder that its ID starts from, or in `masks`
    where the image is in `images`, at the same place.

    `test/images/CXR1/0.png` has `test/masks/CXR1/0.png`, whether its ID is `CXR1/0` or `0`.
    """
    path = record.image_file
    start = path.parents[record.image_id.count("/")]
    paths = [start.parent / "masks" / f"{record.image_id}.png"]
    parts = path.parts
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[-2::-1].index("images")
        paths.append(Path(*parts[:place], "masks", *parts[place + 1 : -1], f"{image_stem(path.name)}.png"))
    return list(dict.fromkeys(paths))


class LocationPrior:
    """Where training images have the findings that a word names: what a map says that has seen no image."""

    def __init__(self, records: Sequence[Record], normalizer: Normalizer, stems: Iterable[str]):
        """Read the masks of training records; `stems` are the words that are asked for."""
        wanted = set(stems)
        sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((CELLS, CELLS)))
        with_image = [record for record in records if record.image_path]
        for record in tqdm(with_image, desc="training masks", unit="image", mininterval=1.0, leave=False):
            named = wanted & set(normalizer.stems(record.caption))
            mask = mask_of(record) if named else None
            if mask is None or not mask.any():
                continue
            share = shares_of_regions(mask, (CELLS, CELLS))
            for stem in named:
                sums[stem] += share
        self._maps = {stem: (total / total.sum()).astype(np.float32) for stem, total in sums.items()}

    def map_of(self, stem: str) -> np.ndarray | None:
        """float32 [G, G] with sum 1; None for a word that no training image with a mask has."""
        return self._maps.get(stem)
