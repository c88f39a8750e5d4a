"""DICOM pixels whose values are known by hand, and every error."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from medcap_tf.data import images
from medcap_tf.errors import InputError

RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]], [[1, 2, 3], [255, 255, 255]]], np.uint8)
GRAY = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)


def gray(image: np.ndarray) -> list:
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert (image == image[..., :1]).all()
    return image[..., 0].tolist()


def saved(dataset) -> bytes:
    """The file, in the encoding of its transfer syntax, by pydicom 2 or 3."""
    buffer = io.BytesIO()
    syntax = dataset.file_meta.TransferSyntaxUID
    if int(pytest.importorskip("pydicom").__version__.split(".")[0]) >= 3:
        dataset.save_as(buffer, enforce_file_format=True)
    else:
        dataset.is_little_endian, dataset.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        dataset.save_as(buffer, write_like_original=False)
    return buffer.getvalue()


def dicom(pixels: np.ndarray, syntax: str = "1.2.840.10008.1.2.1", **attributes) -> bytes:
    """A DICOM file of [H, W] or [F, H, W] gray pixels, or of [H, W, 3] ones where SamplesPerPixel is 3."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    encoding = {"is_implicit_VR": meta.TransferSyntaxUID.is_implicit_VR}
    encoding["is_little_endian"] = meta.TransferSyntaxUID.is_little_endian
    dataset = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, **encoding)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.SamplesPerPixel = attributes.get("SamplesPerPixel", 1)
    dataset.Rows, dataset.Columns = pixels.shape[:2] if dataset.SamplesPerPixel == 3 else pixels.shape[-2:]
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        if isinstance(value, pydicom.DataElement):
            dataset.add(value)
        else:
            setattr(dataset, keyword, value)
    content = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    if meta.TransferSyntaxUID.is_compressed:
        content = pydicom.encaps.encapsulate([content])
    dataset.PixelData = content
    dataset["PixelData"].VR = "OB" if meta.TransferSyntaxUID.is_compressed else "OW"
    dataset["PixelData"].is_undefined_length = meta.TransferSyntaxUID.is_compressed
    return saved(dataset)


def lookup_table(first: int, bits: int, entries: list):
    pydicom = pytest.importorskip("pydicom")
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    table.add_new("LUTData", "US", entries)
    return [table]


COUNTS = np.array([[0, 500, 1000, 2000]], np.uint16)
SIXTEEN = np.array([[-24, 16, 60, 999]], np.int16)


@pytest.mark.parametrize(
    ("pixels", "attributes", "expected"),
    [
        (GRAY, {}, GRAY.tolist()),
        (GRAY, {"RescaleSlope": 1, "RescaleIntercept": 0}, GRAY.tolist()),
        (GRAY, {"PhotometricInterpretation": "MONOCHROME1"}, (255 - GRAY).tolist()),
        (COUNTS, {}, [[0, 64, 128, 255]]),
        (COUNTS, {"PhotometricInterpretation": "MONOCHROME1"}, [[255, 191, 127, 0]]),
        # Exact window 0..1000 of the counts; then of the counts less 1000, which is -1000..0.
        (COUNTS, {"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}, [[0, 128, 255, 255]]),
        (
            COUNTS,
            {
                "WindowCenter": [-500, 9],
                "WindowWidth": [1000, 9],
                "VOILUTFunction": "LINEAR_EXACT",
                "RescaleSlope": 1,
                "RescaleIntercept": -1000,
            },
            [[0, 128, 255, 255]],
        ),
        # LINEAR: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255; center 60.5 and width 81 span 20..100.
        (SIXTEEN, {"WindowCenter": 60.5, "WindowWidth": 81}, [[0, 0, 128, 255]]),
        (COUNTS, {"WindowCenter": 500.5, "WindowWidth": 1}, [[0, 0, 255, 255]]),
        # 255 / (1 + exp(-4 (x - c) / w)) at x - c = -w, -w/2, 0, w.
        (COUNTS, {"WindowCenter": 1000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}, [[5, 30, 128, 250]]),
        (COUNTS, {"WindowCenter": 500, "WindowWidth": 0}, [[0, 64, 128, 255]]),
        # The middle of three frames.
        (np.stack([GRAY * 0, GRAY, GRAY * 0 + 9]), {"NumberOfFrames": 3}, GRAY.tolist()),
    ],
)
def test_dicom_gray_values(pixels, attributes, expected):
    assert gray(images.decode_image(dicom(pixels, **attributes))) == expected


def test_dicom_lookup_tables():
    # Values below the first mapped one, 10, take the first entry; those past the last, the last.
    table = lookup_table(10, 8, [255, 100, 0])
    pixels = np.array([[0, 10, 11, 12, 900]], np.uint16)
    assert gray(images.decode_image(dicom(pixels, VOILUTSequence=table))) == [[255, 255, 100, 0, 0]]
    signed = lookup_table(65536 - 2, 16, [0, 257 * 7, 65535])
    pixels = np.array([[-9, -2, -1, 0]], np.int16)
    assert gray(images.decode_image(dicom(pixels, VOILUTSequence=signed))) == [[0, 0, 7, 255]]


def test_dicom_color():
    attributes = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    data = dicom(RGB, PhotometricInterpretation="RGB", **attributes)
    assert images.decode_image(data).tolist() == RGB.tolist()
    # Full-range YCbCr by ITU-R BT.601: black, white, red.
    ybr = np.array([[[0, 128, 128], [255, 128, 128], [76, 85, 255], [0, 128, 128]]], np.uint8)
    shown = images.decode_image(dicom(ybr, PhotometricInterpretation="YBR_FULL", **attributes))
    assert np.abs(shown[0].astype(int) - [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 0]]).max() <= 2


def test_dicom_palette():
    palette = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, entries in (("Red", [0, 65535]), ("Green", [257 * 10, 0]), ("Blue", [0, 257 * 99])):
        palette[f"{color}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        palette[f"{color}PaletteColorLookupTableData"] = np.array(entries, "<u2").tobytes()
    shown = images.decode_image(dicom(np.array([[0, 1]], np.uint8), **palette))
    assert shown.tolist() == [[[0, 10, 0], [255, 0, 99]]]


def test_dicom_without_its_preamble_is_told_by_its_suffix(tmp_path):
    path = tmp_path / "OLD.DCM"
    path.write_bytes(dicom(GRAY)[132:])
    assert gray(images.read_image(path)) == GRAY.tolist()


def test_broken_dicom():
    whole = dicom(np.zeros((64, 64), np.uint16))
    with pytest.raises(InputError, match="x.dcm: broken DICOM pixel data"):
        images.decode_image(whole[:-4000], "x.dcm")
    with pytest.raises(InputError, match="x.dcm: not a readable DICOM image"):
        images.decode_image(whole[:200], "x.dcm")
    with pytest.raises(InputError, match="x.dcm: not a readable DICOM image"):
        images.decode_image(b"a caption, not an image\n" * 20, "x.dcm")
    with pytest.raises(InputError, match="60000 x 60000 pixels"):
        images.decode_image(dicom(GRAY, Rows=60_000, Columns=60_000), "x.dcm")
    with pytest.raises(InputError, match="x.dcm: its compression, JPEG 2000.* cannot be decoded here"):
        images.decode_image(dicom(GRAY, syntax="1.2.840.10008.1.2.4.90"), "x.dcm")


def test_dicom_without_pydicom_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pip install medcap_tf\[dicom\]"):
        images.decode_image(b"\0" * 128 + b"DICM", "x.dcm")
