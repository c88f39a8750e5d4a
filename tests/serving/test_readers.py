"""A run's reader and an export's hold the same pixels, of files of every kind; both hold what docs/formats.md says."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medcap_tf.data import images
from medcap_tf.data.formats import kind_of, size_of
from medcap_tf.errors import InputError
from medcap_tf.serving import pixels, upload
from tests.data import image_files
from tests.data.image_files import KINDS, chunk, png_file, saved

SIZE = 24
SEEDS = st.integers(0, 2**32 - 1)
COUNT = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def read():
    """Files to the graph's pixels [B, S, S, 3] and validity [B]."""
    graph = tf.function(
        lambda files: pixels.read_images(files, SIZE), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    return lambda *files: [value.numpy() for value in graph(tf.constant(files, tf.string, [len(files)]))]


def sent(tmp_path, data):
    """What a client sends of a file, under a name that says nothing true."""
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    return upload.read_for_server(path, SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_both_readers_see_the_same(read, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")

    @COUNT
    @given(SEEDS)
    def check(seed):
        drawn = image_files.draw(kind, np.random.default_rng(seed))
        own = images.decode_image(drawn.data, drawn.name)
        assert size_of(drawn.data) in (own.shape[:2], own.shape[1::-1], None)
        if drawn.pixels is not None:
            assert own.shape == drawn.pixels.shape
            # Ties in rounding, of 16 bits with alpha.
            np.testing.assert_allclose(own.astype(int), drawn.pixels, atol=int("16 bits" in drawn.name))
        resized = images.resize(own, SIZE)
        (raw, converted), valid = read(drawn.data, sent(folder, drawn.data))
        assert valid[1]
        assert valid[0] or not upload.read_by_graph(drawn.data)
        for served in (raw, converted)[not valid[0] :]:
            difference = np.abs(served - resized)
            # An average that falls halfway between two levels may be rounded either way; 32 x 24 pixels have many.
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.25

    check()


@pytest.mark.parametrize("kind", ["PNG", "animated PNG", "BMP", "GIF", "JPEG"])
def test_without_resizing_they_are_equal_exactly(read, kind, monkeypatch):
    monkeypatch.setattr(image_files, "_samples", _square(image_files._samples))
    monkeypatch.setattr(image_files, "_smooth", lambda rng: np.kron(*_squares(rng)))
    for seed in range(30):
        drawn = image_files.draw(kind, np.random.default_rng(seed))
        (served,), (valid,) = read(drawn.data)
        if valid:
            np.testing.assert_array_equal(served, images.decode_image(drawn.data))


def _square(draw):
    def of_size(rng, depth, channels=1):
        return np.resize(draw(rng, depth, channels), (SIZE, SIZE, channels))

    return of_size


def _squares(rng):
    return rng.integers(0, 256, (4, 4, 3), np.uint8), np.ones((SIZE // 4, SIZE // 4, 1), np.uint8)


COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
FLAT = np.full((8, 16, 3), (200, 100, 50), np.uint8)


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000", "TIFF", "BMP", "GIF", "PPM"])
def test_any_kind_under_the_name_of_a_jpeg(read, kind, tmp_path):
    values = np.kron(COLORS, np.ones((12, 12, 1), np.uint8))
    image = Image.fromarray(values)
    data = saved(image.quantize(4) if kind == "GIF" else image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(images.decode_image(data, "x.jpg"), values)
    (served,), (valid,) = read(sent(tmp_path, data))
    assert valid
    np.testing.assert_array_equal(served, values)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_nothing(kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    assert images.decode_image(saved(Image.fromarray(FLAT), kind, exif=exif)).shape == FLAT.shape


UPRIGHT = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, [[0, 50, 100], [150, 200, 250]]),
        (2, [[100, 50, 0], [250, 200, 150]]),
        (3, [[250, 200, 150], [100, 50, 0]]),
        (4, [[150, 200, 250], [0, 50, 100]]),
        (5, [[0, 150], [50, 200], [100, 250]]),
        (6, [[100, 250], [50, 200], [0, 150]]),
        (7, [[250, 100], [200, 50], [150, 0]]),
        (8, [[150, 0], [200, 50], [250, 100]]),
    ],
)
def test_a_tiff_is_shown_upright(orientation, stored, deep):
    samples = np.array(stored, np.uint16 if deep else np.uint8)
    height, width = samples.shape
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [16 if deep else 8]), 259: (3, [1]), 262: (3, [1])}
    tags |= {274: (3, [orientation]), 277: (3, [1]), 278: (4, [height])}
    shown = images.decode_image(image_files.tiff_file([samples.tobytes()], tags))
    expected = np.rint(UPRIGHT * (255 / 250)).astype(int) if deep else UPRIGHT
    assert shown[..., 0].tolist() == expected.tolist()


def test_a_gif_whose_first_frame_is_a_part_of_the_screen(read, tmp_path):
    data = bytearray(saved(Image.fromarray(FLAT).quantize(1), "GIF"))
    struct.pack_into("<HH", data, 6, 24, 24)
    frame = data.index(b"\x2c")
    struct.pack_into("<HH", data, frame + 1, 3, 5)  # 16 x 8 pixels, 3 from the left, 5 from the top
    own = images.decode_image(bytes(data))
    expected = np.zeros((24, 24, 3), np.uint8)
    expected[5:13, 3:19] = (200, 100, 50)
    np.testing.assert_array_equal(own, expected)
    (raw, converted), valid = read(bytes(data), sent(tmp_path, bytes(data)))
    assert valid.tolist() == [False, True]
    np.testing.assert_array_equal(converted, expected)
    assert not raw.any()


def test_what_the_export_does_not_read_as_a_run_does_is_converted(read, tmp_path):
    image = Image.fromarray(np.tile(FLAT, (3, 2, 1))[:24, :24])
    plain = saved(image, "JPEG")
    files = {
        "CMYK": saved(image.convert("CMYK"), "JPEG"),
        "1-bit BMP": saved(image.convert("1"), "BMP"),
    }
    for name, data in files.items():
        (raw, converted), valid = read(data, sent(tmp_path, data))
        assert valid.tolist() == [False, True], name
        np.testing.assert_array_equal(converted, images.decode_image(data))
        assert not raw.any()
    assert sent(tmp_path, plain) == plain


@pytest.mark.parametrize(("depth", "key"), [(1, 0x0103), (4, 0x010A), (8, 0xFF0A), (16, 0x000A)])
def test_bits_of_a_key_beyond_the_depth_say_nothing(read, depth, key):
    samples = np.full((SIZE, SIZE, 1), key & (2**depth - 1), np.uint16 if depth == 16 else np.uint8)
    samples[:, : SIZE // 2] = 0
    data = png_file(samples, depth, 0, chunk(b"tRNS", struct.pack(">H", key)))
    (served,), (valid,) = read(data)
    assert valid
    assert not served.any()
    assert not images.decode_image(data).any()


def test_a_key_of_a_wrong_checksum_is_no_key(read, tmp_path):
    samples = np.full((SIZE, SIZE, 1), 5, np.uint8)
    wrong = chunk(b"tRNS", b"\0\5")[:-1] + b"?"
    data = png_file(samples, 4, 0, wrong)
    (converted,), (valid,) = read(sent(tmp_path, data))
    assert valid
    assert sent(tmp_path, data) != data
    np.testing.assert_array_equal(converted, np.full((SIZE, SIZE, 3), 85))
    np.testing.assert_array_equal(images.decode_image(data), converted)


def test_size_beyond_the_exports_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "MAX_PIXELS", 100)
    path = tmp_path / "large.png"
    path.write_bytes(saved(Image.fromarray(FLAT), "PNG"))
    with pytest.raises(InputError, match="16 x 8 pixels, more than the 100 that an export takes"):
        upload.read_for_server(path)
    assert size_of(upload.read_for_server(path, 8)) == (8, 8)


@pytest.mark.parametrize("content", [b"text", b"\xff\xd8\xff", b"GIF89a", b"BM" + bytes(60), b"II*\0"])
def test_a_refusal_names_the_reader(tmp_path, content):
    path = tmp_path / "x.webp"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x.webp: not a readable image.* \(refused by this machine's reader"):
        upload.read_for_server(path)


def test_kinds_are_told_by_content():
    for kind in KINDS:
        drawn = image_files.draw(kind, np.random.default_rng(0))
        assert kind_of(drawn.data) in kind, kind


def test_a_tiff_that_breaks_off_is_refused():
    whole = saved(Image.fromarray(np.tile(FLAT, (4, 4, 1))), "TIFF")
    assert images.decode_image(whole).shape == (32, 64, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.tile(FLAT, (4, 4, 1))).save(buffer, "TIFF", compression="tiff_lzw")
    for data in (whole, buffer.getvalue()):
        with pytest.raises(InputError, match="not a readable image"):
            images.decode_image(data[: len(data) // 2])
