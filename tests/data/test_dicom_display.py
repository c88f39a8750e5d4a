"""What is shown of a DICOM frame, against values computed by hand: bits, padding, tables, windows, colors, headers."""

from __future__ import annotations

import io

import numpy as np
import pytest

from medcap_tf.data import images
from medcap_tf.errors import InputError

from .test_dicom import dicom, gray, saved

pydicom = pytest.importorskip("pydicom")

COUNTS = np.array([[0, 500, 1000, 2000]], np.uint16)
EXACT = {"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}  # 0..1000
COLOR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}


def shown(pixels, dtype=np.uint16, **attributes) -> list:
    """The gray values of the first row; `pixels` may be rows too."""
    return gray(images.decode_image(dicom(np.atleast_2d(np.array(pixels, dtype)), **attributes), "x.dcm"))[0]


def item(**values):
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def table(descriptor: list[int], data: list[int] | bytes, vr: str = "US"):
    dataset = pydicom.Dataset()
    dataset.add_new("LUTDescriptor", "SS" if min(descriptor) < 0 else "US", descriptor)
    dataset.add_new("LUTData", vr, data)
    return [dataset]


def group(**window):
    return item(FrameVOILUTSequence=[item(**window)])


NARROW, WIDE = group(WindowCenter=5, WindowWidth=2), group(**EXACT)
HALVED = item(PixelValueTransformationSequence=[item(RescaleSlope=0.5, RescaleIntercept=0, RescaleType="US")])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"SharedFunctionalGroupsSequence": [WIDE]}, [0, 128, 255, 255]),
        ({"PerFrameFunctionalGroupsSequence": [NARROW, WIDE, NARROW]}, [0, 128, 255, 255]),
        # The frame's own before the shared before the root.
        (
            {"SharedFunctionalGroupsSequence": [NARROW], "PerFrameFunctionalGroupsSequence": [NARROW, WIDE, NARROW]},
            [0, 128, 255, 255],
        ),
        ({"SharedFunctionalGroupsSequence": [WIDE], "WindowCenter": 5, "WindowWidth": 2}, [0, 128, 255, 255]),
        # A rescaling shared by all frames, a window of each: 0, 250, 500, 1000 in 0..1000.
        (
            {"SharedFunctionalGroupsSequence": [HALVED], "PerFrameFunctionalGroupsSequence": [NARROW, WIDE, NARROW]},
            [0, 64, 128, 255],
        ),
        ({"SharedFunctionalGroupsSequence": [HALVED], **EXACT}, [0, 64, 128, 255]),
        # Groups that are empty or too few leave what stands above them.
        ({"PerFrameFunctionalGroupsSequence": [NARROW], **EXACT}, [0, 128, 255, 255]),
        ({"SharedFunctionalGroupsSequence": [], "PerFrameFunctionalGroupsSequence": [item()] * 3}, [0, 64, 128, 255]),
    ],
)
def test_enhanced_multi_frame(attributes, expected):
    frames = np.stack([COUNTS * 0, COUNTS, COUNTS * 0 + 7])
    assert gray(images.decode_image(dicom(frames, NumberOfFrames=3, **attributes)))[0] == expected


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}, [0, 128, 255, 255]),
        ({"WindowCenter": [500, 1], "WindowWidth": [1000, 1], "VOILUTFunction": "LINEAR_EXACT"}, [0, 128, 255, 255]),
        # Unusable windows: the image's own range.
        ({"WindowCenter": 500, "WindowWidth": -7}, [0, 64, 128, 255]),
        ({"WindowCenter": 500, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, [0, 64, 128, 255]),
        ({"WindowCenter": 500}, [0, 64, 128, 255]),
        ({"WindowCenter": "", "WindowWidth": 100}, [0, 64, 128, 255]),
        # LINEAR of a width below 1 is not defined; 999.75..1000.25 with 1000 in the middle is what is meant.
        ({"WindowCenter": 1000, "WindowWidth": 0.5}, [0, 0, 128, 255]),
        ({"RescaleSlope": 2, **EXACT}, [0, 255, 255, 255]),
        ({"RescaleIntercept": 500, **EXACT}, [128, 255, 255, 255]),
        ({"RescaleSlope": 0, "RescaleIntercept": 0, **EXACT}, [0, 128, 255, 255]),
        ({"RescaleSlope": -1, "RescaleIntercept": 1000, **EXACT}, [255, 128, 0, 0]),
        ({"PresentationLUTShape": "INVERSE", **EXACT}, [255, 127, 0, 0]),
        # The two say the same thing: inverted once.
        ({"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1", **EXACT}, [255, 127, 0, 0]),
        ({"PresentationLUTShape": "IDENTITY", **EXACT}, [0, 128, 255, 255]),
    ],
)
def test_windows_and_rescaling(window, expected):
    assert shown(COUNTS, **window) == expected


