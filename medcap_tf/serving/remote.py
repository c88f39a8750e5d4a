"""A served model as a captioner: the same calls and answers as a run's, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from medcap_tf import images
from medcap_tf.caption import Caption
from medcap_tf.errors import InputError
from medcap_tf.serving.answers import to_caption
from medcap_tf.serving.client import Client, in_batches
from medcap_tf.serving.files import SUFFIXES


class RemoteCaptioner:
    """One model on a server, ready to caption."""

    def __init__(self, client: Client, threshold: float):
        """`threshold`: concepts below it are not named; an answer does not carry the export's own."""
        self._client, self._threshold = client, threshold

    def caption(self, paths: Sequence[Path]) -> Iterator[Caption]:
        """Caption image files in their order, a request each; where a file cannot be read or the server gives no
        answer, the `Caption` holds the error."""
        for path in paths:
            try:
                (row,) = in_batches(self._client, "explain", [try_read(path)], 1)
            except InputError as error:
                row = error
            yield (
                Caption(path, error=str(row)) if isinstance(row, InputError) else to_caption(path, row, self._threshold)
            )


def try_read(path: Path, size: int | None = None) -> bytes | InputError:
    """What `read_for_server` gives, or the reason why it gives nothing."""
    try:
        return read_for_server(path, size)
    except InputError as error:
        return error


def read_for_server(path: Path, size: int | None = None) -> bytes:
    """A file as a server would get it; kinds that it does not know become a PNG, squashed to `size` pixels a side where
    that is given. Raises InputError where the file cannot be read."""
    if path.suffix.lower() in SUFFIXES:
        return images.read_bytes(path)
    pixels = images.read_image(path)
    if size is not None:
        pixels = images.resize(pixels, size)
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
