"""Encoded bytes of each kind of file to pixels; docs/formats.md says by which rule.

Each decoder takes a whole file whose header has been held against the limit on size, and gives `uint8 [H, W, 3]`, RGB.
What it raises on a broken file is its library's own; `images.decode_image` says it in one line.

Axes: H height, W width, C channels.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from medcap_tf.data.codecs import apart
from medcap_tf.data.formats import PNG_START, jpeg_2000_components, png_chunks, tiff_tags
from medcap_tf.data.pixels import check_size, composite, scale, three_channels, to_uint8

# What libraries log about a broken file is said again, with the file's name, by the InputError of `decode_image`.
cv2.setLogLevel(0)
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)

_COLORS = {0: 1, 1: 1, 2: 3, 3: 1}  # samples of a color, by a TIFF's photometric interpretation
_RUNS = (1, 2)  # a BMP's compressions by run length
_FAX = (2, 3, 4)  # CCITT compressions
_UNASSOCIATED = 2  # alpha that the colors are not multiplied with yet: TIFF 6.0, ExtraSamples


def decode_with_opencv(data: bytes) -> np.ndarray:
    """JPEG, WebP, PNM."""
    return _rgb(_read_opencv(data))


def decode_png(data: bytes) -> np.ndarray:
    """PNG, of an animated one the default image: from the chunks that tell pixels alone.

    As libpng does, an ancillary chunk of a wrong checksum is passed over, and a key's bits beyond the depth are.
    """
    chunks = png_chunks(data)
    broken = next((chunk.name for chunk in chunks if not chunk.sound and not chunk.name[:1].islower()), None)
    if broken:
        raise ValueError(f"the checksum of its chunk {broken!r} is wrong")
    chunks = [chunk for chunk in chunks if chunk.sound]
    depth, kind = chunks[0].content[8:10]
    key = next((chunk.content for chunk in chunks if chunk.name == b"tRNS"), b"")
    kept = (b"IHDR", b"PLTE", b"IDAT", b"IEND", *([b"tRNS"] if kind == 3 else []))
    bare = PNG_START + b"".join(_png_chunk(name, content) for name, content, _ in chunks if name in kept)
    image = _read_opencv(bare)
    if len(key) != {0: 2, 2: 6}.get(kind, -1):
        return _rgb(image)
    values = np.array(struct.unpack(f">{len(key) // 2}H", key)[::-1])
    values = (values & (2**depth - 1)) * (255 // (2**depth - 1) if depth < 8 else 1)
    seen = (image.reshape(*image.shape[:2], -1) != values).any(-1, keepdims=True)
    return _rgb(image * seen.reshape(*image.shape[:2], *[1] * (image.ndim - 2)).astype(image.dtype))


def decode_jpeg_2000(data: bytes) -> np.ndarray:
    """JPEG 2000; OpenCV's reader of it writes beyond its memory on some broken files."""
    components, precision = jpeg_2000_components(data)
    if components > 4:
        raise ValueError(f"{components} components")
    pixels = apart(_read_jpeg_2000, data)
    if precision < 8:  # with the sign's bit it is more than 128
        pixels = scale(pixels, 0, 2**precision - 1)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return _rgb(pixels[..., [2, 1, 0, 3][:components]] if components >= 3 else pixels)


def decode_bmp(data: bytes) -> np.ndarray:
    """BMP of any depth and version."""
    from PIL.BmpImagePlugin import BmpImageFile

    file = BmpImageFile(io.BytesIO(data))
    # Two bytes are a run of at most 255 pixels; Pillow fills what a short file leaves open byte by byte.
    if file.info.get("compression") in _RUNS and file.width * file.height > 128 * len(data):
        raise ValueError(f"{file.width} x {file.height} pixels cannot be in {len(data)} bytes")
    return _of_pillow(file)


def decode_gif(data: bytes) -> np.ndarray:
    """GIF: the first frame on a black screen."""
    from PIL.GifImagePlugin import GifImageFile

    file: Any = GifImageFile(io.BytesIO(data))
    check_size(file.size[::-1], "first frame")
    left, top, right, bottom = file.tile[0][1]
    image = np.zeros((*file.size[::-1], 3), np.uint8)
    image[top:bottom, left:right] = _of_pillow(file)[top:bottom, left:right]
    return image


