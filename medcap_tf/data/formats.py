"""What kind of image a file is, and what its header states: told by the content, before anything is decoded.

Axes: H height, W width of an image. docs/formats.md has the table of what is read and how.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

# A file of these is taken for an image without a look inside, so that a broken one is reported and not passed over.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"),
    *(".jp2", ".j2k", ".jpc", ".pbm", ".pgm", ".ppm", ".pnm", ".dcm", ".dicom", ".dic", ".ima"),
)
NAMES = "JPEG, PNG, BMP, GIF, TIFF, WebP, JPEG 2000, PNM or DICOM"
HEAD_BYTES = 132  # enough to tell any kind
PNG_START = b"\x89PNG\r\n\x1a\n"

_CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000, bare or in a file

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    PNG_START: "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0\x08\0\0\0": "TIFF",  # BigTIFF
    b"MM\0+\0\x08\0\0": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    _CODESTREAM: "JPEG 2000",
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes, by version
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


class JpegFrame(NamedTuple):
    """What the start of a JPEG's frame states."""

    process: int  # 0 baseline, 1 extended, 2 progressive, 3 lossless, 9 and 10 arithmetic: ITU T.81, table B.1
    bits: int
    height: int
    width: int
    components: int


def kind_of(data: bytes) -> str | None:
    """The kind of image that a file's first HEAD_BYTES announce, as NAMES has it; None for any other content."""
    for start, kind in _STARTS.items():
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6][ \t\r\n]+[#\d]", data):
        return "PNM"
    return "DICOM" if data[128:132] == b"DICM" or _begins_as_dicom(data) else None


def size_of(data: bytes) -> tuple[int, int] | None:
    """(H, W) as the header states them, before memory is spent on pixels; None where it cannot be told."""
    kind = kind_of(data)
    try:
        return _SIZES[kind](data) if kind in _SIZES else None
    except (struct.error, OverflowError, KeyError, ValueError):
        return None


def jpeg_frame(data: bytes) -> JpegFrame:
    """The frame of a JPEG; raises struct.error where the file ends before it."""
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        # Start-of-frame markers are C0 to CF, but for the tables C4, C8 and CC.
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            return JpegFrame(marker - 0xFFC0, *struct.unpack_from(">BHHB", data, position + 4))
        position += 1 if marker == 0xFFFF else 2 + length


class PngChunk(NamedTuple):
    """A chunk of a PNG, and whether its checksum is right."""

    name: bytes
    content: bytes
    sound: bool


def png_chunks(data: bytes) -> list[PngChunk]:
    """A PNG's chunks up to its end; raises ValueError where it breaks off, or does not begin with a header."""
    chunks: list[PngChunk] = []
    place = len(PNG_START)
    while not chunks or chunks[-1].name != b"IEND":
        if place + 12 > len(data):
            raise ValueError("it breaks off")
        (length,) = struct.unpack_from(">I", data, place)
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length
        sound = zlib.crc32(name + content).to_bytes(4, "big") == data[place - 4 : place]
        chunks.append(PngChunk(name, content, sound))
    if chunks[0].name != b"IHDR" or len(chunks[0].content) != 13:
        raise ValueError("no header")
    return chunks


def jpeg_2000_components(data: bytes) -> tuple[int, int]:
    """The number of components and the bits of the first one, and 128 where those have a sign; ISO 15444-1, A.5.1.

    Raises ValueError or struct.error where there is no codestream, or it breaks off.
    """
    number, bits = struct.unpack_from(">HB", data, data.index(_CODESTREAM) + 40)
    return number, bits + 1


def tiff_tags(data: bytes) -> dict[int, int]:
    """The first value of every tag of a TIFF's first page, classic or BigTIFF; what is no whole number is left out."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, entries = ("Q", "Q") if big else ("I", "H")
    tags: dict[int, int] = {}
    try:
        (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + entries, data, start)
        place = start + struct.calcsize(entries)
        for _ in range(min(count, 4096)):
            tag, kind, values = struct.unpack_from(f"{order}HH{offset}", data, place)
            value = place + struct.calcsize(f"=HH{offset}")
            place = value + struct.calcsize(offset)
            if kind not in _TIFF_TYPES:
                continue
            if values * struct.calcsize(_TIFF_TYPES[kind]) > struct.calcsize(offset):
                (value,) = struct.unpack_from(order + offset, data, value)
            (tags[tag],) = struct.unpack_from(order + _TIFF_TYPES[kind], data, value)
    except (struct.error, OverflowError):  # it breaks off; the decoder says so
        pass
    return tags


def _begins_as_dicom(data: bytes) -> bool:
    """Whether a data set begins at once, without preamble: an element of group 2 or 8 of a sensible length."""
    if len(data) < 12:
        return False
    group, element, length = struct.unpack_from("<HHI", data)
    explicit = re.fullmatch(rb"[A-Z]{2}", data[4:6]) is not None
    return group in (2, 8) and element <= 0x0100 and (explicit or length <= 64)


def _bmp_size(data: bytes) -> tuple[int, int]:
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), abs(width)  # a negative height means rows from the top


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
    elif data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return height, width


def _jpeg_2000_size(data: bytes) -> tuple[int, int]:
    # The codestream counts, whatever the boxes around it say: ISO 15444-1, A.5.1.
    right, bottom, left, top = struct.unpack_from(">IIII", data, data.index(_CODESTREAM) + 8)
    return bottom - top, right - left


def _tiff_size(data: bytes) -> tuple[int, int]:
    tags = tiff_tags(data)
    return tags[257], tags[256]


def _pair(order: str, place: int) -> Callable[[bytes], tuple[int, int]]:
    def read(data: bytes) -> tuple[int, int]:
        width, height = struct.unpack_from(order, data, place)
        return height, width

    return read


_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "JPEG": lambda data: jpeg_frame(data)[2:4],
    "PNG": _pair(">II", 16),
    "BMP": _bmp_size,
    "GIF": _pair("<HH", 6),
    "TIFF": _tiff_size,
    "WebP": _webp_size,
    "JPEG 2000": _jpeg_2000_size,
}
