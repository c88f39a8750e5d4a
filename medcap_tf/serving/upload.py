"""A file as an export gets it: as it lies there where the export's graph reads it alike, else as a PNG of its pixels.

The client, the web page and `caption EXPORT` all send what `read_for_server` gives.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from medcap_tf.caption import EncodedImage, ImageInput
from medcap_tf.data import images
from medcap_tf.data.formats import jpeg_frame, kind_of, png_chunks, size_of
from medcap_tf.errors import InputError
from medcap_tf.serving.files import MAX_PIXELS

REFUSED = f"refused by the export's reader; give a whole image of at most {MAX_PIXELS:,} pixels"


def read_for_server(source: ImageInput, size: int | None = None) -> bytes:
    """A file, or an image, as a server is to get it: what the graph does not read as a run would becomes a PNG,
    squashed to `size` pixels a side where that is given.

    Raises InputError, with the name of the reader that refused, where the file cannot be read here, or has more pixels
    than an export takes and `size` is not known.
    """
    if isinstance(source, EncodedImage):
        return for_server(source.read(), source.name, size)
    if not isinstance(source, (str, Path)):
        return _as_png(images.to_array(source), size, "image")
    return for_server(images.read_bytes(Path(source)), str(source), size)


def for_server(data: bytes, name: str, size: int | None = None) -> bytes:
    """`read_for_server` of a file's bytes; `name` is what error messages call it."""
    height, width = size_of(data) or (0, 0)
    if read_by_graph(data) and height * width <= MAX_PIXELS:
        return data
    try:
        pixels = images.decode_image(data, name)
    except InputError as error:
        raise InputError(f"{error} (refused by this machine's reader; nothing was sent)") from error
    return _as_png(pixels, size, name)


def _as_png(pixels: np.ndarray, size: int | None, name: str) -> bytes:
    if size is not None:
        pixels = images.resize(pixels, size)
    elif pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        extent = f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
        raise InputError(f"{name}: {extent}, more than the {MAX_PIXELS:,} that an export takes; make the image smaller")
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def try_read(source: ImageInput, size: int | None = None) -> bytes | InputError:
    """What `read_for_server` gives, or the reason why it gives nothing."""
    try:
        return read_for_server(source, size)
    except InputError as error:
        return error


def read_by_graph(data: bytes) -> bool:
    """Whether an export's graph is sure to show a file as `images.decode_image` does: a PNG of right checksums, or a
    sequential JPEG of eight bits, gray or color, with its end mark.

    Sound files of other kinds look the same to both, too, but of broken ones the graph's readers make what they can:
    of BMP and GIF by other rules, and versions of libjpeg smooth a progressive JPEG without its last scans differently.
    """
    kind = kind_of(data)
    try:
        if kind == "PNG":
            return all(chunk.sound for chunk in png_chunks(data))
        if kind != "JPEG":
            return False
        frame = jpeg_frame(data)
    except (struct.error, ValueError):  # it breaks off
        return False
    ends = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return frame.process <= 1 and frame.bits == 8 and frame.components in (1, 3) and ends
