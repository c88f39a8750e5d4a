"""Records to batches of tensors.

Axes: B batch, S pixels a side, T words of the batch's longest caption, K concepts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.config import DataConfig
from medcap_tf.data import images
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.records import Record
from medcap_tf.graphs import untuned
from medcap_tf.text import END, START, Vocabulary

# rows int64 [n] of a batch, rng -> array [n, ...]: whatever the visual side of a batch is. By a third argument, a
# slice, of these rows alone: what is drawn for a row depends on the batch, not on how it is shared out.
Loader = Callable[..., np.ndarray]
EVERY = slice(None)
WHOLE = (0, 1, 1)  # one replica reads all of each batch


@dataclass(frozen=True)
class Examples:
    """Records as the training loop reads them: each part by row."""

    records: list[Record]
    concepts: ConceptMatrix  # [N, K]
    words: list[list[int]]  # ids, without <start> and <end>

    @classmethod
    def of(cls, records: Sequence[Record], concepts: Sequence[str], vocabulary: Vocabulary, longest: int) -> Examples:
        """Encode captions and concepts once."""
        encoded = [vocabulary.encode(record.caption, longest) for record in records]
        return cls(list(records), ConceptMatrix.of(records, concepts), encoded)

    def with_words(self) -> Examples:
        """Without the records whose caption normalizes to nothing."""
        keep = np.array([i for i, words in enumerate(self.words) if words], np.int64)
        return self._take(keep)

    def with_concepts(self) -> Examples:
        """Without the records that have none of the learned concepts."""
        return self._take(np.flatnonzero(self.concepts.counts()))

    def _take(self, rows: np.ndarray) -> Examples:
        return Examples([self.records[i] for i in rows], self.concepts.take(rows), [self.words[i] for i in rows])

    @functools.cached_property
    def tensors(self) -> ExampleTensors:
        """All of it but the records, for every epoch and pass the same."""
        words = np.fromiter((word for words in self.words for word in words), np.int32)
        ends = np.cumsum([0, *map(len, self.words)])
        return ExampleTensors(
            tf.RaggedTensor.from_row_splits(np.insert(words, ends[:-1], START), ends + np.arange(len(ends))),
            tf.RaggedTensor.from_row_splits(np.insert(words, ends[1:], END), ends + np.arange(len(ends))),
            tf.RaggedTensor.from_row_splits(self.concepts.columns, self.concepts.ends),
        )


class ExampleTensors(NamedTuple):
    """What batches are gathered from."""

    inputs: tf.RaggedTensor  # int32 [N, (T + 1)], `<start>` and words
    targets: tf.RaggedTensor  # int32 [N, (T + 1)], words and `<end>`
    concepts: tf.RaggedTensor  # int32 [N, (E)], the columns of each record's concepts

    def concepts_of(self, rows: tf.Tensor, width: int) -> tf.Tensor:
        """int64 [B] -> float32 [B, K], 0 or 1."""
        own = tf.gather(self.concepts, rows)
        places = tf.stack([own.value_rowids(), tf.cast(own.values, tf.int64)], 1)
        dense = tf.scatter_nd(places, tf.ones(tf.shape(places)[:1]), [tf.shape(rows, tf.int64)[0], width])
        return tf.ensure_shape(dense, [None, width])


def image_loader(records: Sequence[Record], size: int, config: DataConfig, augment: bool) -> Loader:
    """Rows to pixels uint8 [n, S, S, 3], decoded in parallel; at random changed where `augment`."""
    pool = ThreadPoolExecutor()

    def read(row: int, rng: np.random.Generator) -> np.ndarray:
        image = images.read_image(records[row].image_file)
        if augment:
            enabled = {name: getattr(config, name) for name in ("horizontal_flip", "vertical_flip", "crop", "erase")}
            image = images.random_view(image, rng, **enabled)
        return images.prepare(image, size, config.equalize)

    def load(rows: np.ndarray, rng: np.random.Generator, own: slice = EVERY) -> np.ndarray:
        return np.stack(list(pool.map(read, rows[own], rng.spawn(len(rows))[own])))

    return load


def batches(
    examples: Examples,
    batch_size: int,
    *,
    order: np.ndarray | None = None,
    seed: Sequence[int] = (0,),
    skip: int = 0,
    visual: tuple[Loader, tuple[int, ...], Any] | None = None,
    drop_remainder: bool = False,
    words: bool = True,
    longest: int | None = None,
    replicas: tuple[int, int, int] = WHOLE,
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
        words: whether batches hold captions.
        longest: T + 1 of every batch, so that XLA compiles a step once; None: of the batch's longest caption.
        replicas: (first, past the last, of how many): of each batch the slices of these replicas, one after another.

    Returns:
        `rows` int64 [B], `inputs` int32 [B, T + 1] (`<start>` and words), `targets` int32 [B, T + 1] (words and
        `<end>`), both padded to one length, `batch_tokens` int64 [B], how many targets the whole batch
        has, `concepts` float32 [B, K] and, with a loader, `visual`.
    """
    order = np.arange(len(examples.records)) if order is None else order
    constants = examples.tensors
    numbered = tf.data.Dataset.from_tensor_slices(order.astype(np.int64)).batch(batch_size, drop_remainder).enumerate()
    numbered, share = numbered.skip(skip), batch_size // replicas[2]
    slices = tf.data.Dataset.range(*replicas[:2])
    shared = numbered.flat_map(lambda number, rows: slices.map(lambda replica: (number, rows, replica)))

    def gather(number: tf.Tensor, batch_rows: tf.Tensor, replica: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = batch_rows
        if replicas != WHOLE:
            rows = tf.ensure_shape(batch_rows[replica * share : (replica + 1) * share], [share])
        batch = {"rows": rows, "concepts": constants.concepts_of(rows, examples.concepts.width)}
        if words:
            for name, ids in {"inputs": constants.inputs, "targets": constants.targets}.items():
                batch[name] = tf.gather(ids, rows).to_tensor(shape=[rows.shape[0], longest])
            tokens = tf.reduce_sum(tf.gather(constants.targets.row_lengths(), batch_rows))
            batch["batch_tokens"] = tf.fill(tf.shape(rows), tokens)
        if visual is not None:
            loader, shape, dtype = visual

            def load(number: np.ndarray, rows: np.ndarray, replica: np.ndarray) -> np.ndarray:
                own = () if replicas == WHOLE else (slice(replica * share, (replica + 1) * share),)
                return loader(rows, np.random.default_rng([*seed, int(number)]), *own)

            loaded = tf.numpy_function(load, [number, batch_rows, replica], dtype)
            batch["visual"] = tf.ensure_shape(loaded, [rows.shape[0], *shape])
        return batch

    return untuned(shared.map(gather, num_parallel_calls=2, deterministic=True).prefetch(2))
