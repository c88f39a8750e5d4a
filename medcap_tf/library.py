"""The training images as a finished run remembers them: captions, concepts, features; for baselines and retrieval."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.files import write_bytes, write_text
from medcap_tf.records import Record


class Library(NamedTuple):
    """The training records and what the encoder sees in them, kept in the run folder."""

    records: list[Record]  # without their images' paths, once loaded
    features: np.ndarray  # float16 [M, C], mean region of each image

    def save(self, run: Path) -> None:
        """Write `library.json` and `library.npy`."""
        values = [{"id": r.image_id, "caption": r.caption, "concepts": r.concepts} for r in self.records]
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
        return cls([Record(v["id"], None, v["caption"], tuple(v["concepts"])) for v in values], features)
