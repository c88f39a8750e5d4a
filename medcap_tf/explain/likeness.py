"""Similar training images: which regions of both made them alike, and where in them a copied word comes from.

Axes: n words of the caption, h x w regions of C channels, g x g places of the finest maps, H x W pixels as shown.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.caption import shares_of
from medcap_tf.captioner import RunCaptioner
from medcap_tf.config import DataConfig
from medcap_tf.data import images
from medcap_tf.data.datastore import Datastore, key_without_image
from medcap_tf.data.records import Record, read_dataset
from medcap_tf.data.splits import file_digest
from medcap_tf.errors import InputError
from medcap_tf.explain.explanation import MIN_RETRIEVAL_WEIGHT, Likeness, shown_size
from medcap_tf.graphs import graph_function
from medcap_tf.models.captioning import shift_right
from medcap_tf.models.retrieval import Neighbors, copied_from, mean_unit_row, unit_rows
from medcap_tf.text import PAD


class Similar(NamedTuple):
    """A training image that counts beside the decoder."""

    record: Record
    weight: float  # in 0..1
    likeness: Likeness


class LikenessReader:
    """Compares an image with the training images that its caption was interpolated with.

    Two images' similarity is the cosine of the square roots of their mean regions p and q. Since sqrt(p_c) is the mean
    over regions of r_c / sqrt(p_c), it is a sum over the regions of either image: exactly what each of them gave (as
    Stylianou et al. 2019 decompose the dot product of two embeddings). All images of a kind share most of it, so the
    similarity to the mean training image is taken off: a map shows what makes these two more alike than most.
    """

    def __init__(self, captioner: RunCaptioner, training_data: Path | None = None):
        """`training_data`: a data set that holds the training images, to show them; None: they are not shown.

        Raises:
            InputError: it cannot be read.
        """
        self._captioner, self._model = captioner, captioner.fast_model
        self._files: dict[str, Record] = {}
        if captioner.datastore and training_data:
            self._files = _files_of(training_data, captioner.config.data)
        size = captioner.config.visual.image_size
        pixels, tokens = tf.TensorSpec([None, size, size, 3], tf.uint8), tf.TensorSpec([None], tf.int32)
        self._see = graph_function(self._see_with_caption, input_signature=[pixels, tokens])
        self._compare = graph_function(self._regions_and_copies, input_signature=[pixels, tokens])

    def read(self, pixels: np.ndarray, tokens: np.ndarray, count: int) -> list[Similar]:
        """The training images that count most, the heaviest first; none in a run without similar images.

        Args:
            pixels: uint8 [S, S, 3].
            tokens: int32 [n], the caption; it may be empty.
            count: how many, at most; those of less weight than MIN_RETRIEVAL_WEIGHT are left out.
        """
        if self._captioner.datastore is None:
            return []
        some = tokens if len(tokens) else np.array([PAD], np.int32)
        regions, shares, neighbors = self._compare(pixels[None], some)
        regions, shares = regions.numpy(), shares.numpy()[: len(tokens)]
        rows, weights, captions = (value.numpy()[0][:count] for value in neighbors[:3])
        return [
            self._similar(int(row), float(weight), regions, shares[:, place], caption)
            for place, (row, weight, caption) in enumerate(zip(rows, weights, captions))
            if weight >= MIN_RETRIEVAL_WEIGHT
        ]

    @cached_property
    def _mean(self) -> np.ndarray:
        """The mean training image float32 [C]; of many it takes a while, and an image may have no similar ones."""
        assert self._captioner.datastore is not None
        return mean_unit_row(self._captioner.datastore.features)

    def _similar(
        self, row: int, weight: float, regions: np.ndarray, shares: np.ndarray, caption: np.ndarray
    ) -> Similar:
        """One training image; `shares` float32 [n, L], what each place of its `caption` int32 [L] gave to each word."""
        datastore = self._captioner.datastore
        assert datastore is not None
        record, words = datastore.records[row], shares.sum(1)
        alike = parts_of_similarity(regions, unit_rows(datastore.features[row : row + 1])[0] - self._mean)
        image = self._image(datastore, row)
        if image is None:
            return Similar(record, weight, Likeness(alike, words))
        tokens = caption[1:][caption[1:] != PAD]
        seen = self._see(self._captioner.prepare(image)[None], tokens)
        there, maps = (value.numpy() for value in seen)
        own = unit_rows(regions.mean((0, 1))[None])[0] - self._mean
        word_maps = shares_of(np.einsum("nl,lgk->ngk", shares[:, 1 : 1 + len(tokens)], shares_of(maps)))
        return Similar(
            record, weight, Likeness(alike, words, shown_size(image), parts_of_similarity(there, own), word_maps)
        )

    def _image(self, datastore: Datastore, row: int) -> np.ndarray | None:
        """The training image of a row, where it is at hand and is the one that the run was trained on."""
        record = datastore.records[row]
        found = self._files.get(record.image_id)
        if found is None:
            return None
        try:
            known = datastore.images[row] if datastore.images else key_without_image(record)
            same = known == (file_digest(found.image_file) if datastore.images else key_without_image(found))
            return images.read_image(found.image_file) if same else None
        except InputError:
            return None  # gone, or unreadable now

    def _regions_and_copies(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Neighbors]:
        """The image's regions float32 [h, w, C]; float32 [n, N, L], what each place of each neighbor's caption gave of
        each word's probability; the neighbors."""
        encoded, words = self._model.encode(pixels), tokens[None]
        assert encoded.neighbors is not None  # `read` asks only where there are some
        copied = copied_from(encoded.neighbors, shift_right(words), words)[0]
        probability = tf.exp(self._model.score(encoded, words).log_probs[0])
        return tf.cast(encoded.regions[0], tf.float32), copied / probability[:, None, None], encoded.neighbors

    def _see_with_caption(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        encoded = self._model.encode(pixels)
        scored = self._model.score(encoded, tokens[None])
        maps = scored.attention if scored.evidence is None else scored.evidence.maps
        return tf.cast(encoded.regions[0], tf.float32), maps[0]


def parts_of_similarity(regions: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What each region of an image, float32 [h, w, C], gives to the dot product of the image's row, as in `unit_rows`,
    and another one float32 [C]: float32 [h, w], which adds up to it."""
    roots = np.sqrt(np.maximum(regions.mean((0, 1)), 1e-12))
    direction = other / roots / np.linalg.norm(roots)
    return (regions @ direction / (regions.shape[0] * regions.shape[1])).astype(np.float32)


def _files_of(data: Path, config: DataConfig) -> dict[str, Record]:
    """The records of a data set that have an image, by ID, named as a training names them."""
    return {
        record.image_id: record
        for records in read_dataset(data, config.train_split if config.captions == "all" else None).splits.values()
        for record in records
        if record.image_path is not None
    }
