"""Findings drawn into a real image so that they share its brightness, noise and sharpness.

What is drawn goes onto the image without its fine grain; it is then blurred as far as the image's own edges are, and
the grain is laid over it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from medcap_tf.phantoms.canvas import Canvas

LONGEST_SIDE = 384  # pixels: more than a model sees, and brushes stay in proportion
_USUAL_SIDE = 266  # of a phantom, for which the brushes' softness was chosen
_GAIN = 0.6  # of what is added along lines: real films have less contrast than phantoms
_THIN = 0.7  # of the width of lines
_EMPTY = 0.08  # what is darker is no part of the body
_RADII = {"small": (0.05, 0.065), "large": (0.1, 0.13)}  # of a finding, as shares of the body's mean diameter


class Look(NamedTuple):
    """How a finding differs from what lies around it, in shares of the image's range of brightness."""

    core: float
    rim: float | None = None  # None: all is core
    around: float = 0.0  # a halo, as edema
    projected: bool = False  # added to what it hides, as on films, and thickest in its middle
    patchy: float = 0.0


_LOOKS: Mapping[str, Mapping[str, Look]] = {
    "radiograph": {
        "nodule": Look(0.22, projected=True),
        "consolidation": Look(0.24, projected=True, patchy=0.35),
        "mass": Look(0.22, projected=True, patchy=0.1),
        "cyst": Look(-0.2, projected=True),
        "stone": Look(0.4),
    },
    "CT": {
        "nodule": Look(0.45),
        "consolidation": Look(0.35, patchy=0.25),
        "hemorrhage": Look(0.3, around=-0.1),
        "infarct": Look(-0.17, patchy=0.1),
        "tumor": Look(-0.1, rim=0.24, around=-0.12),
        "cyst": Look(-0.26),
        "mass": Look(-0.12, rim=0.16, patchy=0.15),
        "stone": Look(0.6),
    },
    "T1": {
        "infarct": Look(-0.2, patchy=0.1),
        "tumor": Look(-0.18, rim=0.3, around=-0.1),
        "cyst": Look(-0.32),
        "mass": Look(-0.18, rim=0.2, patchy=0.15),
    },
    "T2": {
        "infarct": Look(0.28, patchy=0.1),
        "tumor": Look(0.1, rim=0.28, around=0.14),
        "cyst": Look(0.4),
        "mass": Look(0.12, rim=0.24, patchy=0.15),
    },
    "ultrasound": {
        "cyst": Look(-0.4),
        "mass": Look(0.22, patchy=0.2),
        "stone": Look(0.6),
    },
}


class Site(NamedTuple):
    """Where a finding lies: its middle in body coordinates, its radius in pixels."""

    x: float
    y: float
    radius: float


class Overlay(Canvas):
    """A real image to draw on, its grain kept apart; body coordinates span the body's bounding box.

    `image` float32 [H, W] runs from about 0 to 1 between the image's darkest and brightest pixels.
    """

    def __init__(self, rng: np.random.Generator, gray: np.ndarray, speckled: bool = False):
        """`gray`: uint8 [H, W]; `speckled`: its grain is a share of its brightness, as under ultrasound."""
        self.rng, self._speckled = rng, speckled
        self.height, self.width = gray.shape
        self._pixel = max(gray.shape) / _USUAL_SIDE
        self._gray = gray
        low, top = (float(end) for end in np.percentile(gray, (0.5, 99.5)))
        self._range = max(top - low, 1.0)
        self._shown = (gray.astype(np.float32) - low) / self._range
        self.plain: np.ndarray = cv2.GaussianBlur(self._shown, (0, 0), 1.5 * self._pixel)
        self.image: np.ndarray = self.plain.copy()
        self.mask = np.zeros(gray.shape, bool)
        self.body = body_of(self.plain)
        columns, rows = (np.flatnonzero(self.body.any(axis)) for axis in (0, 1))
        ends = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], float)
        self._lay_out(ends.mean(0), (ends[1] - ends[0]) / 2, 0.0)

    def paint(self, area: np.ndarray, value: float | np.ndarray, soft: float = 0.8, strength: float = 1.0) -> None:
        """As on a phantom, with edges as soft as on one of its size."""
        if self._speckled:  # phantoms are painted before their speckle, which halves what is painted
            value, soft = np.minimum(value, 0.8), 1.5 * soft
        super().paint(area, value, soft * self._pixel, strength)

    def line(self, lines: Sequence[np.ndarray], width: float) -> np.ndarray:
        """As on a phantom, whose body fills the picture; thinner, since what phantoms exaggerate looks pasted here."""
        return super().line(lines, _THIN * width * 2 * float(self.half[0]) / self.width)

    def stroke(self, lines: Sequence[np.ndarray], width: float, gain: float, soft: float = 0.8) -> None:
        """As on a phantom, fainter, with edges as soft as on one of its size."""
        super().stroke(lines, width, _GAIN * gain, soft * self._pixel)

    def radius(self, size: str) -> float:
        """A finding's, in pixels: drawn from what its size allows."""
        return float(self.rng.uniform(*_RADII[size]) * 2 * np.sqrt(self.half.prod()))

    def site(self, radius: float, fits: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Site | None:
        """A place in the body with room for a radius; of all that fit, one of the calmer half, where no edge of an
        organ would run through it.

        Args:
            radius: in pixels.
            fits: from x and y in body coordinates and the mean brightness around, each [N], to bool [N].
        """
        reach = max(1.0, radius / 2)
        mean = cv2.GaussianBlur(self.plain, (0, 0), reach)
        spread = cv2.GaussianBlur(self.plain**2, (0, 0), reach) - mean**2
        # The border of the picture is one of the body's, too.
        inside = np.pad(self.body.astype(np.uint8), 1)
        rows, columns = np.nonzero(cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1] > 1.3 * radius)
        if not len(rows):
            return None
        good = fits(self.x[rows, columns], self.y[rows, columns], mean[rows, columns])
        rows, columns = rows[good], columns[good]
        if not len(rows):
            return None
        calm = np.flatnonzero(spread[rows, columns] <= np.median(spread[rows, columns]))
        chosen = calm[self.rng.integers(len(calm))]
        at = rows[chosen], columns[chosen]
        return Site(float(self.x[at]), float(self.y[at]), radius)

    def blended(self) -> np.ndarray:
        """The image with all that was drawn: uint8 [H, W]; where nothing was, it is the original to the last bit."""
        change = cv2.GaussianBlur(self.image - self.plain, (0, 0), _edge_width(self._shown))
        grain = self._shown - self.plain
        # Of what was covered the grain stays, not its edges.
        usual = 2.5 * 1.4826 * float(np.median(np.abs(grain[self.body])))
        covered = np.minimum(1, np.abs(change) / 0.1)
        left = np.clip(grain, -usual, usual)
        if self._speckled:
            left = grain * np.clip((self.plain + change) / np.maximum(self.plain, 0.02), 0, 1.5)
        added = change + covered * (left - grain)
        return np.rint(np.clip(self._gray + added * self._range, 0, 255)).astype(np.uint8)


