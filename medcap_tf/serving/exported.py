"""An export as a captioner: the same calls and answers as a run's, out of a SavedModel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow as tf

from medcap_tf import images
from medcap_tf.captioner import Caption
from medcap_tf.errors import InputError
from medcap_tf.serving.answers import caption_fields
from medcap_tf.serving.files import SUFFIXES

_BATCH = 16


class ExportedCaptioner:
    """A version folder, ready to caption."""

    concept_names: ClassVar[dict[str, str]] = {}  # an export holds codes alone

    def __init__(self, folder: Path):
        """Load; raises InputError where the folder is no export of this package."""
        try:
            self._model: Any = tf.saved_model.load(str(folder))
            self._explain = self._model.signatures["explain"]
            self._threshold = float(self._model.concept_threshold)
            self._size = self._model.signatures["image"].structured_input_signature[1]["image"].shape[1]
        except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
            raise InputError(f"{folder}: no export of this package that can be loaded ({error})") from error

    def caption(self, paths: Sequence[Path]) -> Iterator[Caption]:
        """Caption image files in their order; an unreadable one gets a `Caption` with an error."""
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            read = [self._read(path) for path in batch]
            good = [item for item in read if isinstance(item, bytes)]
            found = self._explain(image_bytes=tf.constant(good, tf.string, [len(good)]))
            rows = iter([{name: value[row].numpy() for name, value in found.items()} for row in range(len(good))])
            for path, item in zip(batch, read):
                yield self._to_caption(path, next(rows)) if isinstance(item, bytes) else Caption(path, error=str(item))

    def _read(self, path: Path) -> bytes | InputError:
        """A file as a server would get it; kinds that it does not know go in as a PNG of the encoder's size."""
        try:
            if Path(path).suffix.lower() in SUFFIXES:
                return images.read_bytes(path)
            pixels = images.prepare(images.read_image(path), self._size, with_equalize=False)
        except InputError as error:
            return error
        return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()

    def _to_caption(self, path: Path, row: dict[str, np.ndarray]) -> Caption:
        if not row["valid"]:
            return Caption(path, error=f"{path}: not a readable image; give a whole JPEG, PNG, BMP or GIF file")
        return Caption(path, **caption_fields(row, self._threshold))
