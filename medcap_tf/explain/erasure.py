"""Does the model look at the finding at all? Paint it over, and an equal area elsewhere, and see what falls.

Where nothing falls no map can point, however well it is made: erasure comes before every other measure.

Axes: S pixels a side of what the encoder sees, H x W of a mask.
"""

from __future__ import annotations

import cv2
import numpy as np

_TRIES = 200  # places for the equal area
_RADIUS = 3  # pixels that the painting takes its colors from


def prepared_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask bool [H, W] over the squashed image, bool [S, S]: every pixel that it touches, and those beside them."""
    touched = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0
    return cv2.dilate(touched.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def paint_over(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image uint8 [S, S, 3] with the mask bool [S, S] filled from its surroundings (Telea 2004)."""
    return cv2.inpaint(pixels, mask.astype(np.uint8), _RADIUS, cv2.INPAINT_TELEA)


def elsewhere(pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The mask, bool [S, S], moved to a place inside the image that does not touch it and is about as bright.

    Returns:
        bool [S, S], of the same area; None where no such place was found, as for a finding that fills the image.
    """
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    brightness = pixels[mask].mean()
    for _ in range(_TRIES):
        down = rng.integers(-rows.min(), height - rows.max())
        right = rng.integers(-columns.min(), width - columns.max())
        moved = np.zeros_like(mask)
        moved[rows + down, columns + right] = True
        # Painting over the background around a body would change nothing, whatever the model looks at.
        if not (moved & mask).any() and pixels[moved].mean() >= brightness / 2:
            return moved
    return None
