"""An export as a captioner: the same calls and answers as a run's, out of a SavedModel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf

from medcap_tf.caption import Caption
from medcap_tf.errors import InputError
from medcap_tf.serving.answers import to_caption
from medcap_tf.serving.upload import try_read

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
            read = [try_read(path, self._size) for path in batch]
            good = [item for item in read if isinstance(item, bytes)]
            found = self._explain(image_bytes=tf.constant(good, tf.string, [len(good)]))
            rows = iter([{name: value[row].numpy() for name, value in found.items()} for row in range(len(good))])
            for path, item in zip(batch, read):
                if isinstance(item, InputError):
                    yield Caption(path, error=str(item))
                else:
                    yield to_caption(path, next(rows), self._threshold)
