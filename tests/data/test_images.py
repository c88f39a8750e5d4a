"""Pixels whose values are known by hand, through every format and every error."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from medcap_tf.data import formats, images, pixels
from medcap_tf.errors import InputError
from tests.data.image_files import bmp_file

RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]], [[1, 2, 3], [255, 255, 255]]], np.uint8)
GRAY = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """`pixels` as OpenCV orders them (BGR, BGRA or gray); TIFF uncompressed, as its default for float is lossy."""
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tiff" else []
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def gray(image: np.ndarray) -> list:
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert (image == image[..., :1]).all()
    return image[..., 0].tolist()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_formats_keep_every_value(suffix, tmp_path):
    path = tmp_path / f"рентген{suffix}"
    path.write_bytes(encoded(suffix, RGB[..., ::-1]))
    assert images.read_image(path).tolist() == RGB.tolist()
    assert gray(images.decode_image(encoded(suffix, GRAY))) == GRAY.tolist()


def test_jpeg_keeps_flat_colors():
    red = np.full((16, 16, 3), (0, 0, 254), np.uint8)
    assert np.abs(images.decode_image(encoded(".jpg", red)).astype(int) - (254, 0, 0)).max() <= 1
    assert gray(images.decode_image(encoded(".jpg", np.full((8, 8), 77, np.uint8)))) == [[77] * 8] * 8


def test_exif_orientation_is_ignored():
    # Orientation 6 asks for a quarter turn.
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x112, 3, 1, 6, 0)
    segment = b"Exif\0\0" + tiff
    jpeg = encoded(".jpg", np.zeros((8, 24), np.uint8))
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert images.decode_image(turned).shape == (8, 24, 3)


def test_alpha_is_composited_over_black():
    pixels = np.array([[[10, 100, 200, 255], [10, 100, 200, 51], [10, 100, 200, 0]]], np.uint8)
    expected = [[[200, 100, 10], [40, 20, 2], [0, 0, 0]]]
    assert images.decode_image(encoded(".png", pixels)).tolist() == expected


def test_sixteen_bit_alpha_is_composited_before_scaling():
    pixels = np.array([[[0, 0, 4000, 65535], [0, 0, 4000, 0]]], np.uint16)
    assert images.decode_image(encoded(".png", pixels)).tolist() == [[[255, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_use_the_images_own_range(suffix):
    pixels = np.array([[1000, 1051, 1255]], np.uint16)
    assert gray(images.decode_image(encoded(suffix, pixels))) == [[0, 51, 255]]


def test_sixteen_bit_color_shares_one_range():
    pixels = np.array([[[0, 2550, 5100], [25500, 0, 0]]], np.uint16)
    assert images.decode_image(encoded(".tiff", pixels)).tolist() == [[[51, 26, 0], [0, 0, 255]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_tiff(dtype):
    pixels = np.array([[-1, 0, 1, np.nan, np.inf]], dtype)
    assert gray(images.decode_image(encoded(".tiff", pixels))) == [[0, 128, 255, 0, 0]]


@pytest.mark.parametrize(("pixels", "expected"), [(np.uint16([[0, 300]]), [255, 0]), (np.uint8([[7, 9]]), [248, 246])])
def test_tiff_where_white_is_zero(pixels, expected):
    data = bytearray(encoded(".tiff", pixels))
    start = struct.unpack_from("<I", data, 4)[0]
    for position in range(start + 2, len(data) - 11, 12):
        if struct.unpack_from("<H", data, position)[0] == 262:
            struct.pack_into("<H", data, position + 8, 0)
            break
    assert gray(images.decode_image(bytes(data))) == [expected]


@pytest.mark.parametrize(("dtype", "expected"), [(np.uint8, 9), (np.uint16, 0), (np.float32, 0)])
def test_one_pixel_goes_all_the_way(dtype, expected):
    image = images.decode_image(encoded(".tiff", np.full((1, 1), 9, dtype)))
    assert image.tolist() == [[[expected] * 3]]
    assert images.resize(image, 4).tolist() == [[[expected] * 3] * 4] * 4
    assert images.equalize(image).shape == (1, 1, 3)
    assert images.view(image, "center_crop").shape == (1, 1, 3)
    everything = {"horizontal_flip": True, "vertical_flip": True, "crop": 0.1}
    assert images.random_view(image, np.random.default_rng(0), **everything).tolist() == image.tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x.jpg: the file is empty"),
        (b"a caption, not an image\n" * 20, "x.jpg: not a readable image"),
        (encoded(".png", RGB)[:-20], "x.jpg: not a readable image"),
        (encoded(".bmp", np.zeros((9, 9), np.uint8))[:60], "x.jpg: not a readable image"),
        (encoded(".tiff", GRAY)[:9], "x.jpg: not a readable image"),
        (b"\xff\xd8\xff", "x.jpg: not a readable image"),
    ],
)
def test_unreadable_bytes(data, message, capfd):
    with pytest.raises(InputError, match=message):
        images.decode_image(data, "x.jpg")
    assert capfd.readouterr().err == ""


def test_paths_that_hold_no_file(tmp_path):
    with pytest.raises(InputError, match=r"^\S+: is a folder; give the path of one image file$"):
        images.read_image(tmp_path)
    with pytest.raises(InputError, match="gone.png: no such file"):
        images.read_image(tmp_path / "gone.png")


def with_side(suffix: str, side: int) -> bytes:
    """A small image whose header claims to be `side` x 10,000 pixels."""
    data = bytearray(encoded(suffix, np.zeros((8, 8), np.uint8)))
    if suffix == ".png":
        struct.pack_into(">II", data, 16, side, 10_000)
    elif suffix == ".bmp":
        struct.pack_into("<ii", data, 18, side, -10_000)
    elif suffix == ".jpg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 10_000, side)
    else:
        start = struct.unpack_from("<I", data, 4)[0]
        tags = {struct.unpack_from("<H", data, at)[0]: at for at in range(start + 2, len(data) - 11, 12)}
        struct.pack_into("<HII", data, tags[256] + 2, 4, 1, side)
        struct.pack_into("<HII", data, tags[257] + 2, 4, 1, 10_000)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tiff"])
def test_size_is_checked_in_the_header(suffix):
    assert formats.size_of(with_side(suffix, 10_000)) == (10_000, 10_000)
    with pytest.raises(InputError, match="10001 x 10000 pixels, more than 100,000,000"):
        images.decode_image(with_side(suffix, 10_001))


def test_size_is_checked_after_decoding_too(monkeypatch):
    monkeypatch.setattr(pixels, "MAX_PIXELS", 5)
    with pytest.raises(InputError, match="3 x 2 pixels"):
        images.decode_image(encoded(".pgm", GRAY))


def test_resize_averages_when_it_shrinks_and_interpolates_when_it_grows():
    blocks = np.repeat(np.array([[[0], [40]], [[80], [120]]], np.uint8), 3, axis=2)
    assert gray(images.resize(blocks, 1)) == [[60]]
    assert gray(images.resize(blocks[:1], 4))[0] == [0, 10, 30, 40]
    assert images.resize(RGB, 2).shape == (2, 2, 3)
    assert images.resize(np.zeros((5, 50, 3), np.uint8), 10).shape == (10, 10, 3)


def test_equalize_raises_contrast():
    ramp = np.tile(np.linspace(100, 120, 64).astype(np.uint8), (64, 1))
    flat = np.repeat(ramp[..., None], 3, axis=2)
    better = images.equalize(flat)
    assert better.dtype == np.uint8 and better.shape == flat.shape
    assert np.ptp(gray(better)) > np.ptp(ramp) and better.std() > flat.std()
    colored = images.equalize(flat + np.uint8([0, 0, 20]))
    assert colored.shape == flat.shape and colored[..., 0].std() > flat.std()
    assert (colored[..., 2] > colored[..., 0]).mean() > 0.99  # still bluish


def test_views():
    assert images.view(RGB, "identity").tolist() == RGB.tolist()
    assert images.view(RGB, "horizontal_flip").tolist() == [row[::-1] for row in RGB.tolist()]
    assert images.view(RGB, "vertical_flip").tolist() == RGB.tolist()[::-1]
    with pytest.raises(InputError, match="'rotate' is unknown; choose from identity"):
        images.view(RGB, "rotate")


def position_image(height: int, width: int) -> np.ndarray:
    """Each pixel holds its own row, column and 0."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)


