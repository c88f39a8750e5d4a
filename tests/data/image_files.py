"""Image files of every kind, drawn at random, with the pixels that docs/formats.md says they show.

What is written by hand here is what no library writes: keys, odd depths, rows from the top, tiles. Each drawing takes
its choices from a `numpy.random.Generator`, so a seed tells the file.

Axes: H height, W width, C channels.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

Rng = np.random.Generator


class Drawn(NamedTuple):
    """A file and, where its compression loses nothing, what it shows: uint8 [H, W, 3]."""

    name: str
    data: bytes
    pixels: np.ndarray | None


def draw(kind: str, rng: Rng) -> Drawn:
    """A file of one of KINDS."""
    drawn = KINDS[kind](rng)
    return drawn._replace(name=f"{kind} {drawn.name}".strip())


def shown(values: np.ndarray, depth: int, opacity: np.ndarray | None = None) -> np.ndarray:
    """Samples [H, W] or [H, W, C] of a depth in bits, with opacity [H, W] in 0..1, by the rule: uint8 [H, W, 3]."""
    color = values.reshape(*values.shape[:2], -1).astype(np.float64)
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    if opacity is not None:
        color = color * opacity[..., None]
    low, high = (color.min(), color.max()) if depth > 8 else (0, 2**depth - 1)
    return np.rint((color - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def _one_of(rng: Rng, *choices):
    return choices[rng.integers(len(choices))]


def _samples(rng: Rng, depth: int, channels: int = 1, low: int = 1) -> np.ndarray:
    height, width = rng.integers(low, 41, 2)
    return rng.integers(0, 2**depth, (height, width, channels)).astype(np.uint16 if depth > 8 else np.uint8)


def _packed(samples: np.ndarray, depth: int, order: str = ">") -> list[bytes]:
    """[H, W, C] -> each row's bytes, the first pixel in the highest bits."""
    rows = samples.reshape(len(samples), -1)
    if depth >= 8:
        return [row.astype(f"{order}u{depth // 8}").tobytes() for row in rows]
    bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.astype(np.uint8)).tobytes() for row in bits.reshape(len(rows), -1)]


# PNG