@pytest.mark.parametrize(
    ("pixels", "bits", "attributes", "expected"),
    [
        ([0, 5, 10, 15], (8, 4, 3), {}, [0, 85, 170, 255]),
        ([0, 1, 2, 3], (8, 2, 1), {"PhotometricInterpretation": "MONOCHROME1"}, [255, 170, 85, 0]),
        ([0, 100, 200], (16, 8, 7), {}, [0, 100, 200]),  # as in 8 allocated bits
        (
            [0xF000, 0x3800 + 0x4000, 0x8FFF],
            (16, 12, 11),
            {},
            [0, 128, 255],
        ),  # 0, 2048, 4095 under four bits of overlay
        ([0x000F, 0x8007, 0xFFF1], (16, 12, 15), {}, [0, 128, 255]),  # the upper twelve bits: 0, 2048, 4095
        ([0x7, 0x5, 0x6], (16, 12, 3), {}, [255, 0, 128]),  # a HighBit too low to hold 12 bits says nothing
    ],
)
def test_stored_bits(pixels, bits, attributes, expected):
    allocated, stored, high = bits
    dtype = np.uint8 if allocated == 8 else np.uint16
    assert shown(pixels, dtype, BitsStored=stored, HighBit=high, **attributes) == expected


def test_signed_bits_below_the_allocated_are_extended():
    # -2048, -1, 2047 in twelve bits, with garbage above: -1 lies 2047 / 4095 of the way.
    pixels = np.array([0x7800, 0x0FFF, 0xF7FF], np.uint16).view(np.int16)
    assert shown(pixels, np.int16, BitsStored=12, HighBit=11) == [0, 127, 255]
    assert shown([-128, 0, 127], np.int8) == [0, 128, 255]


def test_one_bit():
    bits = np.array([[0, 1, 0, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 1]], np.uint8)  # frames of 5 bits share bytes
    packed = np.packbits(bits.ravel(), bitorder="little")[None]
    one = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 1, "Columns": 5}
    assert gray(images.decode_image(dicom(packed, NumberOfFrames=3, **one))) == [[255, 255, 255, 255, 0]]
    assert gray(images.decode_image(dicom(packed[:, :1], **one))) == [[0, 255, 0, 255, 0]]


UNSIGNED = pydicom.DataElement("PixelPaddingValue", "US", 63536)


@pytest.mark.parametrize(
    ("pixels", "dtype", "attributes", "expected"),
    [
        # Without padding -2000 would take half of the range.
        ([-2000, 0, 500, 1000], np.int16, {"PixelPaddingValue": -2000}, [0, 0, 128, 255]),
        ([-2000, 0, 500, 1000], np.int16, {"PixelPaddingValue": UNSIGNED}, [0, 0, 128, 255]),  # the same bits, unsigned
        ([9, 11, 0, 100], np.uint16, {"PixelPaddingValue": 9, "PixelPaddingRangeLimit": 12}, [0, 0, 0, 255]),
        ([999, 900, 0, 200], np.uint16, {"PixelPaddingValue": 999, "PixelPaddingRangeLimit": 900}, [0, 0, 0, 255]),
        # Black, not white, where low values are white.
        ([0, 7, 107], np.uint16, {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}, [0, 255, 0]),
        ([0, 7, 107], np.uint8, {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}, [0, 248, 148]),
        ([4, 500, 1000], np.uint16, {"PixelPaddingValue": 4, "PresentationLUTShape": "INVERSE", **EXACT}, [0, 127, 0]),
        # Wider than the twelve stored bits.
        ([63536, 0, 2048, 4095], np.uint16, {"PixelPaddingValue": 63536, "BitsStored": 12}, [0, 0, 128, 255]),
        ([3, 3], np.uint16, {"PixelPaddingValue": 3}, [0, 0]),
        ([3, 9], np.uint16, {"PixelPaddingValue": 3, **EXACT, "VOILUTFunction": "SIGMOID"}, [0, 31]),
    ],
)  # fmt: skip
def test_padding_counts_for_no_range_and_is_black(pixels, dtype, attributes, expected):
    assert shown(pixels, dtype, **attributes) == expected


