"""DICOM files to pixels."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.pixels import check_size, scale, three_channels, to_uint8


def decode_dicom(data: bytes, name: str) -> np.ndarray:
    try:
        import pydicom
    except ImportError:
        raise InputError(f"{name}: DICOM needs the package pydicom; run: pip install medcap_tf[dicom]") from None
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
    except Exception as error:  # pydicom raises a dozen unrelated kinds on broken files
        raise InputError(f"{name}: not a readable DICOM image ({error}); export it again from its source") from error
    check_size((rows, columns), name)
    try:
        return _dicom_to_rgb(dataset)
    except Exception as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and syntax.is_compressed:
            remedy = "run: pip install pylibjpeg[all], or save it uncompressed"
            raise InputError(f"{name}: its compression, {syntax.name}, cannot be decoded here; {remedy}") from error
        raise InputError(f"{name}: broken DICOM pixel data ({error}); export it again from its source") from error


def _dicom_to_rgb(dataset: Any) -> np.ndarray:
    processing = _pydicom_processing()
    frame = _middle_frame(dataset)
    if frame.ndim == 3:
        return to_uint8(frame)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return scale(
            processing.apply_color_lut(frame, dataset), 0, 2 ** int(dataset.RedPaletteColorLookupTableDescriptor[2]) - 1
        )
    values = processing.apply_modality_lut(frame, dataset)
    # Slope 1 and intercept 0 turn 8 bits into floats; they are to stay 8 bits, shown as they are.
    grey = _windowed(frame if np.array_equal(values, frame) else values, dataset)
    return three_channels(255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey)


def _middle_frame(dataset: Any) -> np.ndarray:
    """[H, W], or [H, W, 3] as RGB."""
    from pydicom.uid import ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:  # no preamble, no header: the standard's default
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    processing = _pydicom_processing()
    if hasattr(processing, "pixel_array"):
        return processing.pixel_array(dataset, index=frames // 2)  # converts YBR to RGB itself
    frame = dataset.pixel_array[frames // 2] if frames > 1 else dataset.pixel_array
    kind = dataset.PhotometricInterpretation
    return processing.convert_color_space(frame, kind, "RGB") if kind.startswith("YBR") else frame


def _pydicom_processing() -> Any:
    """The module that holds pydicom's pixel functions: pydicom 2, the last for Python 3.9, keeps them elsewhere."""
    try:
        return importlib.import_module("pydicom.pixels")
    except ImportError:
        return importlib.import_module("pydicom.pixel_data_handlers.util")


def _windowed(values: np.ndarray, dataset: Any) -> np.ndarray:
    """[H, W] to `uint8 [H, W]` by the VOI LUT, else the first window, of DICOM PS3.3 C.11.2; else by its own range."""
    if dataset.get("VOILUTSequence"):
        return _looked_up(values, dataset.VOILUTSequence[0])
    center, width = (_first(dataset.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return to_uint8(values)
    function = dataset.get("VOILUTFunction", "LINEAR")
    if function == "SIGMOID":
        return scale(1 / (1 + np.exp(np.clip(-4 * (values.astype(float) - center) / width, -50, 50))), 0, 1)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, max(width - 1, 1e-6)  # a width of 1 is a threshold
    return scale(values, center - width / 2, center + width / 2)


def _looked_up(values: np.ndarray, table: Any) -> np.ndarray:
    _, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    # The first mapped value is signed or not as the pixels are; a reader that guesses wrong is off by 65536.
    if first >= 32768 and values.min() < 0:
        first -= 65536
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return scale(entries[index], 0, 2**bits - 1)


def _first(value: Any) -> float | None:
    """The first of one or several DICOM values; None where there is none."""
    if value is None or value == "":
        return None
    values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    return float(values[0]) if len(values) else None
