"""What the readers of ordinary images and of DICOM share: the limit on size, and values of any range to 8 bits."""

from __future__ import annotations

import numpy as np

from medcap_tf import MAX_PIXELS
from medcap_tf.errors import InputError


def check_size(size: tuple[int, ...] | None, name: str) -> None:
    if size and size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{name}: {size[1]} x {size[0]} pixels, more than {MAX_PIXELS:,}; make the image smaller")


def three_channels(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray.reshape(*gray.shape[:2], 1), 3, axis=2)


def composite(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Color [H, W, C] over black by alpha [H, W, 1] of the same dtype: 8 bits stay so, all else becomes float32."""
    if color.dtype == np.uint8:
        return ((color.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)  # rounded: there are no ties
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    return color.astype(np.float32) * (alpha.astype(np.float32) / opaque)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """8 bits unchanged; all else: the range of the finite values to 0..255."""
    if values.dtype == np.uint8:
        return values
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return scale(values, low, high)


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """low..high to `uint8` 0..255, values outside clipped."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    # float32 holds every 16-bit value exactly, at half the memory.
    scaled: np.ndarray = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    scaled = np.clip((scaled - low) * (255 / (high - low)), 0, 255)
    return np.rint(np.where(np.isfinite(values), scaled, 0)).astype(np.uint8)
