"""A file as an export gets it: as it lies there where the export's graph reads it alike, else as a PNG of its pixels.

The client, the web page and `caption EXPORT` all send what `read_for_server` gives.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from medcap_tf import images
from medcap_tf.errors import InputError
from medcap_tf.formats import jpeg_frame, kind_of, size_of
from medcap_tf.serving.files import MAX_PIXELS

REFUSED = f"refused by the export's reader; give a whole image of at most {MAX_PIXELS:,} pixels"


def read_for_server(path: Path, size: int | None = None) -> bytes:
    """A file as a server is to get it: what the graph does not read as a run would becomes a PNG, squashed to `size`
    pixels a side where that is given.

    Raises InputError, with the name of the reader that refused, where the file cannot be read here, or has more pixels
    than an export takes and `size` is not known.
    """
    data = images.read_bytes(path)
    height, width = size_of(data) or (0, 0)
    if read_by_graph(data) and height * width <= MAX_PIXELS:
        return data
    try:
        pixels = images.decode_image(data, str(path))
    except InputError as error:
        raise InputError(f"{error} (refused by this machine's reader; nothing was sent)") from error
    if size is not None:
        pixels = images.resize(pixels, size)
    elif pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        found = f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
        raise InputError(f"{path}: {found}, more than the {MAX_PIXELS:,} that an export takes; make the image smaller")
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def try_read(path: Path, size: int | None = None) -> bytes | InputError:
    """What `read_for_server` gives, or the reason why it gives nothing."""
    try:
        return read_for_server(path, size)
    except InputError as error:
        return error


def read_by_graph(data: bytes) -> bool:
    """Whether an export's graph shows a file as `images.decode_image` does, told by its headers."""
    told = {"JPEG": _plain_jpeg, "PNG": lambda _: True, "BMP": _plain_bmp, "GIF": _plain_gif}.get(kind_of(data) or "")
    try:
        return told is not None and told(data)
    except (struct.error, IndexError):  # the headers break off
        return False


def _plain_jpeg(data: bytes) -> bool:
    """Baseline or progressive, eight bits, grey or color, with its end mark."""
    frame = jpeg_frame(data)
    ends = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return frame.process <= 2 and frame.bits == 8 and frame.components in (1, 3) and ends


def _plain_bmp(data: bytes) -> bool:
    """Of 8, 24 or 32 bits, not compressed, with a header of Windows."""
    (header,) = struct.unpack_from("<I", data, 14)
    depth, compression = struct.unpack_from("<HI", data, 28)
    return header >= 40 and depth in (8, 24, 32) and compression == 0


def _plain_gif(data: bytes) -> bool:
    """Its first frame fills the screen."""
    place = 13 + _table_bytes(data[10])
    while data[place] == 0x21:  # an extension: two bytes, then blocks with their length before them, the last empty
        place += 2
        while data[place]:
            place += 1 + data[place]
        place += 1
    screen = struct.unpack_from("<HH", data, 6)
    return struct.unpack_from("<HHHH", data, place + 1) == (0, 0, *screen)


def _table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0
