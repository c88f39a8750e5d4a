"""The abdomen under a curved ultrasound probe: one organ from close by, in speckle, with shadows and enhancement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from medcap_tf.phantoms.canvas import Canvas, sign_of
from medcap_tf.phantoms.findings import Finding
from medcap_tf.phantoms.incidental import draw_incidentals


class _Fan(NamedTuple):
    """A curved probe's view, float32 [H, W]: `inside` 0..1; `angle` in radians; `depth` 0 at the skin, 1 at the end."""

    inside: np.ndarray
    angle: np.ndarray
    depth: np.ndarray


def _fan(c: Canvas) -> _Fan:
    """The polar grid of the probe; its center lies above the picture."""
    rows, columns = np.mgrid[: c.height, : c.width].astype(np.float32)
    top, reach = np.float32(-0.28 * c.height), np.float32(1.26 * c.height)
    across, down = columns - np.float32(c.center[0]), rows - top
    depth = (np.hypot(across, down) - 0.32 * c.height) / (reach - 0.32 * c.height)
    angle = np.arctan2(across, down)
    spread = c.rng.uniform(0.56, 0.66)
    inside = ((depth > 0) & (depth < 1) & (np.abs(angle) < spread)).astype(np.float32)
    return _Fan(cv2.GaussianBlur(inside, (0, 0), 0.8), angle, depth)


def draw_ultrasound(
    rng: np.random.Generator, finding: Finding | None, contrast: str, incidentals: Sequence[str]
) -> Canvas:
    """The liver, the gallbladder or a kidney; `contrast` is always "ultrasound"."""
    c = Canvas(rng, (244, 289), (1.1, 1.3), 0.96)
    fan = _fan(c)
    organ = finding.organ if finding else str(rng.choice(["liver", "kidney", "gallbladder"]))
    side = finding.side if finding else str(rng.choice(["left", "right"]))
    c.image += 0.42 + 0.04 * c.field(6)
    c.paint(c.area(np.array([(-1.2, 0.74), (0, 0.86), (1.2, 0.7), (1.2, 1.2), (-1.2, 1.2)])), 0.25, 3)
    c.stroke([np.array([(-0.9, 0.72), (-0.3, 0.83), (0.3, 0.84), (0.9, 0.72)])], 0.014, 0.45, 1.2)  # the diaphragm
    if organ == "kidney":
        _draw_kidney(c, side)
    else:
        _draw_liver(c, organ == "gallbladder")
    gain = np.ones_like(c.image)
    if finding:
        _draw_finding(c, finding, fan, gain)
    draw_incidentals(c, "ultrasound", contrast, incidentals)
    layers = 0.25 * np.exp(-((fan.depth - 0.06) ** 2) / 0.0015) + 0.2 * np.exp(-((fan.depth - 0.14) ** 2) / 0.0008)
    c.image = (c.image + layers) * gain * np.exp(-c.rng.uniform(0.2, 0.6) * fan.depth)
    c.image *= 0.35 + 0.52 * _speckle(c)
    c.image *= fan.inside
    if organ == "kidney" and rng.random() < 0.8:
        c.write("LT" if side == "left" else "RT", 0.03, 0.1, 0.45, 0.9)
    for tick in np.linspace(0.1, 0.9, 9):  # the scale of depth
        c.write("-", 0.965, float(tick), 0.3, 0.6)
    return c


def _speckle(c: Canvas) -> np.ndarray:
    """Fully developed speckle: the Rayleigh amplitude of a blurred complex field, longer across the beam than along."""
    parts = [cv2.GaussianBlur(c.grain(), (0, 0), sigmaX=1.5, sigmaY=0.9) for _ in range(2)]
    amplitude = np.hypot(*parts)
    return amplitude / amplitude.mean()


def _draw_kidney(c: Canvas, side: str) -> None:
    """A kidney along its length beside its neighbor: the liver at image left (right kidney) or the spleen at right."""
    s = sign_of(side)
    neighbor = [(s * 1.3, -1.3), (s * 1.3, 0.5), (s * 0.75, 0.32), (s * 0.2, -0.22), (s * 0.02, -1.3)]
    c.paint(c.shape(neighbor), 0.5 if side == "right" else 0.68, 2)
    if side == "right":  # vessels of the liver
        c.paint(c.blob(s * 0.42, -0.36, 0.13, 0.03, s * 0.4), 0.12, 1.2)
        c.paint(c.blob(s * 0.3, -0.62, 0.035, 0.04), 0.12, 1.2)
    c.paint(c.blob(0, 0.2, 0.56, 0.36, s * 0.12), 0.75, 2)
    c.paint(c.blob(0, 0.2, 0.54, 0.33, s * 0.12), 0.24, 1.2)
    c.paint(c.blob(0, 0.2, 0.27, 0.11, s * 0.12, 0.12), 0.85, 3)


def _draw_liver(c: Canvas, gallbladder: bool) -> None:
    """The liver with its vessels, or the pear of the gallbladder below it."""
    c.paint(
        c.shape([(-1.3, -1.3), (1.3, -1.3), (1.0, 0.5), (0.2, 0.8), (-0.6, 0.84), (-1.3, 0.7)]), c.near(0.52, 0.02), 2
    )
    for _ in range(3):
        tilt = c.rng.uniform(-0.9, 0.9)
        x, y = c.rng.uniform(-0.5, 0.5), c.rng.uniform(-0.45, 0.6)
        c.paint(c.blob(x, y, c.rng.uniform(0.16, 0.3), 0.026, tilt, 0.1), 0.12, 1.2)
    if gallbladder:
        c.paint(c.blob(0.02, 0.16, 0.47, 0.25, 0.25, 0.04), 0.8, 1.5)
        c.paint(c.blob(0.02, 0.16, 0.45, 0.22, 0.25, 0.04), 0.03, 0.8)


def _draw_finding(c: Canvas, finding: Finding, fan: _Fan, gain: np.ndarray) -> None:
    """Cyst (black, bright behind), mass (uneven, brighter than its organ), stone (bright, with a shadow behind it)."""
    x, y = (0.0, 0.22) if finding.organ == "gallbladder" else (c.rng.uniform(-0.3, 0.3), c.rng.uniform(-0.1, 0.3))
    if finding.organ == "kidney":  # the upper pole lies at image left, as sonographers hold the probe
        x, y = (-0.3 if finding.zone == "upper" else 0.3), c.near(0.2, 0.02)
    for spot_x, spot_y, rx, ry in c.spots(finding, x, y, turn=0):  # side by side: no shadow on the other
        if finding.kind == "cyst":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.02)
            c.paint(spot, 0.02, 0.6)
            gain[_behind(fan, spot)] *= 1.45
        elif finding.kind == "mass":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.12)
            c.paint(spot, 0.95 + 0.12 * c.field(20), 1)
        else:
            spot = c.blob(spot_x, spot_y, 0.95 * rx, 0.6 * ry, wobble=0.06)
            c.paint(spot, 1.7, 0.8)
            gain[_behind(fan, spot)] *= 0.1
        c.mask |= spot > 0.5
    blurred = cv2.GaussianBlur(gain, (0, 0), 1.5)
    gain[~c.mask] = blurred[~c.mask]


def _behind(fan: _Fan, spot: np.ndarray) -> np.ndarray:
    """The pixels that the beam reaches through the spot: bool [H, W]."""
    covered = spot > 0.5
    angles = fan.angle[covered]
    return (fan.angle > angles.min()) & (fan.angle < angles.max()) & (fan.depth > fan.depth[covered].mean()) & ~covered
