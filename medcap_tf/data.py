"""Records to batches of tensors.

Axes: B batch, S pixels a side, h x w grid of regions of C channels, T words of the batch's longest caption, K concepts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from medcap_tf import images
from medcap_tf.config import DataConfig
from medcap_tf.errors import InputError
from medcap_tf.records import Dataset, Problem, Record
from medcap_tf.text import END, START, Vocabulary


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
    found = ", ".join(dataset.splits) or "none"
    if config.train_split not in dataset.splits:
        raise InputError(
            f"{dataset.root}: no split {config.train_split!r} to train on (found: {found}); "
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
    chosen = set(np.random.default_rng(seed).permutation(groups)[:held])
    if len(chosen) == len(groups):
        raise InputError(f"{dataset.root}: one distinct caption is too few to train and validate on")
    kept, held_out = ([r for r in train if (group_of[r.caption] in chosen) == is_held] for is_held in (False, True))
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
        size, digest = len(content), content_digest(content)
        images.decode_image(content, str(record.image_path))
    except InputError as error:
        return ImageFile(size, digest, Problem(str(record.image_path), 0, str(error)))
    return ImageFile(size, digest, None)


def content_digests(records: Sequence[Record]) -> list[str]:
    """SHA-256 of each record's image file, in hexadecimal; empty where it cannot be opened."""

    def digest(record: Record) -> str:
        try:
            return content_digest(images.read_bytes(record.image_path))  # type: ignore[arg-type]
        except InputError:
            return ""

    with ThreadPoolExecutor() as pool:
        return list(pool.map(digest, records))


def content_digest(content: bytes) -> str:
    """What an image is told by wherever its name does not matter."""
    return hashlib.sha256(content).hexdigest()


def frequent_concepts(records: Sequence[Record], min_count: int) -> list[str]:
    """Concepts with at least `min_count` records, by falling count, then by code."""
    counts = Counter(concept for record in records for concept in record.concepts)
    return sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))


def concept_matrix(records: Sequence[Record], concepts: Sequence[str]) -> np.ndarray:
    """float32 [len(records), K], 1 where the record has the concept."""
    index = {concept: i for i, concept in enumerate(concepts)}
    matrix = np.zeros((len(records), len(concepts)), np.float32)
    for row, record in enumerate(records):
        for concept in record.concepts:
            if concept in index:
                matrix[row, index[concept]] = 1
    return matrix


def views(config: DataConfig) -> list[str]:
    """The views of each image that a frozen encoder's features are cached for."""
    wanted = {
        "identity": True,
        "horizontal_flip": config.horizontal_flip,
        "vertical_flip": config.vertical_flip,
        "center_crop": config.crop < 1,
    }
    return [view for view, used in wanted.items() if used]


def progress(items: Any, total: int, title: str) -> Any:
    """`items` with a bar on stderr, silent where stderr is no terminal and the work is short."""
    return tqdm(items, total=total, desc=title, unit="image", mininterval=1.0, leave=False)


# Batches of training


@dataclass(frozen=True)
class Examples:
    """Records as the training loop reads them: each part by row."""

    records: list[Record]
    concepts: np.ndarray  # float32 [N, K]
    words: list[list[int]]  # ids, without <start> and <end>

    @classmethod
    def of(cls, records: Sequence[Record], concepts: Sequence[str], vocabulary: Vocabulary, longest: int) -> Examples:
        """Encode captions and concepts once."""
        encoded = [vocabulary.encode(record.caption, longest) for record in records]
        return cls(list(records), concept_matrix(records, concepts), encoded)

    def with_words(self) -> Examples:
        """Without the records whose caption normalises to nothing."""
        keep = [i for i, words in enumerate(self.words) if words]
        return Examples([self.records[i] for i in keep], self.concepts[keep], [self.words[i] for i in keep])

    def with_concepts(self) -> Examples:
        """Without the records that have none of the learned concepts."""
        keep = np.flatnonzero(self.concepts.sum(1))
        return Examples([self.records[i] for i in keep], self.concepts[keep], [self.words[i] for i in keep])


# rows int64 [n], rng -> array [n, ...]: whatever the visual side of a batch is.
Loader = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def image_loader(records: Sequence[Record], size: int, config: DataConfig, augment: bool) -> Loader:
    """Rows to pixels uint8 [n, S, S, 3], decoded in parallel; with random flips and crops where `augment`."""
    pool = ThreadPoolExecutor()

    def load(row: int, rng: np.random.Generator) -> np.ndarray:
        image = images.read_image(records[row].image_path)  # type: ignore[arg-type]
        if augment:
            flips = {"horizontal_flip": config.horizontal_flip, "vertical_flip": config.vertical_flip}
            image = images.random_view(image, rng, crop=config.crop, **flips)
        return images.prepare(image, size, config.equalize)

    return lambda rows, rng: np.stack(list(pool.map(load, rows, rng.spawn(len(rows)))))


def batches(
    examples: Examples,
    batch_size: int,
    *,
    order: np.ndarray | None = None,
    seed: Sequence[int] = (0,),
    skip: int = 0,
    visual: tuple[Loader, tuple[int, ...], Any] | None = None,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Batches of rows in the given order, the same for the same arguments.

    Args:
        examples: what is read.
        batch_size: B.
        order: int64 [n], rows; None: all, in their order.
        seed: with a batch's number, what its random views depend on.
        skip: batches to leave out at the beginning, as a resumed epoch does.
        visual: a loader with the shape and type of one of its items; None for text alone.
        drop_remainder: leave out a last short batch.

    Returns:
        `rows` int64 [B], `inputs` int32 [B, T + 1] (`<start>` and words), `targets` int32 [B, T + 1] (words and
        `<end>`), both padded to the batch's longest caption, `concepts` float32 [B, K] and, with a loader, `visual`.
    """
    order = np.arange(len(examples.records)) if order is None else order
    inputs = tf.ragged.constant([[START, *words] for words in examples.words], dtype=tf.int32)
    targets = tf.ragged.constant([[*words, END] for words in examples.words], dtype=tf.int32)
    concepts = tf.constant(examples.concepts)
    numbered = tf.data.Dataset.from_tensor_slices(order.astype(np.int64)).batch(batch_size, drop_remainder).enumerate()

    def gather(number: tf.Tensor, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = {
            "rows": rows,
            "inputs": tf.gather(inputs, rows).to_tensor(),
            "targets": tf.gather(targets, rows).to_tensor(),
            "concepts": tf.gather(concepts, rows),
        }
        if visual is not None:
            loader, shape, dtype = visual

            def load(number: np.ndarray, rows: np.ndarray) -> np.ndarray:
                return loader(rows, np.random.default_rng([*seed, int(number)]))

            loaded = tf.numpy_function(load, [number, rows], dtype)
            batch["visual"] = tf.ensure_shape(loaded, [None, *shape])
        return batch

    return numbered.skip(skip).map(gather, num_parallel_calls=2, deterministic=True).prefetch(2)
