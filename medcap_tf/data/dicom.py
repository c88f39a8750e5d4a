"""DICOM files to pixels: reading, decompression and errors; what is shown of a frame is in dicom_display.py.

Axes: H height, W width. pydicom 2 and 3 both do; compressed files need the decoders of the extra `dicom`.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import struct
import warnings
from typing import Any

import numpy as np

from medcap_tf.data.dicom_codec import EXTENDED, decode_frame, decode_frame_apart
from medcap_tf.data.dicom_display import stored_values, to_rgb
from medcap_tf.data.pixels import check_size
from medcap_tf.errors import InputError

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
RLE = "1.2.840.10008.1.2.5"
BASELINE = "1.2.840.10008.1.2.4.50"

# What pydicom warns of and logs about a broken file is said in one line by the InputError raised here.
warnings.filterwarnings("ignore", module=r"pydicom\.")


def decode_dicom(data: bytes, name: str) -> np.ndarray:
    """The bytes of one DICOM file to `uint8 [H, W, 3]`, RGB, 0..255. `name` is what error messages call the file.

    - Of several frames the middle one is taken, number F // 2 counted from 0; rescaling and window are that frame's:
      its own functional group before the shared one before the root.
    - Gray: modality LUT or rescaling, then the VOI LUT, else the first window (LINEAR, LINEAR_EXACT, SIGMOID).
      Where neither is usable (none given, a width of 0 or less), unsigned values of up to 8 stored bits are scaled by
      what their bits can hold, so that 8 bits stay as they are, and all others by their own range.
    - MONOCHROME1 and the presentation LUT shape INVERSE are inverted. Padding counts for no range and becomes black.
    - Color: RGB as it is, palettes looked up, YBR_FULL, YBR_FULL_422 and YBR_PARTIAL_422 converted.

    Raises InputError where pydicom or a decoder is missing, where there is no image inside, or a broken one, and for
    more than MAX_PIXELS pixels.
    """
    dataset = _read_dataset(data, name)
    try:
        _complete_header(dataset)
        index = int(dataset.NumberOfFrames) // 2
        frame, color_space = _decode_frame(dataset, index)
        # What a codec gives has no unused bits.
        stored = frame if _has_codec(dataset) else stored_values(frame, dataset)
        return to_rgb(frame, stored, color_space, dataset, index)
    except Exception as error:  # pydicom and its decoders raise a dozen unrelated kinds on broken files
        raise InputError(f"{name}: {_reason(dataset, error)}") from error


def _read_dataset(data: bytes, name: str) -> Any:
    try:
        import pydicom
    except ImportError:
        raise InputError(f"{name}: DICOM needs the package pydicom; run: pip install medcap_tf[dicom]") from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # pydicom sets its own level when it is imported
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        kind = getattr(dataset.get("SOPClassUID"), "name", None)
        has_pixels = any(dataset.get(keyword) for keyword in PIXEL_KEYWORDS)
        size = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    except Exception as error:
        raise InputError(
            f"{name}: not a readable DICOM image ({_one_line(error)}); export it again from its source"
        ) from error
    if not has_pixels and kind is not None:
        remedy = "leave it out if it is a document; else it breaks off: export it again from its source"
        raise InputError(f"{name}: DICOM without pixel data ({_one_line(kind)}); {remedy}")
    if not has_pixels or not all(size):
        missing = "Rows or Columns is missing or 0" if has_pixels else "no pixel data: no DICOM, or it breaks off"
        raise InputError(f"{name}: not a readable DICOM image ({missing}); export it again from its source")
    check_size(size, name)
    return dataset


def _reason(dataset: Any, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    syntax: Any = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if not getattr(syntax, "is_transfer_syntax", False) or not syntax.is_encapsulated:
        return f"broken DICOM pixel data ({_one_line(error)}); export it again from its source"
    if importlib.util.find_spec("gdcm") is None:
        remedy = "run: pip install medcap_tf[dicom], or save it uncompressed"
    else:
        remedy = "it breaks off, or no decoder knows it: export it again from its source, uncompressed"
    return f"its compression, {syntax.name}, cannot be decoded here; {remedy}"


def _one_line(text: object) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:200]


def _complete_header(dataset: Any) -> None:
    """Put in what old and careless files leave out, with the meaning that it then has."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
            raise InputError("compressed DICOM whose header does not say how; export it again from its source")
        implicit, little = _encoding(dataset)
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native
    dataset.NumberOfFrames = max(1, int(dataset.get("NumberOfFrames") or 1))
    dataset.SamplesPerPixel = samples = int(dataset.get("SamplesPerPixel") or 1)
    kind = dataset.get("PhotometricInterpretation") or ("RGB" if samples == 3 else "MONOCHROME2")
    dataset.PhotometricInterpretation = kind.strip().upper()
    dataset.PixelRepresentation = int(dataset.get("PixelRepresentation") or 0)
    dataset.BitsStored = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if samples > 1 and dataset.get("PlanarConfiguration") is None:
        dataset.PlanarConfiguration = 0