@pytest.mark.parametrize(
    ("descriptor", "data", "vr", "expected"),
    [
        ([4, 0, 16], [0, 1024, 2048, 4095], "US", [0, 64, 128, 255]),  # 12 bits called 16
        ([4, 0, 16], [0, 250, 500, 1000], "US", [0, 64, 128, 255]),  # the largest entry, whatever its bits
        ([4, 0, 8], [0, 1024, 2048, 4095], "US", [0, 64, 128, 255]),  # 12 bits called 8
        ([4, 0, 8], [0, 50, 100, 200], "US", [0, 50, 100, 200]),  # 8 bits used: as declared
        ([4, 0, 12], [4095, 2048, 1024, 0], "US", [255, 128, 64, 0]),
        ([4, 0, 8], bytes([0, 50, 100, 200]), "OW", [0, 50, 100, 200]),  # two entries share a word
        ([4, 0, 8], [0 + 50 * 256, 100 + 200 * 256], "US", [0, 50, 100, 200]),
        ([4, 0, 16], np.array([0, 16384, 32768, 65535], "<u2").tobytes(), "OW", [0, 64, 128, 255]),
        ([0, 0, 16], [0, 32768, 65535], "US", [0, 128, 255, 255]),  # 0 stands for 65,536; it breaks off
        ([3, 1, 8], [10, 20, 255], "US", [10, 10, 20, 255]),
    ],
)
def test_voi_tables(descriptor, data, vr, expected):
    assert shown([0, 1, 2, 3], VOILUTSequence=table(descriptor, data, vr)) == expected


def test_voi_tables_of_signed_values():
    # 65534 is -2, also where the image holds no negative value, or gets them by rescaling.
    signed = {"VOILUTSequence": table([4, 65534, 8], [0, 50, 100, 255])}
    assert shown([-3, -2, -1, 0, 1, 9], np.int16, **signed) == [0, 0, 50, 100, 255, 255]
    assert shown([0, 1, 9], np.int16, **signed) == [100, 255, 255]
    assert shown([1, 2, 3], RescaleIntercept=-1, RescaleSlope=1, **signed) == [100, 255, 255]
    # Unsigned values that all lie below the first one mapped.
    assert shown([0, 9], VOILUTSequence=table([2, 40000, 8], [50, 255])) == [50, 50]


def test_modality_table_comes_before_the_window():
    tables = {"ModalityLUTSequence": table([4, 10, 16], [0, 500, 1000, 2000])}
    assert shown([0, 10, 11, 12, 13, 99], **tables) == [0, 0, 64, 128, 255, 255]
    assert shown([0, 10, 11, 12, 13, 99], **tables, **EXACT) == [0, 0, 128, 255, 255, 255]
    signed = {"ModalityLUTSequence": table([3, -1, 16], [0, 1000, 500])}
    assert shown([-1, 0, 1], np.int16, **signed, **EXACT) == [0, 255, 128]


