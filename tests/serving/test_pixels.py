"""Reading files in the graph: the trainer's pixels, row by row, whatever the neighbors are."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.data import formats, images
from medcap_tf.serving import pixels

SIZE = 32


@pytest.fixture(scope="module")
def read():
    graph = tf.function(
        lambda files: pixels.read_images(files, SIZE), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    return lambda files: [value.numpy() for value in graph(tf.constant(files, tf.string, [len(files)]))]


def noise(*shape, dtype=np.uint8, high=256):
    return np.random.default_rng(sum(shape)).integers(0, high, shape).astype(dtype)


def encoded(suffix, array, *options):
    return cv2.imencode(suffix, array, *options)[1].tobytes()


def expected(data):
    return images.resize(images.decode_image(data), SIZE).astype(np.float32)


def gif(width=40, height=36, frames=1, screen=None, declared=None):
    """A GIF of one color: every pixel is a code of its own, with a clear code often enough to keep codes short."""
    out = b"GIF89a" + struct.pack("<HHBBB", *(screen or (width, height)), 0x80, 0, 0)
    out += bytes([10, 20, 30, 200, 100, 50])
    codes = []
    for _ in range(width * height):
        codes += [4, 1]  # clear, then color 1: always three bits
    bits = "".join(format(code, "03b")[::-1] for code in [*codes, 5])
    data = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    for _ in range(frames):
        out += b"\x21\xf9\x04\0\0\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, *(declared or (width, height)), 0)
        out += b"\x02" + blocks + b"\0"
    return out + b";"


CASES = {
    "area.png": encoded(".png", noise(50, 70, 3)),
    "halved.png": encoded(".png", noise(64, 64, 3)),
    "same.png": encoded(".png", noise(32, 32, 3)),
    "grows.png": encoded(".png", noise(20, 25, 3)),
    "one pixel.png": encoded(".png", noise(1, 1, 3)),
    "grows a little.png": encoded(".png", noise(31, 32, 3)),
    "mixed.png": encoded(".png", noise(20, 90, 3)),
    "gray.png": encoded(".png", noise(50, 40)),
    "sixteen.png": encoded(".png", noise(50, 40, dtype=np.uint16, high=4096)),
    "sixteen color.png": encoded(".png", noise(50, 40, 3, dtype=np.uint16, high=4096)),
    "alpha.png": encoded(".png", noise(50, 40, 4)),
    "color.bmp": encoded(".bmp", noise(50, 41, 3)),
    "gray.bmp": encoded(".bmp", noise(50, 41)),
    "color.jpg": encoded(".jpg", noise(50, 40, 3)),
    "gray.jpg": encoded(".jpg", noise(50, 40)),
    "progressive.jpg": encoded(".jpg", noise(50, 40, 3), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_the_trainers_within_one_gray_level(read, name):
    found, valid = read([CASES[name]])
    assert valid.tolist() == [True]
    difference = np.abs(found[0] - expected(CASES[name]))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002  # ties in rounding


def png(depth, kind, *chunks, width=16, height=16):
    """A PNG of rows that count up, with chunks before the pixels; kinds 0 (gray) and 3 (palette)."""
    bits = "".join(format(x % 2**depth, f"0{depth}b") for x in range(width))
    row = b"\0" + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(row * height))
    return b"".join([formats.PNG_START, header, *chunks, pixels, chunk(b"IEND", b"")])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("alpha", [b"", b"\x80\x40"])
@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_pixels_of_few_bits_with_and_without_alpha(read, depth, kind, alpha):
    palette = [chunk(b"PLTE", bytes(range(10, 10 + 3 * min(2**depth, 16))))] if kind == 3 else []
    data = png(depth, kind, *palette, *([chunk(b"tRNS", alpha)] if alpha else []))
    found, valid = read([data])
    assert valid[0]
    assert np.abs(found[0] - expected(data)).max() <= 1


def test_a_palette_is_looked_up(read):
    gray = encoded(".bmp", np.tile(np.arange(40, dtype=np.uint8), (36, 1)))
    palette = b"".join(struct.pack("4B", 10, 20, 30 + level % 2, 0) for level in range(256))
    found, valid = read([gray[:54] + palette + gray[54 + 1024 :]])
    assert valid[0]
    assert set(np.unique(found[0][..., 2])) == {10.0}
    assert set(np.unique(found[0][..., 1])) == {20.0}


def test_the_first_frame_of_a_gif(read):
    found, valid = read([gif(), gif(frames=3)])
    assert valid.tolist() == [True, True]
    np.testing.assert_array_equal(found, np.broadcast_to([200.0, 100.0, 50.0], found.shape))


def png_of(width, height):
    """A PNG that states a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return formats.PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def jpeg_of(width, height):
    data = bytearray(CASES["color.jpg"])
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of(width, height):
    data = bytearray(CASES["color.bmp"])
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


