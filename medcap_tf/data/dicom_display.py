"""A decoded DICOM frame to what a viewer shows: modality, then VOI, then presentation (DICOM PS3.3 C.11), or color.

Axes: H height, W width, N entries of a lookup table. A dataset is pydicom's, its header completed by dicom.py.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.data.pixels import scale, three_channels, to_uint8
from medcap_tf.errors import InputError

# Enhanced multi-frame files keep these in functional groups (PS3.3 C.7.6.16), others at the root.
ATTRIBUTES = (
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)
MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


class Lookup(NamedTuple):
    """A lookup table: its entries, int64 [N], the value that the first of them stands for, the bits declared."""

    entries: np.ndarray
    first: int
    bits: int

    def of(self, values: np.ndarray) -> np.ndarray:
        """int64 [H, W]: the entry of each value; values outside take the first or the last."""
        index = np.rint(np.nan_to_num(values)).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]


def to_rgb(frame: np.ndarray, stored: np.ndarray, color_space: str, dataset: Any, index: int) -> np.ndarray:
    """Frame number `index`, [H, W] or [H, W, samples], as decoded and as its stored bits, to `uint8 [H, W, 3]`."""
    if stored.ndim == 3:
        return _color(stored, color_space, dataset)
    if color_space == "PALETTE COLOR":
        return _palette(stored, dataset)
    return three_channels(_gray(frame, stored, dataset, _frame_attributes(dataset, index)))


def stored_values(frame: np.ndarray, dataset: Any) -> np.ndarray:
    """The stored bits alone, sign and all: what lies above and below them (overlays, garbage) is shifted out."""
    allocated, bits = 8 * frame.dtype.itemsize, dataset.BitsStored
    if frame.dtype.kind == "f" or bits >= allocated:
        return frame
    high = dataset.get("HighBit")
    if high is None or not bits <= high + 1 <= dataset.BitsAllocated:
        high = bits - 1
    return (frame << (allocated - 1 - high)) >> (allocated - bits)


def _color(stored: np.ndarray, color_space: str, dataset: Any) -> np.ndarray:
    if stored.shape[2] != 3 or not color_space.startswith(("RGB", "YBR_", "MONOCHROME")):
        raise InputError(f"DICOM in {stored.shape[2]} channels of {color_space}; save it as RGB or gray")
    if color_space.startswith("YBR_PARTIAL"):
        return _partial_to_rgb(stored)
    if color_space.startswith("YBR_FULL"):
        stored = _pydicom_processing().convert_color_space(stored, "YBR_FULL", "RGB")
    few = _largest_of_few_bits(stored, dataset)  # YBR_RCT and YBR_ICT: JPEG 2000, whose decoders give RGB
    return scale(stored, 0, few) if few else to_uint8(stored)


def _partial_to_rgb(ybr: np.ndarray) -> np.ndarray:
    """`uint8 [H, W, 3]` YBR_PARTIAL (Y 16..235, chroma 16..240 about 128) to RGB: the inverse of PS3.3 C.7.6.3.1.2."""
    y, blue, red = np.moveaxis(ybr.astype(np.float64) - (16, 128, 128), 2, 0)
    y = 255 / 219 * y
    blue, red = 255 / 224 * blue, 255 / 224 * red
    green = y - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587
    return np.rint(np.clip(np.stack([y + 1.402 * red, green, y + 1.772 * blue], axis=2), 0, 255)).astype(np.uint8)


def _palette(stored: np.ndarray, dataset: Any) -> np.ndarray:
    if "RedPaletteColorLookupTableData" not in dataset:  # segments of PS3.3 C.7.9.2
        rgb = _pydicom_processing().apply_color_lut(stored, dataset)[..., :3]
        return scale(rgb, 0, np.iinfo(rgb.dtype).max)
    tables = [_palette_table(color, dataset) for color in ("Red", "Green", "Blue")]
    rgb = np.stack([table.of(stored) for table in tables], axis=2)
    # Palettes have 8 bits or 16. Ultrasound devices declare 16 and use 8, others the other way round.
    return scale(rgb, 0, 255 if max(table.entries.max() for table in tables) < 256 else 65535)


def _palette_table(color: str, dataset: Any) -> Lookup:
    descriptor, data = (dataset.get(f"{color}PaletteColorLookupTable{part}") for part in ("Descriptor", "Data"))
    return _lookup(descriptor, data, dataset, signed=dataset.PixelRepresentation == 1)


def _pydicom_processing() -> Any:
    """The module that holds pydicom's pixel functions: pydicom 2, the last for Python 3.9, keeps them elsewhere."""
    try:
        return importlib.import_module("pydicom.pixels")
    except ImportError:
        return importlib.import_module("pydicom.pixel_data_handlers.util")


def _largest_of_few_bits(stored: np.ndarray, dataset: Any) -> int:
    """What up to 8 unsigned stored bits can hold at most, 255 for 8; 0 for all other values."""
    return 2**dataset.BitsStored - 1 if stored.dtype.kind == "u" and dataset.BitsStored <= 8 else 0


def _frame_attributes(dataset: Any, index: int) -> dict[str, Any]:
    """How to show one frame, by ATTRIBUTES: from its own functional group, else the shared one, else the root."""
    attributes = {keyword: dataset.get(keyword) for keyword in ATTRIBUTES}
    for sequence, position in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", index)):
        for group in (dataset.get(sequence) or [])[position : position + 1]:
            for macro in (item for keyword in MACROS for item in (group.get(keyword) or [])[:1]):
                attributes.update({keyword: macro.get(keyword) for keyword in ATTRIBUTES if keyword in macro})
    return attributes