PNG_START = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(samples: np.ndarray, depth: int, kind: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """A PNG of samples [H, W, C], kinds 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGBA."""
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in _ADAM7] if interlaced else [samples]
    rows = b"".join(b"\0" + row for part in passes if part.size for row in _packed(part, depth))
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, kind, 0, 0, interlaced)
    pixels = zlib.compress(rows)
    halves = [chunk(b"IDAT", pixels[: len(pixels) // 2]), chunk(b"IDAT", pixels[len(pixels) // 2 :])]
    return b"".join([PNG_START, chunk(b"IHDR", header), *chunks, *halves, chunk(b"IEND", b"")])


def _png(rng: Rng) -> Drawn:
    kind = _one_of(rng, 0, 2, 3, 4, 6)
    depth = _one_of(rng, *{0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(kind, (8, 16)))
    samples = _samples(rng, depth, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind])
    noted = [chunk(b"tEXt", b"note\0tRNS IDAT"), chunk(b"gAMA", struct.pack(">I", 100_000))] if rng.integers(2) else []
    keyed = kind < 4 and bool(rng.integers(2))
    interlaced = bool(rng.integers(2))
    values, opacity = samples, None
    if kind == 3:
        palette = rng.integers(0, 256, (2**depth, 3), np.uint8)
        noted.append(chunk(b"PLTE", palette.tobytes()))
        alpha = rng.integers(0, 256, rng.integers(1, 2**depth + 1)).astype(np.uint8)
        values = palette[samples[..., 0]]
        if keyed:
            noted.append(chunk(b"tRNS", alpha.tobytes()))
            opacity = np.concatenate([alpha, np.full(2**depth - len(alpha), 255)])[samples[..., 0]] / 255
    elif keyed:
        key = samples[rng.integers(len(samples)), 0]
        noted.append(chunk(b"tRNS", key.astype(">u2").tobytes()))
        opacity = (samples != key).any(-1).astype(float)
    elif kind >= 4:
        values, opacity = samples[..., :-1], samples[..., -1] / (2**depth - 1)
    name = f"kind {kind}, {depth} bits{', key' * keyed}{', interlaced' * interlaced}"
    data = png_file(samples, depth, kind, *noted, interlaced=interlaced)
    return Drawn(name, data, shown(values, 8 if kind == 3 else depth, opacity))


def _apng(rng: Rng) -> Drawn:
    frames = [_samples(rng, 8, 3)]
    more = [Image.fromarray(np.roll(frames[0], 1)), Image.fromarray(frames[0][::-1])]
    options = {"save_all": True, "append_images": more, "default_image": bool(rng.integers(2))}
    return Drawn("animated", saved(Image.fromarray(frames[0]), "PNG", **options), shown(frames[0], 8))


# BMP


def bmp_file(
    rows: list[bytes], size: tuple[int, int], depth: int, palette: bytes, header: int, method: int = 0
) -> bytes:
    """A BMP of packed rows, the first one first in the file; `size` is (height as it is stated, width)."""
    content = b"".join(rows)
    if header == 12:
        info = struct.pack("<IHHHH", header, size[1], size[0], 1, depth)
    else:
        colors = len(palette) // 4
        info = struct.pack("<IiiHHIIiiII", header, size[1], size[0], 1, depth, method, len(content), 0, 0, colors, 0)
        info = info.ljust(header, b"\0")
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start) + info + palette + content


def _bmp(rng: Rng) -> Drawn:
    depth, header = _one_of(rng, 1, 4, 8, 16, 24, 32), _one_of(rng, 12, 40, 108, 124)
    header = 40 if depth in (16, 32) else header
    down = header > 12 and bool(rng.integers(2))
    palette, table = b"", np.zeros((0, 4), np.uint8)
    if depth <= 8:
        samples = _samples(rng, depth)
        table = rng.integers(0, 256, (2**depth, 4), np.uint8)
        palette = (table[:, :3] if header == 12 else table).tobytes()
        values, packed = table[samples[..., 0]][..., 2::-1], _packed(samples, depth)
    elif depth == 16:
        fives = _samples(rng, 5, 3)
        values = (fives.astype(int) * 255 // 31).astype(np.uint8)
        packed = _packed((fives.astype(np.uint16) * [1024, 32, 1]).sum(-1, keepdims=True), 16, "<")
    else:
        values = _samples(rng, 8, 3)
        fourth = rng.integers(0, 256, (*values.shape[:2], depth // 8 - 3), np.uint8)  # says nothing
        packed = _packed(np.concatenate([values[..., ::-1], fourth], -1), 8)
    packed = [row + bytes(-len(row) % 4) for row in packed]
    height, width = values.shape[:2]
    data = bmp_file(packed if down else packed[::-1], (-height if down else height, width), depth, palette, header)
    return Drawn(f"{depth} bits, header {header}{', from the top' * down}", data, shown(values, 8))


def _bmp_runs(rng: Rng) -> Drawn:
    """Run-length encoded, 8 bits: every pixel a run of one."""
    samples = _samples(rng, 8)
    table = rng.integers(0, 256, (256, 4), np.uint8)
    rows = [b"".join(b"\1" + bytes([value]) for value in row) + b"\0\0" for row in samples[::-1, :, 0].tolist()]
    data = bmp_file([*rows, b"\0\1"], samples.shape[:2], 8, table.tobytes(), 40, method=1)
    return Drawn("8 bits in runs", data, shown(table[samples[..., 0]][..., 2::-1], 8))


# TIFF


def tiff_file(parts: list[bytes], tags: dict[int, tuple[int, list[int]]], order: str = "<", big: bool = False) -> bytes:
    """A TIFF of strips or tiles; tags as (type, values), the offsets and lengths of `parts` to be filled in."""
    number = "Q" if big else "I"
    tiled = 322 in tags
    head = 16 if big else 8
    offsets = (np.cumsum([0, *map(len, parts)])[:-1] + head).tolist()
    sizes = {324 if tiled else 273: (4, offsets), 325 if tiled else 279: (4, [len(part) for part in parts])}
    content = b"".join(parts)
    content += bytes(len(content) % 2)
    entries, late = [], b""
    tags = dict(sorted({**tags, **sizes}.items()))
    late_start = head + len(content) + (16 + 20 * len(tags) if big else 6 + 12 * len(tags))
    for tag, (kind, values) in tags.items():
        value = struct.pack(f"{order}{len(values)}{'HI'[kind == 4]}", *values)
        entry = struct.pack(f"{order}HH{number}", tag, kind, len(values))
        if len(value) > struct.calcsize(number):
            entries.append(entry + struct.pack(order + number, late_start + len(late)))
            late += value + bytes(len(value) % 2)
        else:
            entries.append(entry + value.ljust(struct.calcsize(number), b"\0"))
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(f"{order}HHHQ", 43, 8, 0, head + len(content)) if big else None
    start = start or struct.pack(f"{order}HI", 42, head + len(content))
    count = struct.pack(order + ("Q" if big else "H"), len(entries))
    return mark + start + content + count + b"".join(entries) + bytes(struct.calcsize(number)) + late


def _tiff(rng: Rng) -> Drawn:
    photometric, depth = _one_of(rng, 0, 1, 2, 3), _one_of(rng, 1, 4, 8, 16)
    depth = {2: max(depth, 8), 3: min(max(depth, 4), 8)}.get(photometric, depth)
    alpha = _one_of(rng, 0, 1, 2) if photometric in (1, 2) and depth >= 8 else 0  # 1 premultiplied, 2 not
    samples = _samples(rng, depth, {2: 3}.get(photometric, 1) + (alpha > 0))
    order, big = _one_of(rng, "<", ">"), bool(rng.integers(2))
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [samples.shape[1]]), 257: (4, [samples.shape[0]]), 258: (3, [depth] * samples.shape[2]),
        262: (3, [photometric]), 277: (3, [samples.shape[2]]), 284: (3, [1]),
    }  # fmt: skip
    values, opacity, shown_depth = samples, None, depth
    if alpha:
        tags[338] = (3, [alpha])
        opacity = samples[..., -1] / (2**depth - 1) if alpha == 2 else None
        if alpha == 1:
            samples[..., :-1] = np.minimum(samples[..., :-1], samples[..., -1:])
        values = samples[..., :-1]
    if photometric == 0:
        values = 2**depth - 1 - values.astype(int)
    if photometric == 3:
        table = rng.integers(0, 256, (3, 2**depth))
        tags[320] = (3, (table * 257).ravel().tolist())
        values, shown_depth = table[:, samples[..., 0]].transpose(1, 2, 0), 8
    parts, layout = _tiff_parts(rng, samples, depth, order, tags)
    name = f"photometric {photometric}, {depth} bits, alpha {alpha}, {layout}{', big' * big}, {order}"
    return Drawn(name, tiff_file(parts, tags, order, big), shown(values, shown_depth, opacity))


def _tiff_parts(rng: Rng, samples: np.ndarray, depth: int, order: str, tags: dict) -> tuple[list[bytes], str]:
    """The strips or tiles of the samples, packed, and what they are called; their tags are added."""
    deflated, tiled, apart = (bool(rng.integers(2)) for _ in range(3))
    apart = apart and samples.shape[2] > 1
    tags[259] = (3, [8 if deflated else 1])
    tags[284] = (3, [2 if apart else 1])
    planes = [samples[..., c : c + 1] for c in range(samples.shape[2])] if apart else [samples]
    rows_of: Callable[[np.ndarray], bytes] = lambda block: b"".join(_packed(block, depth, order))  # noqa: E731
    if tiled:
        tags[322], tags[323] = (3, [16]), (3, [16])
        height, width = samples.shape[:2]
        padded = [np.pad(p, ((0, -height % 16), (0, -width % 16), (0, 0))) for p in planes]
        parts = [
            rows_of(plane[y : y + 16, x : x + 16])
            for plane in padded
            for y in range(0, len(plane), 16)
            for x in range(0, plane.shape[1], 16)
        ]
    else:
        strip = int(rng.integers(1, len(samples) + 1))
        tags[278] = (4, [strip])
        parts = [rows_of(plane[y : y + strip]) for plane in planes for y in range(0, len(samples), strip)]
    name = f"{'tiles' if tiled else 'strips'}{', planes' * apart}{', deflate' * deflated}"
    return [zlib.compress(part) for part in parts] if deflated else parts, name


def _tiff_saved(rng: Rng) -> Drawn:
    """Of a library: compressions that are not written by hand, several pages, big integers and floats."""
    mode = _one_of(rng, "1", "L", "P", "RGB", "F", "I")
    options = {"compression": _one_of(rng, "packbits", "tiff_lzw", "group4" if mode == "1" else "tiff_adobe_deflate")}
    values = _samples(rng, 8, 3 if mode in ("P", "RGB") else 1).squeeze(-1) if mode not in ("P", "RGB") else None
    if values is None:
        values = _samples(rng, 8, 3)
        image = Image.fromarray(values).quantize(17) if mode == "P" else Image.fromarray(values)
        values = np.asarray(image.convert("RGB"))
    elif mode in "FI":
        values = values.astype(np.float32 if mode == "F" else np.int32) - 9
        image = Image.fromarray(values)
    else:
        image = Image.fromarray(values).convert(mode)
        values = np.asarray(image.convert("L"))
    if rng.integers(2) and mode != "1":
        options |= {"save_all": True, "append_images": [image.rotate(180)]}
    data = saved(image, "TIFF", **options)
    return Drawn(f"{mode} {options['compression']}", data, shown(values, 16 if mode in "FI" else 8))


# What libraries write


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """A file as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _turned(rng: Rng) -> dict[str, object]:
    """An orientation for EXIF, or none."""
    exif = Image.Exif()
    exif[0x112] = int(rng.integers(1, 9))
    return {"exif": exif} if rng.integers(2) else {}


def _gif(rng: Rng) -> Drawn:
    image = Image.fromarray(_samples(rng, 8, 3)).quantize(int(rng.integers(2, 40)))
    indices, options = np.asarray(image), {"interlace": int(rng.integers(2)), "optimize": False}
    values, opacity = np.asarray(image.convert("RGB")), None
    if rng.integers(2):
        options["transparency"] = int(indices[0, 0])
        opacity = (indices != indices[0, 0]).astype(float)
    if animated := bool(rng.integers(2)):
        options |= {"save_all": True, "append_images": [image.rotate(180), image], "duration": 90, "disposal": 2}
    name = ", ".join(["animated"] * animated + ["key"] * (opacity is not None))
    return Drawn(name, saved(image, "GIF", **options), shown(values, 8, opacity))


def _jpeg(rng: Rng) -> Drawn:
    mode = _one_of(rng, "L", "RGB", "RGB", "CMYK")
    image = Image.fromarray(_smooth(rng)).convert(mode)
    options = {"progressive": bool(rng.integers(2)), "quality": int(rng.integers(30, 100)), **_turned(rng)}
    if mode == "RGB":
        options["subsampling"] = int(rng.integers(3))
    if rng.integers(3) == 0:
        options["restart_marker_blocks"] = 2
    return Drawn(f"{mode}{', progressive' * options['progressive']}", saved(image, "JPEG", **options), None)


def _smooth(rng: Rng) -> np.ndarray:
    """What a photograph is like, uint8 [H, W, 3]: compression has something to lose and to keep."""
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(coarse.resize(tuple(rng.integers(1, 60, 2).tolist()), Image.Resampling.BILINEAR))


def _webp(rng: Rng) -> Drawn:
    values = _samples(rng, 8, _one_of(rng, 3, 4))
    opacity = values[..., 3] / 255 if values.shape[2] == 4 else None
    options = {"lossless": True, "exact": True, **_turned(rng)}
    image = Image.fromarray(values)
    if animated := bool(rng.integers(2)):
        options |= {"save_all": True, "append_images": [image.rotate(180)], "minimize_size": False}
    name = f"{values.shape[2]} channels{', animated' * animated}"
    return Drawn(name, saved(image, "WEBP", **options), shown(values[..., :3], 8, opacity))


def _jpeg_2000(rng: Rng) -> Drawn:
    channels, bare = _one_of(rng, 1, 2, 3, 4), bool(rng.integers(2))
    values = _samples(rng, 8, channels)
    if deep := channels == 1 and bool(rng.integers(2)):
        values = _samples(rng, 16)
    opacity = values[..., -1] / 255 if channels in (2, 4) else None
    image = Image.fromarray(values.squeeze(-1) if channels == 1 else values)
    data = saved(image, "JPEG2000", no_jp2=bare, irreversible=False)
    values = values[..., :-1] if opacity is not None else values
    return Drawn(f"{channels} channels{', deep' * deep}", data, shown(values, 16 if deep else 8, opacity))


def _pnm(rng: Rng) -> Drawn:
    channels, depth = _one_of(rng, 1, 3), _one_of(rng, 8, 16)
    samples = _samples(rng, depth, channels)
    head = f"P{5 if channels == 1 else 6}\n# note\n{samples.shape[1]} {samples.shape[0]}\n{2**depth - 1}\n"
    return Drawn(
        f"{channels} channels, {depth} bits", head.encode() + b"".join(_packed(samples, depth)), shown(samples, depth)
    )


def _dicom(rng: Rng) -> Drawn:
    from tests.data.test_dicom import dicom

    deep = bool(rng.integers(2))
    samples = _samples(rng, 16 if deep else 8).squeeze(-1)
    return Drawn(f"{16 if deep else 8} bits", dicom(samples), shown(samples, 16 if deep else 8))


KINDS: dict[str, Callable[[Rng], Drawn]] = {
    "PNG": _png, "animated PNG": _apng, "BMP": _bmp, "BMP in runs": _bmp_runs, "GIF": _gif, "JPEG": _jpeg,
    "TIFF": _tiff, "TIFF of a library": _tiff_saved, "WebP": _webp, "JPEG 2000": _jpeg_2000, "PNM": _pnm,
    "DICOM": _dicom,
}  # fmt: skip
