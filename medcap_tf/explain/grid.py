"""Where on the image the regions of a grid lie.

ResNet50's strided convolutions read every second place from the first on, each with as much padding on one side as on
the other. So a region's receptive field is centered at the stride times its number: region (i, j) of h x w lies around
(i / h, j / w) of the image's height and width, not around ((i + 1/2) / h, (j + 1/2) / w), where a picture of h x w
pixels that is stretched over the image would show it. The difference is half a region.

Axes: h x w regions, H x W pixels of the image.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np

_CUBIC = -0.75  # the parameter a of cubic convolution (Keys 1981, equation 15, with a free), as OpenCV has it


def over_image(grid: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A map of regions [h, w] over the original image, float32 [H, W], smooth and never below 0.

    The encoder saw the image squashed to a square, so shares of height and width are the same in both. Cubic
    interpolation between the regions' centers; it overshoots a little, which is cut.
    """
    down, across = (_cubic_weights(*sizes) for sizes in zip(grid.shape, shape))
    # In double precision: rounding would rank the pixels of an even map.
    return np.maximum(down @ grid.astype(np.float64) @ across.T, 0).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _cubic_weights(regions: int, pixels: int) -> np.ndarray:
    """What each region gives to each pixel along one axis, float64 [pixels, regions]; regions at the edges go on."""
    place = np.minimum((np.arange(pixels) + 0.5) * regions / pixels, regions - 1)
    left = np.floor(place).astype(int)
    weights = np.zeros((pixels, regions))
    for neighbor in range(-1, 3):
        far = np.abs(place - left - neighbor)
        inner = ((_CUBIC + 2) * far - (_CUBIC + 3)) * far**2 + 1
        outer = ((_CUBIC * far - 5 * _CUBIC) * far + 8 * _CUBIC) * far - 4 * _CUBIC
        region = np.clip(left + neighbor, 0, regions - 1)
        np.add.at(weights, (np.arange(pixels), region), np.where(far <= 1, inner, outer))
    return weights


def pixels_of(regions: np.ndarray, grid: tuple[int, int], shape: Sequence[int], center: float = 0.5) -> np.ndarray:
    """The pixels nearest to the centers of some regions, given by their numbers: bool [H, W]. Of a finer grid in place
    of pixels, whose regions have their `center` at 0, its regions."""
    selected = np.zeros(grid[0] * grid[1], bool)
    selected[regions] = True
    rows, columns = (nearest_region(*sizes, center) for sizes in zip(grid, shape))
    return selected.reshape(grid)[rows[:, None], columns]


def nearest_region(regions: int, pixels: int, center: float = 0.5) -> np.ndarray:
    """Along one axis, the region whose center is nearest to each pixel's, int64 [pixels]."""
    place = (np.arange(pixels) + center) * regions / pixels
    return np.minimum(np.floor(place + 0.5).astype(np.int64), regions - 1)


def shares_of_regions(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """How much of each region a mask bool [H, W] covers, float32 [h, w]: what a perfect map says of it."""
    before = [round(pixels / regions / 2) for pixels, regions in zip(mask.shape, grid)]
    moved = np.pad(mask.astype(np.float32), [(pixels, 0) for pixels in before], "edge")
    return cv2.resize(moved[: mask.shape[0], : mask.shape[1]], grid[::-1], interpolation=cv2.INTER_AREA)


def mirrored(grids: np.ndarray) -> np.ndarray:
    """Maps [..., h, w] of an image, as its mirror image has them: column j lies where w - j does."""
    columns = grids.shape[-1]
    return grids[..., np.minimum(columns - np.arange(columns), columns - 1)]
