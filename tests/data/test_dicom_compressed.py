"""Compressed DICOM files that the tests make themselves, decoded with what the extra `dicom` brings."""

from __future__ import annotations

import io
import os
import signal
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcap_tf.data import codecs, images
from medcap_tf.errors import InputError

from .test_dicom import dicom, gray, saved

pydicom = pytest.importorskip("pydicom")
gdcm = pytest.importorskip("gdcm")
Image = pytest.importorskip("PIL.Image")

BASELINE, EXTENDED, LOSSLESS, LOSSLESS_FIRST_ORDER = (f"1.2.840.10008.1.2.4.{kind}" for kind in (50, 51, 57, 70))
JPEG_LS, JPEG_LS_NEAR, JPEG_2000_LOSSLESS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{kind}" for kind in (80, 81, 90, 91))
RLE = "1.2.840.10008.1.2.5"
LOSSLESS_SYNTAXES = [LOSSLESS, LOSSLESS_FIRST_ORDER, JPEG_LS, JPEG_2000_LOSSLESS, RLE]

EIGHT = np.add.outer(np.arange(0, 160, 10), np.arange(0, 96, 4)).astype(np.uint8)  # [16, 24], 0..242
TWELVE = (EIGHT.astype(np.uint16) * 16).clip(0, 4095)
SIGNED = EIGHT.astype(np.int16) - 100
COLOR = np.stack([EIGHT, 255 - EIGHT, EIGHT // 2], axis=2)
RGB = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}


def recompressed(tmp_path: Path, native: bytes, syntax: str) -> bytes:
    """A native DICOM file in another transfer syntax, by GDCM's encoders."""
    source, target = tmp_path / "native.dcm", tmp_path / "compressed.dcm"
    source.write_bytes(native)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


def encapsulated(frames: list[bytes], syntax: str, native: bytes) -> bytes:
    """The file `native` with compressed `frames` in place of its pixels."""
    dataset = pydicom.dcmread(io.BytesIO(native))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate(frames)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return saved(dataset)


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
@pytest.mark.parametrize(("pixels", "stored", "expected"), [(EIGHT, 8, 242), (TWELVE, 12, 3872), (SIGNED, 16, 142)])
def test_lossless_syntaxes_keep_every_gray_value(tmp_path, syntax, pixels, stored, expected):
    window = {"WindowCenter": expected - 1, "WindowWidth": 4, "VOILUTFunction": "LINEAR_EXACT"}
    for attributes in ({}, window):
        native = dicom(pixels, BitsStored=stored, HighBit=stored - 1, **attributes)
        values = gray(images.decode_image(recompressed(tmp_path, native, syntax)))
        assert values == gray(images.decode_image(native))
        # The largest value is one above the center of a window of 4: three quarters of the range, 191.25.
        assert values[-1][-1] == {8: 242, 12: 255, 16: 255}[stored] if not attributes else values[-1][-1] == 191


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
def test_lossless_syntaxes_keep_every_color(tmp_path, syntax):
    assert images.decode_image(recompressed(tmp_path, dicom(COLOR, **RGB), syntax)).tolist() == COLOR.tolist()


@pytest.mark.parametrize("syntax", [BASELINE, EXTENDED, JPEG_2000, JPEG_LS_NEAR])
def test_lossy_syntaxes_stay_near(tmp_path, syntax):
    image = images.decode_image(recompressed(tmp_path, dicom(EIGHT), syntax))
    assert np.abs(image[..., 0].astype(int) - EIGHT).max() <= 3


def test_twelve_bit_jpeg_extended(tmp_path):
    data = recompressed(tmp_path, dicom(TWELVE, BitsStored=12, HighBit=11), EXTENDED)
    assert np.abs(images.decode_image(data)[..., 0].astype(int) - np.rint(EIGHT * (255 / 242))).max() <= 3


def jpeg(**options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(COLOR).save(buffer, "JPEG", quality=100, subsampling=0, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("stream", [jpeg(), jpeg(keep_rgb=True)], ids=["JFIF", "Adobe"])
def test_jpeg_colors_are_those_of_the_stream_where_the_header_is_wrong(stream, stated):
    data = encapsulated([stream], BASELINE, dicom(COLOR, **{**RGB, "PhotometricInterpretation": stated}))
    assert np.abs(images.decode_image(data).astype(int) - COLOR).max() <= 3


@pytest.mark.parametrize("stated", ["YBR_RCT", "RGB"])
def test_jpeg_2000_color(stated):
    buffer = io.BytesIO()
    Image.fromarray(COLOR).save(buffer, "JPEG2000", no_jp2=True)
    native = dicom(COLOR, **{**RGB, "PhotometricInterpretation": stated})
    assert images.decode_image(encapsulated([buffer.getvalue()], JPEG_2000_LOSSLESS, native)).tolist() == COLOR.tolist()


def run_length_encoded(frame: np.ndarray) -> bytes:
    """One segment of literal runs of up to 128 bytes, by PS3.5 G.3."""
    content = frame.tobytes()
    runs = [content[at : at + 128] for at in range(0, len(content), 128)]
    segment = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return struct.pack("<16I", 1, 64, *[0] * 14) + segment + b"\0" * (len(segment) % 2)


def test_middle_frame_of_several():
    frames = np.stack([EIGHT * 0, EIGHT, EIGHT * 0 + 9])
    native = dicom(frames, NumberOfFrames=3)
    for syntax, encode in (
        (RLE, run_length_encoded),
        (BASELINE, lambda frame: cv2.imencode(".jpg", frame)[1].tobytes()),
    ):
        image = images.decode_image(encapsulated([encode(frame) for frame in frames], syntax, native))
        assert np.abs(image[..., 0].astype(int) - EIGHT).max() <= (0 if syntax == RLE else 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", [BASELINE, *LOSSLESS_SYNTAXES])
def test_what_breaks_off_is_refused_in_one_line(tmp_path, syntax):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    whole = recompressed(tmp_path, dicom(noise), syntax)
    dataset = pydicom.dcmread(io.BytesIO(whole))
    frame = dataset.PixelData[16:]  # past the empty offset table and the frame's own item header
    short = encapsulated([frame[: len(frame) // 4 * 2]], syntax, whole)
    for data, message in (
        (short, "its compression, .* cannot be decoded here"),
        (whole[:-1000], "x.dcm: .*breaks off"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            images.decode_image(data, "x.dcm")
        assert "\n" not in str(raised.value)


def test_video_and_missing_decoders_say_what_to_do(monkeypatch):
    video = encapsulated([b"\0" * 64], "1.2.840.10008.1.2.4.102", dicom(EIGHT))  # MPEG-4
    with pytest.raises(InputError, match="its compression, MPEG-4.* cannot be decoded here; .*uncompressed"):
        images.decode_image(video, "x.dcm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"run: pip install medcap_tf\[dicom\], or save it uncompressed"):
        images.decode_image(video, "x.dcm")


def test_a_stream_that_ends_the_decoder_harms_no_neighbor(monkeypatch):
    sound = cv2.imencode(".jpg", EIGHT)[1].tobytes()
    broken = sound[:2] + b"\0" + sound[3:]  # GDCM aborts its process: no marker after the first
    files = [encapsulated([stream], BASELINE, dicom(EIGHT)) for stream in (broken, sound)]
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be decoded here"):
            images.decode_image(files[0], "x.dcm")
        assert np.abs(images.decode_image(files[1])[..., 0].astype(int) - EIGHT).max() <= 3
    os.kill(codecs._process.child.pid, signal.SIGSTOP)
    monkeypatch.setattr(codecs, "SECONDS", 0.2)
    with pytest.raises(InputError, match="cannot be decoded here"):
        images.decode_image(files[1], "x.dcm")
    monkeypatch.undo()
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(images.decode_image, [files[1]] * 12))
    assert all(image.tobytes() == decoded[0].tobytes() for image in decoded)
