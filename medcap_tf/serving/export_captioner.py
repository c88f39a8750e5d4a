"""An export as a captioner: the same calls and answers as a run's, out of a SavedModel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from medcap_tf.caption import Caption, ImageInput
from medcap_tf.errors import InputError
from medcap_tf.serving.answers import to_caption
from medcap_tf.serving.upload import try_read

_BATCH = 16


class ExportCaptioner:
    """A version folder, ready to caption."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None):
        """Load; raises InputError where the folder is no export of this package, or is given settings: its decoding
        options are fixed."""
        if settings:
            raise InputError(f"{folder}: an export's decoding options are fixed; export the run again with others")
        try:
            self._model: Any = tf.saved_model.load(str(folder))
            self._explain = self._model.signatures["explain"]
            self._threshold = float(self._model.concept_threshold)
            names = self._model.concept_names.numpy() if hasattr(self._model, "concept_names") else ()
            self.concept_names = {code.decode(): name.decode() for code, name in names}
            self._size = self._model.signatures["image"].structured_input_signature[1]["image"].shape[1]
        except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
            raise InputError(f"{folder}: no export of this package that can be loaded ({error})") from error

    def caption(self, sources: Sequence[ImageInput]) -> Iterator[Caption]:
        """Caption images, files or arrays, in their order; an unreadable one gets a `Caption` with an error."""
        for start in range(0, len(sources), _BATCH):
            batch = sources[start : start + _BATCH]
            read = [try_read(source, self._size) for source in batch]
            readable = [item for item in read if isinstance(item, bytes)]
            answer = self._explain(image_bytes=tf.constant(readable, tf.string, [len(readable)]))
            rows = iter([{name: value[row].numpy() for name, value in answer.items()} for row in range(len(readable))])
            for source, item in zip(batch, read):
                if isinstance(item, InputError):
                    yield Caption(error=str(item)).of(source)
                else:
                    yield to_caption(source, next(rows), self._threshold)
