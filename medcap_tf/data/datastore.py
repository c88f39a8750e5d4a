"""The training images as a finished run remembers them: captions, concepts, features; for baselines and retrieval.

Axes: M training images, C channels, L tokens, E concepts of the image that has most.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.files import whole_file, write_text
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import END, PAD, START, Vocabulary


class Datastore(NamedTuple):
    """The training records and what the encoder sees in them, kept in the run folder."""

    records: list[Record]  # without their images' paths, once loaded
    features: np.ndarray  # float16 [M, C], mean region of each image
    images: Sequence[str] = ()  # SHA-256 of each image file; empty in runs of earlier versions

    def save(self, run: RunFolder) -> None:
        """Write both files, each atomically."""
        values: list[dict[str, Any]]
        values = [{"id": r.image_id, "caption": r.caption, "concepts": r.concepts} for r in self.records]
        for value, image in zip(values, self.images):
            value["image"] = image
        write_text(run.datastore_records, json.dumps(values, ensure_ascii=False, indent=0) + "\n")
        with whole_file(run.datastore_features) as file:
            np.save(file, self.features)

    @classmethod
    def load(cls, run: RunFolder) -> Datastore:
        """Read what `save` wrote; raises InputError where it is missing."""
        try:
            values = json.loads(run.datastore_records.read_text(encoding="utf-8"))
            features = np.load(run.datastore_features)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{run.path}: the run is not finished ({error}); train it with --resume") from error
        if len(values) != len(features):
            raise InputError(
                f"{run.path}: {run.datastore_records.name} has {len(values)} images, {run.datastore_features.name} "
                f"{len(features)}; train it with --resume"
            )
        records = [Record(v["id"], None, v["caption"], tuple(v["concepts"])) for v in values]
        return cls(records, features, [v["image"] for v in values if "image" in v])

    def contents(self) -> np.ndarray:
        """int32 [M], a number for what each image shows: equal for equal files."""
        return self.numbers_of(self._keys())

    def numbers_of(self, keys: Sequence[str]) -> np.ndarray:
        """The same numbers for other images, int32 [N], -1 where none of these is equal.

        Args:
            keys: SHA-256 of each file; where `images` is empty, `key_without_image` of each record.
        """
        number = {key: i for i, key in enumerate(dict.fromkeys(self._keys()))}
        return np.array([number.get(key, -1) for key in keys], np.int32)

    def _keys(self) -> list[str]:
        return list(self.images) or [key_without_image(record) for record in self.records]

    def encode(self, vocabulary: Vocabulary, concepts: Sequence[str], max_words: int) -> tuple[np.ndarray, np.ndarray]:
        """Captions and concepts as a retriever takes them; what the run does not know is an unknown word, or left out.

        Args:
            vocabulary: the run's words.
            concepts: the run's codes.
            max_words: after which a caption is cut.

        Returns:
            tokens int32 [M, L], `<start>` and `<end>` included, padded with 0, and the columns
            of each image's concepts, int32 [M, E], padded with -1.
        """
        words = [vocabulary.encode(record.caption) for record in self.records]
        tokens = np.full((len(words), 2 + min(max_words, max(map(len, words)))), PAD, np.int32)
        for row, ids in enumerate(words):
            whole = [START, *ids, END][: tokens.shape[1]]
            tokens[row, : len(whole)] = whole
        return tokens, ConceptMatrix.of(self.records, concepts).padded()


def key_without_image(record: Record) -> str:
    """What an entry goes by where its image's content is not known."""
    return f"{record.image_id}\n{record.caption}"
