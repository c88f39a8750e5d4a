"""A word's map as regions: boxes, and positions in words and numbers.

Positions are those of the image: "image left" is the viewer's left. Where a radiological image is shown by the usual
convention (frontal films, axial and coronal sections) the patient's left is on the image's right.

Axes: n words, h x w regions of the encoder's grid, S pixels a side of the raster that maps are measured on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from medcap_tf.explain.grid import nearest_region, over_image

CONVENTION = "image left is the viewer's left: by convention the patient's right in frontal and axial views"
MOST_REGIONS = 3  # of a word: more are no place
LEAST_MASS = 0.1  # of a map, that a region holds at least
LEAST_PEAK = 2.0  # even shares: a map whose peak is lower is as good as flat
_SIDE = 224  # pixels: eight for each region of a grid of 28
_DOWN = ("upper third", "middle third", "lower third")
_ALONG = ("image left", "center", "image right")


class Region(NamedTuple):
    """One connected part of a map, in shares of the image's width and height from its upper left corner."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    center: tuple[float, float]  # x, y: the center of its mass
    peak: tuple[float, float]  # x, y: its highest pixel
    mass: float  # its share of the whole map
    place: str  # "upper third, image left"

    def __str__(self) -> str:
        """The position in words and numbers."""
        (x, y), box = self.center, " ".join(f"{end:.2f}" for end in self.box)
        return f"{self.place}; center {x:.2f}, {y:.2f}; box {box}; {self.mass:.0%} of the map"


def find_regions(grid: np.ndarray) -> tuple[Region, ...]:
    """The parts of a map above Otsu's threshold, the heaviest first.

    The map is drawn over the image as in the figures, its threshold separates the two classes of pixels best (Otsu
    1979), and connected pixels above it are one region.

    Args:
        grid: float32 [h, w], not below 0.

    Returns:
        At most MOST_REGIONS, each with LEAST_MASS of the map; none of a map that is flat or all 0.
    """
    return tuple(region for region, _ in _parts(over_image(grid, (_SIDE, _SIDE))))


def region_mask(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of all regions that `find_regions` tells of, over an image of H x W pixels: bool [H, W]."""
    mask = np.zeros((_SIDE, _SIDE), np.float32)
    for _, part in _parts(over_image(grid, (_SIDE, _SIDE))):
        mask[part] = 1
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5


def _parts(heat: np.ndarray) -> list[tuple[Region, np.ndarray]]:
    """The regions of a map [S, S], the heaviest first, each with its pixels, bool [S, S]."""
    total, top = float(heat.sum()), float(heat.max())
    if not total > 0 or top < LEAST_PEAK * total / heat.size:
        return []
    levels = np.rint(255 * heat / top).astype(np.uint8)
    _, bright = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    pixels = [labels == label for label in range(1, count)]
    found = [(_region(heat * part, own, total), part) for part, own in zip(pixels, stats[1:])]
    heavy = sorted((pair for pair in found if pair[0].mass >= LEAST_MASS), key=lambda pair: -pair[0].mass)
    return heavy[:MOST_REGIONS]


def _region(heat: np.ndarray, stats: np.ndarray, total: float) -> Region:
    """One component: its part of the map [S, S], the rest 0, and OpenCV's statistics of it."""
    left, top, width, height = (int(value) for value in stats[:4])
    mass = float(heat.sum())
    middles = (np.arange(_SIDE) + 0.5) / _SIDE
    x, y = float(heat.sum(0) @ middles) / mass, float(heat.sum(1) @ middles) / mass
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    box = left / _SIDE, top / _SIDE, (left + width) / _SIDE, (top + height) / _SIDE
    return Region(box, (x, y), (float(middles[column]), float(middles[row])), mass / total, place_of(x, y))


def place_of(x: float, y: float) -> str:
    """A point in words: the third of the image's height and of its width that it lies in."""
    down, along = (names[min(2, int(3 * at))] for names, at in ((_DOWN, y), (_ALONG, x)))
    return "center" if (down, along) == (_DOWN[1], _ALONG[1]) else f"{down}, {along}"


def region_values(region: Region) -> dict[str, Any]:
    """A region as plain values, for JSON; `text` is the position in words and numbers."""
    rounded = {name: [round(value, 3) for value in getattr(region, name)] for name in ("box", "center", "peak")}
    return {**rounded, "mass": round(region.mass, 3), "place": region.place, "text": str(region)}


def word_regions(maps: np.ndarray) -> list[list[dict[str, Any]]]:
    """The regions of each word of maps float32 [n, h, w], as plain values."""
    return [[region_values(region) for region in find_regions(grid)] for grid in maps]


def matching_share(grid: np.ndarray, side: str) -> float:
    """The share of a map [h, w] on the half of the image where the patient's side is; nan of a map that is all 0."""
    width = grid.shape[1]
    drawn = grid.sum(0)[nearest_region(width, 2 * width)]  # the border between the halves lies amid a region
    total = float(drawn.sum())
    image_right = float(drawn[width:].sum()) / total if total > 0 else float("nan")
    return image_right if side == "left" else 1 - image_right
