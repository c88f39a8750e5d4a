"""Which records a run learns from, chooses by and is scored on, which of their images can be read, and which concepts
are learned.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from medcap_tf.config import DataConfig
from medcap_tf.data import images
from medcap_tf.data.records import Dataset, Problem, Record
from medcap_tf.errors import InputError


class Splits(NamedTuple):
    """What a run learns from, chooses by and is scored on."""

    train: list[Record]
    valid: list[Record]
    test: list[Record]


def choose_splits(dataset: Dataset, config: DataConfig, seed: int) -> Splits:
    """The three splits of a run; where none is for validation, captions are held out of training.

    Held-out records share no caption with those kept, and no image: medical collections repeat captions over the images
    of one case, and images may have several captions.

    Raises:
        InputError: the training split is missing or holds no captions.
    """
    names = ", ".join(dataset.splits) or "none"
    if config.train_split not in dataset.splits:
        raise InputError(
            f"{dataset.root}: no split {config.train_split!r} to train on (found: {names}); "
            f"name one with --set data.train_split=NAME"
        )
    train = [r for r in dataset.splits[config.train_split] if r.caption]
    if not train:
        raise InputError(f"{dataset.root}: split {config.train_split!r} holds no captions; add its table of captions")
    test = dataset.splits.get(config.test_split, [])
    if config.valid_split in dataset.splits and config.valid_split != config.train_split:
        return Splits(train, [r for r in dataset.splits[config.valid_split] if r.caption], test)
    group_of = _caption_groups(train)
    groups = sorted(set(group_of.values()))
    held = max(1, round(len(groups) * config.valid_fraction))
    drawn = set(np.random.default_rng(seed).permutation(groups)[:held])
    if len(drawn) == len(groups):
        raise InputError(f"{dataset.root}: one distinct caption is too few to train and validate on")
    kept, held_out = ([r for r in train if (group_of[r.caption] in drawn) == is_held] for is_held in (False, True))
    return Splits(kept, held_out, test)


def _caption_groups(records: Sequence[Record]) -> dict[str, str]:
    """Each caption's group, named by its first caption: captions of one image are in one group."""
    above = {record.caption: record.caption for record in records}
    of_image: dict[Path, str] = {}

    def top(caption: str) -> str:
        while above[caption] != caption:
            caption = above[caption]
        return caption

    for record in records:
        if record.image_path is not None:
            a, b = sorted([top(of_image.setdefault(record.image_path, record.caption)), top(record.caption)])
            above[b] = a
    return {caption: top(caption) for caption in above}


class ImageFile(NamedTuple):
    """A record's image file as it was found."""

    size: int  # bytes
    digest: str  # SHA-256 of its content, in hexadecimal; empty where there is no image, or it cannot be opened
    problem: Problem | None  # why it cannot be read


def check_images(records: Sequence[Record], split: str) -> list[ImageFile]:
    """Read and decode each record's image; text-only records have none, and no problem."""
    with ThreadPoolExecutor() as pool:
        return list(progress(pool.map(_check_image, records), len(records), f"check {split} images"))


def _check_image(record: Record) -> ImageFile:
    if record.image_path is None:
        return ImageFile(0, "", None)
    size, digest = 0, ""
    try:
        content = images.read_bytes(record.image_path)
        size, digest = len(content), file_digest(record.image_path, content)
        images.decode_image(content, str(record.image_path))
    except InputError as error:
        return ImageFile(size, digest, Problem(str(record.image_path), 0, str(error)))
    return ImageFile(size, digest, None)


def content_digests(records: Sequence[Record]) -> list[str]:
    """SHA-256 of each record's image file, in hexadecimal; empty where it cannot be opened."""

    def digest(record: Record) -> str:
        try:
            return file_digest(record.image_file)
        except InputError:
            return ""

    with ThreadPoolExecutor() as pool:
        return list(pool.map(digest, records))


def content_digest(content: bytes) -> str:
    """What an image is told by wherever its name does not matter: SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


_digests: dict[tuple[str, int, int], str] = {}  # by path, size and time of change: a file is read once a process


def file_digest(path: Path, content: bytes | None = None) -> str:
    """`content_digest` of a file.

    Args:
        path: of the file.
        content: what is in it, where that is at hand.

    Raises:
        InputError: it cannot be read.
    """
    try:
        status = path.stat()
    except OSError:
        return content_digest(images.read_bytes(path))  # which says why not
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        _digests[key] = content_digest(images.read_bytes(path) if content is None else content)
    return _digests[key]


def frequent_concepts(records: Sequence[Record], min_count: int) -> list[str]:
    """Concepts with at least `min_count` records, by falling count, then by code."""
    counts = Counter(concept for record in records for concept in record.concepts)
    return sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))


def progress(items: Any, total: int, title: str) -> Any:
    """`items` with a bar on stderr, silent where stderr is no terminal and the work is short."""
    return tqdm(items, total=total, desc=title, unit="image", mininterval=1.0, leave=False)