def decode_tiff(data: bytes) -> np.ndarray:
    """TIFF, classic or BigTIFF, its first page, turned as its orientation says."""
    # imagecodecs ends the process on some broken streams of LZW.
    return _decode_tiff(data) if tiff_tags(data).get(259, 1) == 1 else apart(_decode_tiff, data)


def _decode_tiff(data: bytes) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages.first
        interpretation = page.tags.get(262)
        photometric = int(interpretation.value) if interpretation else 2 if page.samplesperpixel >= 3 else 1
        # YCbCr, CMYK and CIELAB, and what fax machines send: libtiff converts them.
        if photometric not in _COLORS or page.compression in _FAX:
            return _rgb(_without_alpha(_read_opencv(data)))
        turn = page.tags.get(274)
        image = _tiff_rgb(page, photometric, _tiff_samples(page, len(data)))
        return _upright(image, int(turn.value) if turn else 1)


def _tiff_samples(page: Any, length: int) -> np.ndarray:
    """[H, W, C] as they are stored; raises ValueError where the file breaks off, or states what no image has."""
    ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts)]
    if max(ends, default=length + 1) > length or min(page.dataoffsets) <= 0:
        raise ValueError("it breaks off")
    if page.samplesperpixel > 5 or page.imagedepth != 1:
        raise ValueError(f"{page.samplesperpixel} samples a pixel, depth {page.imagedepth}")
    check_size((page.tilelength, page.tilewidth), "a tile")
    values = page.asarray(maxworkers=1)
    values = values.reshape(page.imagelength, page.imagewidth, -1) if page.planarconfig != 2 else values
    return np.moveaxis(values, 0, -1) if page.planarconfig == 2 and values.ndim == 3 else values


def _tiff_rgb(page: Any, photometric: int, samples: np.ndarray) -> np.ndarray:
    samples = samples.reshape(*samples.shape[:2], -1)
    color = samples[..., : _COLORS[photometric]]
    if color.shape[2] < _COLORS[photometric] or color.dtype.kind == "c":
        raise ValueError(f"{color.shape[2]} samples of {color.dtype} for a color")
    if photometric == 3:
        # Colors of 16 bits; some writers fill the lower eight alone.
        table = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
        return table.T.astype(np.uint8)[color[..., 0]]
    bits = page.bitspersample
    if samples.dtype == bool or (samples.dtype == np.uint8 and bits < 8):
        samples, color = (scale(values.astype(np.uint8), 0, 2**bits - 1) for values in (samples, color))
    if len(page.extrasamples) and int(page.extrasamples[0]) == _UNASSOCIATED:
        color = composite(color, samples[..., color.shape[2] : color.shape[2] + 1])
    image = to_uint8(color)
    image = 255 - image if photometric == 0 else image
    return three_channels(image) if image.shape[2] == 1 else image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Rows from the top, columns from the left, from any of the eight orientations of TIFF 6.0."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    orientation = {5: 1, 6: 2, 7: 3, 8: 4}.get(orientation, orientation)
    if orientation in (2, 3):
        image = image[:, ::-1]
    return np.ascontiguousarray(image[::-1] if orientation in (3, 4) else image)


def _read_jpeg_2000(data: bytes) -> np.ndarray:
    import imagecodecs

    return imagecodecs.jpeg2k_decode(data, numthreads=1)


def _of_pillow(file: Any) -> np.ndarray:
    if not file.has_transparency_data:
        return np.array(file.convert("RGB"))
    pixels = np.array(file.convert("RGBA"))
    return composite(pixels[..., :3], pixels[..., 3:])


def _read_opencv(data: bytes) -> np.ndarray:
    """Any dtype, [H, W] or [H, W, C] in OpenCV's order of channels; raises ValueError on what is no whole image."""
    # UNCHANGED keeps depth and alpha, and leaves EXIF orientation alone.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("OpenCV reads no image in it")
    return pixels


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    """Of what libtiff made: it multiplies colors with their alpha itself."""
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """What OpenCV decodes to `uint8 [H, W, 3]`."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = composite(pixels[..., :-1], pixels[..., -1:])
    pixels = to_uint8(pixels)
    return three_channels(pixels) if pixels.ndim == 2 or pixels.shape[2] == 1 else pixels[..., ::-1].copy()


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    **dict.fromkeys(("JPEG", "WebP", "PNM"), decode_with_opencv),
    "JPEG 2000": decode_jpeg_2000,
    "PNG": decode_png,
    "BMP": decode_bmp,
    "GIF": decode_gif,
    "TIFF": decode_tiff,
}