def body_of(plain: np.ndarray) -> np.ndarray:
    """The largest bright part of an image [H, W] of 0..1, its holes filled: bool [H, W]; all of it where there is
    hardly one."""
    bright: np.ndarray = (cv2.GaussianBlur(plain, (0, 0), max(plain.shape) / 100) > _EMPTY).astype(np.uint8)
    # Frames, table tops and letters are thin.
    thick = 2 * (max(plain.shape) // 50) + 1
    kernel = np.ones((thick, thick), np.uint8)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    body = np.zeros_like(bright)
    if outlines:
        cv2.drawContours(body, [max(outlines, key=cv2.contourArea)], -1, (1,), cv2.FILLED)
    return body > 0 if body.mean() > 0.1 else np.ones_like(body, bool)


def _edge_width(shown: np.ndarray) -> float:
    """The blur of an image's sharpest edges in pixels, as the standard deviation of a Gaussian: a step of height d that
    is so blurred rises by d / (width sqrt(2 pi)) a pixel at most."""
    slope = np.hypot(cv2.Sobel(shown, -1, 1, 0, scale=1 / 8), cv2.Sobel(shown, -1, 0, 1, scale=1 / 8))
    return float(np.clip(0.5 / (np.percentile(slope, 99.8) * np.sqrt(2 * np.pi) + 1e-6), 0.4, 2.5))


def look_of(modality: str, contrast: str, kind: str) -> Look:
    """How a kind of finding shows; `contrast` is "T1" or "T2" of an MR image."""
    return _LOOKS[contrast if modality == "MR" else modality][kind]


def draw_finding(c: Overlay, look: Look, kind: str, site: Site) -> None:
    """Draw a finding at its place; the mask grows by it."""
    rx, ry = site.radius / c.half
    wobble = {"cyst": 0.03, "nodule": 0.06, "consolidation": 0.14}.get(kind, 0.11)
    if kind in ("consolidation", "infarct"):
        rx, ry = (1.15 * rx, 0.85 * ry) if c.rng.random() < 0.5 else (0.85 * rx, 1.15 * ry)
    area = c.blob(site.x, site.y, rx, ry, c.rng.uniform(-0.5, 0.5), wobble)
    level = float(c.plain[area > 0.5].mean())
    texture = 1 + look.patchy * c.field(14)
    if look.projected:
        c.image += look.core * texture * _thickness(area, site.radius, sharp=kind != "consolidation")
    else:
        if look.around:
            halo = c.blob(site.x, site.y, 1.5 * rx, 1.5 * ry, wobble=0.16) * c.body
            c.image += look.around * cv2.GaussianBlur(halo, (0, 0), 0.2 * site.radius)
        if look.rim is not None:
            c.paint(area, level + look.rim * texture, 0.9, 0.9)
            inner = c.blob(site.x, site.y, 0.6 * rx, 0.6 * ry, wobble=0.14)
            c.paint(inner, level + look.core * texture, 1.2, 0.9)
        else:
            c.paint(area, np.clip(level + look.core * texture, 0.02, 1.05), 0.9, 0.92)
    c.mask |= area > 0.5


def _thickness(area: np.ndarray, radius: float, sharp: bool) -> np.ndarray:
    """How much a ray passes of what has this outline, 0..1: a ball's chord, or a cloud's."""
    if not sharp:
        return cv2.GaussianBlur(area, (0, 0), 0.3 * radius)
    depth = cv2.distanceTransform((area > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / max(radius, 1.0)
    chord = np.sqrt(np.clip(1 - (1 - np.minimum(depth, 1)) ** 2, 0, 1))
    return cv2.GaussianBlur(chord.astype(np.float32), (0, 0), max(0.6, 0.06 * radius))


def draw_echo(c: Overlay, kind: str) -> None:
    """What lies behind a finding under ultrasound: a shadow behind a stone, a brighter strip behind a cyst."""
    gain = {"stone": 0.2, "cyst": 1.35}.get(kind)
    if gain is None:
        return
    rows, columns = np.nonzero(c.mask)
    strip = np.zeros_like(c.image)
    low = int(rows.mean())
    strip[low:, columns.min() : columns.max() + 1] = 1
    c.image *= 1 + (gain - 1) * cv2.GaussianBlur(strip, (0, 0), 0.01 * c.width) * (c.body & ~c.mask)