def _encoding(dataset: Any) -> tuple[bool, bool]:
    """How the file was written: (implicit VR, little endian). pydicom 2 and 3 keep it in different places."""
    if hasattr(dataset, "original_encoding"):
        return dataset.original_encoding
    return dataset.read_implicit_vr, dataset.read_little_endian


def _decode_frame(dataset: Any, index: int) -> tuple[np.ndarray, str]:
    """Frame number `index` as it is stored, [H, W] or [H, W, samples], and its color space."""
    kind, syntax = dataset.PhotometricInterpretation, dataset.file_meta.TransferSyntaxUID
    if kind.endswith("_422") and not syntax.is_encapsulated:
        # Some files say 422 and hold every sample all the same. pydicom puts back what 422 leaves out of YBR_FULL only.
        samples = 3 * dataset.Rows * dataset.Columns * dataset.NumberOfFrames
        dataset.PhotometricInterpretation = "YBR_FULL" if len(dataset.PixelData) >= samples else "YBR_FULL_422"
    if dataset.BitsAllocated == 1 and not syntax.is_encapsulated:
        return _packed_frame(dataset, index), kind
    if syntax in (BASELINE, EXTENDED) and dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation = _jpeg_color_space(dataset.PixelData) or kind
    if _has_codec(dataset):
        frame, decoded = decode_frame_apart(dataset, index)
    else:
        frame, decoded = decode_frame(dataset, index, correct_unused_bits=False)  # `stored_values` knows HighBit
    return frame, kind if kind.startswith("YBR_PARTIAL") else decoded


def _packed_frame(dataset: Any, index: int) -> np.ndarray:
    """Pixels of one bit, from the lowest bit on; pydicom 3 loses count where a frame begins within a byte."""
    count = dataset.Rows * dataset.Columns
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    return bits[index * count : (index + 1) * count].reshape(dataset.Rows, dataset.Columns)


def _jpeg_color_space(data: bytes) -> str | None:
    """What the first JPEG stream itself says, which is right where the header disagrees; None where it says nothing."""
    position = data.find(b"\xff\xd8\xff") + 2
    while 2 <= position <= len(data) - 16:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFE0 and data[position + 4 : position + 8] == b"JFIF":
            return "YBR_FULL"
        if marker == 0xFFEE and length >= 14 and data[position + 4 : position + 9] == b"Adobe":
            return "YBR_FULL" if data[position + 15] else "RGB"
        if 0xFFC0 <= marker <= 0xFFC2:
            return "RGB" if data[position + 10 : position + 19 : 3].upper() == b"RGB" else None
        position += 2 + length
    return None


def _has_codec(dataset: Any) -> bool:
    syntax = dataset.file_meta.TransferSyntaxUID
    return syntax.is_encapsulated and syntax != RLE