def test_center_crop_keeps_the_middle():
    kept = images.view(position_image(100, 40), "center_crop", crop=0.5)
    assert kept.shape == (50, 20, 3)
    assert kept[0, 0].tolist() == [25, 10, 0] and kept[-1, -1].tolist() == [74, 29, 0]
    assert images.view(RGB, "center_crop", crop=1).tolist() == RGB.tolist()
    for crop in (0, 1.1):
        with pytest.raises(InputError, match=f"crop is {crop}"):
            images.view(RGB, "center_crop", crop=crop)


def test_random_view_does_nothing_when_nothing_is_enabled():
    rng = np.random.default_rng(3)
    for _ in range(20):
        assert (images.random_view(RGB, rng, horizontal_flip=False, vertical_flip=False, crop=1) == RGB).all()


def test_random_crop_stays_within_its_bounds_and_reaches_the_borders():
    image, rng = position_image(100, 60), np.random.default_rng(0)
    crops = [images.random_view(image, rng, horizontal_flip=False, vertical_flip=False, crop=0.8) for _ in range(500)]
    heights, widths = {c.shape[0] for c in crops}, {c.shape[1] for c in crops}
    assert (min(heights), max(heights)) == (80, 100) and (min(widths), max(widths)) == (48, 60)
    assert min(c[0, 0, 0] for c in crops) == 0 and max(c[-1, -1, 0] for c in crops) == 99
    assert all(c[-1, -1, 0] - c[0, 0, 0] == c.shape[0] - 1 for c in crops)  # contiguous rows