def test_voi_table_comes_before_the_window_unless_it_is_empty():
    assert shown([0, 1], VOILUTSequence=table([2, 0, 8], [255, 7]), **EXACT) == [255, 7]
    assert shown(COUNTS, VOILUTSequence=[item(LUTExplanation="none")], **EXACT) == [0, 128, 255, 255]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_byte_orders_with_and_without_file_meta(syntax):
    words = table(
        [4, 0, 16], np.array([0, 4096, 8192, 65535], ">u2" if syntax.endswith("2.2") else "<u2").tobytes(), "OW"
    )
    pixels = np.array([[0, 1, 2, 3]], ">u2" if syntax.endswith("2.2") else "<u2")
    data = dicom(pixels, syntax, VOILUTSequence=words)
    assert gray(images.decode_image(data)) == [[0, 16, 32, 255]]
    dataset = pydicom.dcmread(io.BytesIO(data))
    meta = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
    assert gray(images.decode_image(data[132:], "x.dcm")) == [[0, 16, 32, 255]]  # no preamble
    assert gray(images.decode_image(data[meta:], "x.dcm")) == [[0, 16, 32, 255]]  # no file meta


@pytest.mark.parametrize(("dtype", "keyword"), [(np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")])
def test_float_pixels(dtype, keyword):
    dataset = pydicom.dcmread(io.BytesIO(dicom(np.zeros((1, 5), np.uint32))))
    del dataset.PixelData, dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit
    dataset.BitsAllocated = 8 * np.dtype(dtype).itemsize
    setattr(dataset, keyword, np.array([[-1, 0, 1, np.nan, -99]], dtype).tobytes())
    prefix = keyword.removesuffix("PixelData")
    setattr(dataset, f"{prefix}PixelPaddingValue", -99.0)
    assert gray(images.decode_image(saved(dataset))) == [[0, 128, 255, 0, 0]]
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 0, 4, "LINEAR_EXACT"
    assert gray(images.decode_image(saved(dataset))) == [[64, 128, 191, 0, 0]]


def test_thirty_two_bits():
    assert shown([0, 2**30, 2**31, 2**32 - 1], np.uint32) == [0, 64, 128, 255]
    assert shown([-(2**31), 0, 2**31 - 1], np.int32) == [0, 128, 255]


# Black, white, red and 50 % gray in full range, then in Y 16..235 and chroma 16..240 (ITU-R BT.601).
FULL = np.array([[[0, 128, 128], [255, 128, 128], [76, 85, 255], [128, 128, 128]]], np.uint8)
PARTIAL = np.array([[[16, 128, 128], [235, 128, 128], [81, 90, 240], [126, 128, 128]]], np.uint8)
FOUR = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [128, 128, 128]]


@pytest.mark.parametrize(("kind", "pixels"), [("YBR_FULL", FULL), ("YBR_PARTIAL_422", PARTIAL), ("YBR_FULL_422", FULL)])
@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_of_every_sample(kind, pixels, planar):
    planes = np.moveaxis(pixels, 2, 0) if planar else pixels
    attributes = {**COLOR, "PhotometricInterpretation": kind, "PlanarConfiguration": planar, "Rows": 1, "Columns": 4}
    image = images.decode_image(dicom(np.ascontiguousarray(planes), **attributes))
    assert np.abs(image[0].astype(int) - FOUR).max() <= 2


@pytest.mark.parametrize(("kind", "pixels"), [("YBR_FULL_422", FULL), ("YBR_PARTIAL_422", PARTIAL)])
def test_ybr_of_half_the_chroma(kind, pixels):
    # Y, Y, Cb, Cr for every two pixels: black and white, then red twice.
    y, blue, red = pixels[0].T
    halved = np.array([y[0], y[1], blue[0], red[0], y[2], y[2], blue[2], red[2]], np.uint8)
    attributes = {**COLOR, "PhotometricInterpretation": kind, "Rows": 1, "Columns": 4}
    image = images.decode_image(dicom(halved.reshape(1, 8, 1), **attributes))
    assert np.abs(image[0].astype(int) - [FOUR[0], FOUR[1], FOUR[2], FOUR[2]]).max() <= 2


def test_rgb_of_other_layouts_and_depths():
    planes = np.array([[[255, 0]], [[0, 10]], [[1, 20]]], np.uint8)
    attributes = {**COLOR, "PlanarConfiguration": 1, "Rows": 1, "Columns": 2}
    assert images.decode_image(dicom(planes, **attributes)).tolist() == [[[255, 0, 1], [0, 10, 20]]]
    few = np.array([[[15, 5, 0]]], np.uint8)
    assert images.decode_image(dicom(few, **COLOR, BitsStored=4, HighBit=3)).tolist() == [[[255, 85, 0]]]
    deep = np.array([[[0, 2550, 25500]]], np.uint16)
    assert images.decode_image(dicom(deep, **COLOR)).tolist() == [[[0, 26, 255]]]


def palette(entries: dict[str, list[int]], bits: int, dtype: str = "<u2", first: int = 0) -> dict:
    attributes: dict = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, values in entries.items():
        content = np.array(values, dtype).tobytes()
        attributes[f"{color}PaletteColorLookupTableDescriptor"] = [len(values), first, bits]
        attributes[f"{color}PaletteColorLookupTableData"] = content + b"\0" * (len(content) % 2)
    return attributes


@pytest.mark.parametrize(
    ("bits", "dtype", "largest"),
    [(16, "<u2", 65535), (16, "<u2", 255), (8, "<u2", 255), (8, "u1", 255), (8, "<u2", 65535)],
)
def test_palettes_of_every_width(bits, dtype, largest):
    entries = {"Red": [0, largest, 0], "Green": [0, 0, largest], "Blue": [largest, 0, 0]}
    pixels = np.array([[0, 4, 5, 6, 255]], np.uint8)
    image = images.decode_image(dicom(pixels, **palette(entries, bits, dtype, first=4)))
    assert image[0].tolist() == [[0, 0, 255], [0, 0, 255], [255, 0, 0], [0, 255, 0], [0, 255, 0]]
    # 16-bit pixels, of which a table of 8-bit entries must not keep the lower byte.
    image = images.decode_image(dicom(np.array([[261]], np.uint16), **palette(entries, bits, dtype, first=4)))
    assert image[0].tolist() == [[0, 255, 0]]


def test_segmented_palette():
    # A discrete segment of one entry, then a linear one over three entries: 0, then 85, 170, 255 (PS3.3 C.7.9.2).
    attributes: dict = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, end in (("Red", 255), ("Green", 0), ("Blue", 255)):
        attributes[f"{color}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        attributes[f"Segmented{color}PaletteColorLookupTableData"] = bytes([0, 1, 0, 1, 3, end])
    image = images.decode_image(dicom(np.array([[0, 1, 2, 3]], np.uint8), **attributes))
    assert image[0].tolist() == [[0, 0, 0], [85, 0, 85], [170, 0, 170], [255, 0, 255]]


def test_headers_that_leave_things_out():
    dataset = pydicom.dcmread(io.BytesIO(dicom(np.array([[0, 100, 200]], np.uint8))))
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored", "HighBit"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = None
    assert gray(images.decode_image(saved(dataset))) == [[0, 100, 200]]


PDF, REPORT = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"PixelData": None}, r"DICOM without pixel data \(Secondary Capture Image Storage\)"),
        ({"PixelData": None, "SOPClassUID": PDF}, "without pixel data .Encapsulated PDF Storage.; leave it out"),
        ({"PixelData": None, "SOPClassUID": REPORT}, "without pixel data .Basic Text SR Storage.; leave it out"),
        ({"Rows": 0}, "Rows or Columns is missing or 0"),
        ({"Columns": None}, "Rows or Columns is missing or 0"),
        ({"Rows": 2000}, "broken DICOM pixel data .*; export it again"),
        ({"NumberOfFrames": 9}, "broken DICOM pixel data .*; export it again"),
        ({"BitsAllocated": None}, "broken DICOM pixel data .*BitsAllocated"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "HSV", "Columns": 1}, "3 channels of HSV; save it as RGB"),
    ],
)  # fmt: skip
def test_files_without_a_usable_image_are_refused_in_one_line(keywords, message):
    dataset = pydicom.dcmread(io.BytesIO(dicom(np.array([[0, 100, 200]], np.uint8))))
    for keyword, value in keywords.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if "PlanarConfiguration" not in dataset and dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    with pytest.raises(InputError, match=f"x.dcm: .*{message}") as raised:
        images.decode_image(saved(dataset), "x.dcm")
    assert "\n" not in str(raised.value)