def _gray(frame: np.ndarray, stored: np.ndarray, dataset: Any, attributes: dict[str, Any]) -> np.ndarray:
    padding = _padding(frame, stored, dataset)
    values = _modality_values(stored, dataset, attributes)
    largest = _largest_of_few_bits(stored, dataset) if values is stored else 0
    if padding.any():
        values = np.where(padding, np.nan, values)  # counts for no range
    gray = _voi_values(values, dataset, attributes, largest)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        gray = 255 - gray
    return np.where(padding, np.uint8(0), gray)


def _padding(frame: np.ndarray, stored: np.ndarray, dataset: Any) -> np.ndarray:
    """bool [H, W]: where there is no image (PS3.3 C.7.5.1.1.2), from a value or a range of values."""
    prefix = {"float32": "Float", "float64": "DoubleFloat"}.get(frame.dtype.name, "")
    value = _number(dataset.get(f"{prefix}PixelPaddingValue"))
    if value is None:
        return np.zeros(frame.shape, bool)
    limit = _number(dataset.get(f"{prefix}PixelPaddingRangeLimit"))
    low, high = sorted(_as_pixel(end, frame.dtype) for end in (value, value if limit is None else limit))
    # Some scanners store 12 bits and pad with a value of 16.
    return ((frame >= low) & (frame <= high)) | ((stored >= low) & (stored <= high))


def _as_pixel(value: float, dtype: np.dtype) -> float:
    """A value given as unsigned where pixels are signed, or the other way round, as the pixel of the same bits."""
    bits = 8 * dtype.itemsize
    if dtype.kind == "f" or not -(2 ** (bits - 1)) <= value < 2**bits:
        return value
    return int(np.int64(value).astype(dtype))


def _modality_values(stored: np.ndarray, dataset: Any, attributes: dict[str, Any]) -> np.ndarray:
    """[H, W] in the modality's unit, such as HU; `stored` itself where the file changes nothing."""
    tables = attributes["ModalityLUTSequence"]
    if tables and "LUTData" in tables[0]:
        signed = dataset.PixelRepresentation == 1
        return _lookup(tables[0].LUTDescriptor, tables[0].LUTData, dataset, signed).of(stored)
    slope, intercept = _number(attributes["RescaleSlope"]), _number(attributes["RescaleIntercept"])
    slope, intercept = slope or 1.0, intercept or 0.0  # a slope of 0 would leave no image
    return stored if (slope, intercept) == (1, 0) else stored.astype(np.float64) * slope + intercept


def _voi_values(values: np.ndarray, dataset: Any, attributes: dict[str, Any], largest: int) -> np.ndarray:
    """[H, W], NaN where there is no image, to `uint8 [H, W]`; `largest`: what few bits hold at most, else 0."""
    tables = attributes["VOILUTSequence"]
    if tables and "LUTData" in tables[0]:
        intercept = _number(attributes["RescaleIntercept"]) or 0
        signed = dataset.PixelRepresentation == 1 or intercept < 0 or bool((values < 0).any())
        return _voi_table(_lookup(tables[0].LUTDescriptor, tables[0].LUTData, dataset, signed), values)
    center, width = _number(attributes["WindowCenter"]), _number(attributes["WindowWidth"])
    if center is not None and width is not None and width > 0:
        return _windowed(values, center, width, (attributes["VOILUTFunction"] or "LINEAR").strip().upper())
    return scale(values, 0, largest) if largest else to_uint8(values)


def _windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """The window of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return scale(1 / (1 + np.exp(np.clip(-4 * (values.astype(float) - center) / width, -50, 50))), 0, 1)
    # LINEAR is defined from a width of 1 on, which is a threshold; less can only be meant exactly.
    if function != "LINEAR_EXACT" and width >= 1:
        center, width = center - 0.5, max(width - 1, 1e-6)
    return scale(values, center - width / 2, center + width / 2)


def _voi_table(table: Lookup, values: np.ndarray) -> np.ndarray:
    """Scaled by the bits declared, or, where the entries have more or fewer, by the largest of them, as viewers do."""
    largest = int(table.entries.max())
    return scale(table.of(values), 0, 2**table.bits - 1 if largest.bit_length() == table.bits else largest)


def _lookup(descriptor: Any, data: Any, dataset: Any, signed: bool) -> Lookup:
    """A table from its descriptor (entries, first value, bits) and its data: bytes, or numbers of 16 bits."""
    if descriptor is None or not data:
        raise ValueError("a lookup table without a descriptor or without entries")
    count, first, bits = (int(number) for number in descriptor)
    count = count or 65536  # which 16 bits cannot hold
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")
    else:
        words = (np.atleast_1d(data).astype(np.int64) & 0xFFFF).astype(np.uint16)
    if len(words) < count and len(words) == (count + 1) // 2:  # two entries of 8 bits share a word
        words = np.frombuffer(words.astype("<u2").tobytes(), np.uint8)
    # The first value is signed if the pixels are (PS3.3 C.11.1.1): read otherwise, it is off by 65,536.
    return Lookup(words[:count].astype(np.int64), first - 65536 if signed and first >= 32768 else first, bits)


def _number(value: Any) -> float | None:
    """The first of one or several DICOM values; None where there is none, or none that is finite."""
    values = [value] if value is None or isinstance(value, (str, float, int)) else list(value)
    number = float(values[0]) if values and values[0] not in (None, "") else math.nan
    return number if math.isfinite(number) else None