def test_random_flips_happen_half_of_the_time():
    rng, counts = np.random.default_rng(0), {}
    for _ in range(400):
        seen = images.random_view(RGB, rng, horizontal_flip=True, vertical_flip=True, crop=1)
        counts[seen.tobytes()] = counts.get(seen.tobytes(), 0) + 1
    assert set(counts) == {image.tobytes() for image in (RGB, RGB[:, ::-1], RGB[::-1], RGB[::-1, ::-1])}
    assert min(counts.values()) > 70
    only = {
        images.random_view(RGB, rng, horizontal_flip=True, vertical_flip=False, crop=1).tobytes() for _ in range(50)
    }
    assert only == {RGB.tobytes(), RGB[:, ::-1].tobytes()}


def test_a_part_is_erased_in_a_share_of_the_images():
    image, rng = position_image(100, 200), np.random.default_rng(0)
    erased = [
        images.random_view(image, rng, horizontal_flip=False, vertical_flip=False, crop=1, erase=0.5)
        for _ in range(400)
    ]
    changed = [(seen != image).any(-1) for seen in erased if (seen != image).any()]
    assert 160 < len(changed) < 240
    for where in changed:
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        assert np.ptp(rows) < 40 and np.ptp(columns) < 80 and np.ptp(rows) >= 12 and np.ptp(columns) >= 27
    assert (image == position_image(100, 200)).all()
    grays = {seen[where][0].tolist()[0] for seen, where in zip((e for e in erased if (e != image).any()), changed)}
    assert len(grays) > 50


def test_random_view_is_repeatable():
    settings = {"horizontal_flip": True, "vertical_flip": False, "crop": 0.5}
    first, second = (images.random_view(position_image(50, 50), np.random.default_rng(7), **settings) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_runs_that_cannot_hold_what_a_bmp_states():
    palette = bytes(4 * 256)
    for side in (100, 9_000):
        data = bmp_file([b"\x64\0\0\0" * 100, b"\0\1"], (side, side), 8, palette, 40, method=1)
        if side == 100:
            assert images.decode_image(data).shape == (100, 100, 3)
        else:
            with pytest.raises(InputError, match="9000 x 9000 pixels cannot be in 1480 bytes"):
                images.decode_image(data)


@pytest.mark.parametrize("alpha", [0, 1, 127, 128, 254, 255])
def test_compositing_rounds_to_the_nearest_level(alpha):
    color = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    expected = np.rint(np.arange(256) * (alpha / 255)).astype(int)
    assert pixels.composite(color, np.full((1, 1, 1), alpha, np.uint8))[0, :, 0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("I;16", "png"), ("F", "tif"), ("L", "png")]
)
def test_a_pil_image_has_the_pixels_of_its_file(mode, suffix, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    made = {
        "RGBA": lambda: Image.fromarray(values),
        "LA": lambda: Image.fromarray(values[..., :2]),
        "I;16": lambda: Image.fromarray(values[..., 0].astype(np.uint16) * 200),
        "F": lambda: Image.fromarray(values[..., 0].astype(np.float32) * 7),
        "L": lambda: Image.fromarray(values[..., 0]),
    }[mode]()
    assert made.mode == mode
    path = tmp_path / f"image.{suffix}"
    made.save(path)
    np.testing.assert_array_equal(images.to_array(Image.open(path)), images.read_image(path))


def test_a_pil_image_that_cannot_be_read_says_so(tmp_path):
    path = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with Image.open(path) as image, pytest.raises(InputError, match="PIL cannot read it"):
        images.to_array(image)
    with pytest.raises(InputError, match="has no pixels"):
        images.to_array(Image.new("L", (0, 5)))


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 5000])
def test_what_is_no_path_says_so(name):
    with pytest.raises(InputError):
        images.to_array(name)
