"""An export as a captioner: the same calls and answers as a run's, out of a SavedModel, without Python's TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcap_tf.caption import Caption, ImageInput
from medcap_tf.errors import InputError
from medcap_tf.serving.answers import to_caption
from medcap_tf.serving.capi import ServedModel
from medcap_tf.serving.upload import try_read

_BATCH = 16


class ExportCaptioner:
    """A version folder, ready to caption."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None):
        """Load; raises InputError where the folder is no export of this package or cannot be loaded, and for settings:
        an export's decoding options are fixed."""
        if settings:
            raise InputError(f"{folder}: an export's decoding options are fixed; export the run again with others")
        # By the C API: importing Python's TensorFlow takes longer than to load an export and to caption an image.
        self._model = ServedModel(folder, as_server=False)
        known = {"explain", "image"} <= set(self._model.signatures)
        threshold: Any = self._variable(folder, "concept_threshold") if known else ()
        if not np.size(threshold):
            raise InputError(f"{folder}: a SavedModel, but no export of this package")
        self._threshold = float(threshold)
        self.concept_names = {code.decode(): name.decode() for code, name in self._variable(folder, "concept_names")}
        self._size = self._model.signatures["image"].inputs["image"].shape[1]

    def _variable(self, folder: Path, name: str) -> Any:
        value = self._model.variable(name)
        return _from_checkpoint(folder, name) if value is None else value

    def caption(self, sources: Sequence[ImageInput]) -> Iterator[Caption]:
        """Caption images, files or arrays, in their order; an unreadable one gets a `Caption` with an error."""
        for start in range(0, len(sources), _BATCH):
            batch = sources[start : start + _BATCH]
            read = [try_read(source, self._size) for source in batch]
            readable = [item for item in read if isinstance(item, bytes)]
            answer = self._model.run("explain", {"image_bytes": np.array(readable, object)})
            rows = iter([{name: value[row] for name, value in answer.items()} for row in range(len(readable))])
            for source, item in zip(batch, read):
                if isinstance(item, InputError):
                    yield Caption(error=str(item)).of(source)
                else:
                    yield to_caption(source, next(rows), self._threshold)


def _from_checkpoint(folder: Path, name: str) -> Any:
    """A variable of an export of an earlier version, whose graph calls them all `Variable`; empty where it has none."""
    import tensorflow as tf

    checkpoint = tf.train.load_checkpoint(str(folder / "variables/variables"))
    key = f"{name}/.ATTRIBUTES/VARIABLE_VALUE"
    return checkpoint.get_tensor(key) if checkpoint.has_tensor(key) else ()