BOMBS = {
    "PNG": png_of(60_000, 60_000),
    "PNG, product beyond 32 bits": png_of(2**31 - 1, 2**31 - 1),
    "JPEG": jpeg_of(65_000, 65_000),
    "BMP": bmp_of(60_000, 60_000),
    "BMP upside down": bmp_of(60_000, -60_000),
    "BMP of the lowest height": bmp_of(1, -(2**31)),
    "GIF screen": gif(screen=(65_000, 65_000)),
    "GIF frame": gif(declared=(65_000, 65_000)),
    "JPEG of many scans": CASES["color.jpg"] + b"\xff\xda" * (pixels.MAX_SCANS + 1),
}
BROKEN = {
    "nothing": b"",
    "text": b"not an image at all",
    "start of a PNG": CASES["area.png"][:100],
    "start of a JPEG": CASES["color.jpg"][:200],
    "start of a BMP": CASES["color.bmp"][:60],
    "start of a GIF": gif()[:60],
    "header of a PNG": formats.PNG_START,
    "header of a GIF": b"GIF89a",
    "no frame": b"GIF89a" + bytes(7) + b";",
    "no pixels": png_of(0, 0),
    "TIFF": encoded(".tiff", noise(40, 40)),
}


@pytest.mark.parametrize("data", [*BOMBS.values(), *BROKEN.values()], ids=[*BOMBS, *BROKEN])
def test_a_bad_file_costs_its_own_row_only(read, data):
    good = [CASES["area.png"], CASES["color.jpg"]]
    alone, _ = read(good)
    found, valid = read([good[0], data, good[1]])
    assert valid.tolist() == [True, False, True]
    np.testing.assert_array_equal(found[[0, 2]], alone)
    assert not found[1].any()


def test_bombs_are_refused_before_their_pixels_take_memory(read):
    # 60,000 x 60,000 x 3 would be 10 GB a file.
    with open("/proc/self/statm") as memory:
        before = int(memory.read().split()[0])
    read(list(BOMBS.values()) * 4)
    with open("/proc/self/statm") as memory:
        grown = (int(memory.read().split()[0]) - before) * 4096
    assert grown < 2e9


def test_a_batch_of_none(read):
    found, valid = read([])
    assert found.shape == (0, SIZE, SIZE, 3)
    assert valid.shape == (0,)


def mutated(data, rng):
    """One to eight bytes changed, or a piece cut out, doubled or cut off."""
    data = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        for place in rng.integers(0, len(data), rng.integers(1, 9)):
            data[place] = rng.integers(256)
    else:
        start, stop = sorted(rng.integers(0, len(data), 2))
        piece = bytes(data[start:stop])
        data = {1: data[:start] + data[stop:], 2: data[:stop] + piece + data[stop:], 3: data[:stop]}[int(kind)]
    return bytes(data)


def test_mutated_files_crash_nothing_and_touch_no_neighbor(read):
    rng = np.random.default_rng(7)
    sources = [*CASES.values(), gif(), gif(frames=2)]
    good = CASES["area.png"]
    alone = read([good])[0][0]
    outcomes = []
    for _ in range(30):
        batch = [mutated(sources[rng.integers(len(sources))], rng) for _ in range(10)]
        place = int(rng.integers(len(batch)))
        found, valid = read([*batch[:place], good, *batch[place:]])
        assert valid[place]
        np.testing.assert_array_equal(found[place], alone)
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 255
        outcomes += valid.tolist()
    assert {True, False} == set(outcomes)
