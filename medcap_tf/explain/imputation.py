"""Removes parts of an image without leaving a mark: from what surrounds them, not by blur or a color of its own.

Axes: H x W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

NOISE = 2.55  # standard deviation in gray levels, a hundredth of their range: without it, smoothness would tell
_SWEEPS = 40  # of relaxation at each scale
_NEIGHBORS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12


def impute(pixels: np.ndarray, removed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noisy linear imputation (Rong et al. 2022, section 5.2): each removed pixel becomes the mean of its neighbors,
    removed ones too, of which direct ones weigh twice as much as diagonal ones, and a little noise.

    The equations of all removed pixels are solved together, by relaxation from a coarse scale to the image's own.

    Args:
        pixels: uint8 [H, W, 3].
        removed: bool [H, W], not everywhere.
        rng: draws the noise.

    Returns:
        uint8 [H, W, 3].
    """
    filled = _relaxed(pixels.astype(np.float32), ~removed)
    noisy = filled + rng.normal(0, NOISE, (*removed.shape, 1))
    return np.where(removed[..., None], np.clip(np.rint(noisy), 0, 255), pixels).astype(np.uint8)


def _relaxed(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float32 [H, W, 3] with all but the known pixels [H, W] brought near the mean of their neighbors."""
    if known.all():
        return values
    height, width = known.shape
    if max(height, width) > 2:
        size = ((width + 1) // 2, (height + 1) // 2)
        share = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        sums = cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA)
        coarse = _relaxed(sums / np.maximum(share, 1e-6)[..., None], share > 1e-6)
        start = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        start = np.broadcast_to(values[known].mean(0), values.shape)
    values = np.where(known[..., None], values, start)
    there = cv2.filter2D(np.ones(known.shape, np.float32), -1, _NEIGHBORS, borderType=cv2.BORDER_CONSTANT)
    for _ in range(_SWEEPS):
        means = cv2.filter2D(values, -1, _NEIGHBORS, borderType=cv2.BORDER_CONSTANT) / there[..., None]
        values = np.where(known[..., None], values, means)
    return values
