"""DICOM pixel data to stored values. JPEG, JPEG-LS and JPEG 2000 are decoded in a process of their own."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from medcap_tf.data.codecs import apart

EXTENDED, LOSSLESS = "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"
KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def decode_frame(dataset: Any, index: int, **options: Any) -> tuple[np.ndarray, str]:
    """Frame number `index`, [H, W] or [H, W, samples], and its color space, by pydicom in this process."""
    try:
        get_decoder = importlib.import_module("pydicom.pixels").get_decoder
    except ImportError:  # pydicom 2, the last for Python 3.9
        frames = dataset.pixel_array
        return (frames[index] if dataset.NumberOfFrames > 1 else frames), str(dataset.PhotometricInterpretation)
    frame, properties = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(
        dataset, index=index, raw=True, **options
    )
    color_space = properties["photometric_interpretation"]
    return frame, str(getattr(color_space, "value", color_space))


def decode_frame_apart(dataset: Any, index: int) -> tuple[np.ndarray, str]:
    """The same in the process for codecs; ValueError where it cannot, died over it or took too long."""
    from pydicom.dataset import Dataset

    bare = Dataset()
    for keyword in KEYWORDS:
        if keyword in dataset:
            bare.add(dataset[keyword])
    bare.file_meta = dataset.file_meta
    if bare.file_meta.TransferSyntaxUID == EXTENDED and dataset.BitsStored > 8:
        # pydicom 3 refuses it, but GDCM has one codec for all JPEG, which goes by what the stream says.
        bare.file_meta.TransferSyntaxUID = type(bare.file_meta.TransferSyntaxUID)(LOSSLESS)
    return apart(decode_frame, bare, index)
