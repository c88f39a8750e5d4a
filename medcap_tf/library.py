"""The training images as a finished run remembers them: captions, concepts, features; for baselines and retrieval."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.files import write_bytes, write_text
from medcap_tf.records import Record


class Library(NamedTuple):
    """The training records and what the encoder sees in them, kept in the run folder."""

    records: list[Record]  # without their images' paths, once loaded
    features: np.ndarray  # float16 [M, C], mean region of each image
    images: Sequence[str] = ()  # SHA-256 of each image file; empty in runs of earlier versions

    def save(self, run: Path) -> None:
        """Write `library.json` and `library.npy`."""
        values: list[dict[str, Any]]
        values = [{"id": r.image_id, "caption": r.caption, "concepts": r.concepts} for r in self.records]
        for value, image in zip(values, self.images):
            value["image"] = image
        write_text(run / "library.json", json.dumps(values, ensure_ascii=False, indent=0) + "\n")
        with io.BytesIO() as file:
            np.save(file, self.features)
            write_bytes(run / "library.npy", file.getvalue())

    @classmethod
    def load(cls, run: Path) -> Library:
        """Read what `save` wrote; raises InputError where it is missing."""
        try:
            values = json.loads((run / "library.json").read_text(encoding="utf-8"))
            features = np.load(run / "library.npy")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{run}: the run is not finished ({error}); train it with --resume") from error
        if len(values) != len(features):
            raise InputError(
                f"{run}: library.json has {len(values)} images, library.npy {len(features)}; train it with --resume"
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


def key_without_image(record: Record) -> str:
    """What an entry goes by where its image's content is not known."""
    return f"{record.image_id}\n{record.caption}"
