"""The chest: a frontal radiograph and an axial CT section, with findings of the lungs and the pleura."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from medcap_tf.phantoms.canvas import Canvas, sign_of
from medcap_tf.phantoms.findings import Finding
from medcap_tf.phantoms.incidental import draw_incidentals
from medcap_tf.phantoms.tomography import TISSUE, add_ct_marks, draw_rib_cage, draw_trunk


def _film_lung(sign: int) -> list[tuple[float, float]]:
    """The outline of a lung on a frontal film; the left one ends a little lower, as its half of the diaphragm does."""
    drop = 0.05 if sign > 0 else 0.0
    apex = [(0.2, -0.62), (0.3, -0.84), (0.46, -0.74), (0.66, -0.4), (0.79, 0.05), (0.84, 0.42), (0.84, 0.62 + drop)]
    base = [(0.72, 0.5 + drop), (0.45, 0.36 + drop), (0.16, 0.5 + drop), (0.14, 0.2), (0.17, -0.15)]
    return [(sign * x, y) for x, y in apex + base]


def draw_chest_film(
    rng: np.random.Generator, finding: Finding | None, contrast: str, incidentals: Sequence[str]
) -> Canvas:
    """A frontal radiograph; `contrast` is always "radiograph"."""
    c = Canvas(rng, (236, 289), (0.84, 1.18), 0.97)
    trunk = [(-0.3, -1.3), (-0.36, -0.98), (-0.98, -0.8), (-1.08, 0), (-1.0, 1.3), (1.0, 1.3), (1.08, 0), (0.98, -0.8)]
    c.image += 0.05
    c.paint(c.shape([*trunk, (0.36, -0.98), (0.3, -1.3)]), c.near(0.6), 4)
    lungs = {sign: c.shape(_film_lung(sign)) for sign in (-1, 1)}
    air = c.near(0.24, 0.025)
    for lung in lungs.values():
        c.paint(lung, air, 2.5)
    c.paint(c.area(np.array([(-0.13, -1.1), (0.13, -1.1), (0.12, 1.1), (-0.12, 1.1)])), c.near(0.7, 0.02), 4, 0.8)
    c.paint(c.area(np.array([(-0.04, -1.1), (0.04, -1.1), (0.04, -0.42), (-0.04, -0.42)])), 0.42, 2, 0.8)
    c.paint(c.blob(0.14, 0.24, c.near(0.32, 0.025), c.near(0.3, 0.02), 0.5), c.near(0.78, 0.03), 3)
    if rng.random() < 0.5:  # the air bubble of the stomach
        c.paint(c.blob(0.42, 0.64, 0.14, 0.07), 0.34, 3, 0.8)
    if finding and finding.organ == "pleura":
        _film_pleura(c, finding, lungs)
    elif finding:
        _lung_spots(
            c, finding, lungs[sign_of(finding.side)], {"upper": (-0.46, -0.2), "lower": (0.1, 0.3)}, (0.42, 0.55)
        )
    _bones_and_vessels(c, lungs, finding)
    draw_incidentals(c, "chest film", contrast, incidentals)
    if rng.random() < 0.7:
        c.write("R", rng.uniform(0.02, 0.08), rng.uniform(0.08, 0.16), 0.5, 0.95)
    c.image += 0.05 * rng.normal() * c.x + 0.04 * c.y + 0.03 * c.grain() + 0.02 * c.field(5)
    return c


def _bones_and_vessels(c: Canvas, lungs: Mapping[int, np.ndarray], finding: Finding | None) -> None:
    """Ribs, collar bones and the branching vessels of the lungs; the air around a collapsed lung has none."""
    ribs, vessels = [], []
    turn = np.linspace(0, 1, 12)
    for sign in (-1, 1):
        for level in np.linspace(-0.8, 0.5, 8):
            x = 0.1 + (0.72 + 0.1 * level) * np.sin(turn * np.pi / 2)
            ribs.append(np.stack([sign * x, level - 0.1 * np.sin(turn * np.pi) + 0.26 * turn**2], axis=1))
        for angle in c.rng.uniform(-1.2, 1.2, 9):
            reach = np.array([0, 0.22, 0.42])[:, None]
            heading = np.array([[sign * np.cos(angle), np.sin(angle)]])
            vessels.append(np.array([[sign * 0.18, -0.02]]) + reach * heading + c.rng.normal(0, 0.015, (3, 2)))
    collar = [np.array([(s * 0.08, -0.66), (s * 0.4, -0.76), (s * 0.85, -0.84)]) for s in (-1, 1)]
    c.stroke(ribs, 0.03, c.near(0.075, 0.015), 1.2)
    c.stroke(collar, 0.035, c.near(0.12, 0.02), 1.2)
    before = c.image.copy()
    c.stroke(vessels, 0.011, 0.09, 1.4)
    if finding and finding.kind == "pneumothorax":
        c.image[c.mask] = before[c.mask]


def _lung_spots(
    c: Canvas, finding: Finding, lung: np.ndarray, zones: Mapping[str, tuple[float, float]], x: tuple[float, float]
) -> None:
    """Nodules (round, sharp, even) or a consolidation (larger, ragged, patchy) in a zone of one lung."""
    zone = zones[finding.zone]
    middle = c.rng.uniform(*zone) if finding.number == 1 else min(zone, key=abs)  # room for two within the lung
    place = sign_of(finding.side) * c.rng.uniform(*x), middle
    for spot_x, spot_y, rx, ry in c.spots(finding, *place):
        if finding.kind == "nodule":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.05) * lung
            c.paint(spot, c.near(0.74, 0.03))
        else:
            spot = c.blob(spot_x, spot_y, 1.9 * rx, 1.3 * ry, c.rng.uniform(-0.5, 0.5), 0.22) * lung
            c.paint(spot, 0.62 + 0.12 * c.field(18), 2.5)
        c.mask |= spot > 0.5


def _film_pleura(c: Canvas, finding: Finding, lungs: Mapping[int, np.ndarray]) -> None:
    """Fluid that hides the base and climbs along the chest wall, or air between the wall and a collapsed lung."""
    sign, large = sign_of(finding.side), finding.size == "large"
    lung = lungs[sign]
    if finding.kind == "effusion":
        level = c.rng.uniform(-0.12, 0.06) if large else c.rng.uniform(0.3, 0.36)
        outside = np.clip(sign * c.x, 0, 1)
        part = lung * (c.y > level - 0.3 * (outside - 0.5) * np.abs(outside - 0.3) * 2)
        c.paint(part, c.near(0.76, 0.02), 2.5)
    else:
        rest = c.rng.uniform(0.5, 0.62) if large else c.rng.uniform(0.76, 0.8)
        hilum = np.array([sign * 0.15, 0.1])
        outline = (np.array(_film_lung(sign)) - hilum) * (rest, rest + 0.06) + hilum
        kept = c.shape([(x, y) for x, y in outline])
        part = lung * (1 - kept)
        c.paint(lung * kept, 0.36 if large else 0.3, 1.5)
        c.paint(part, 0.07, 0.8)
    c.mask |= part > 0.5


def draw_chest_ct(
    rng: np.random.Generator, finding: Finding | None, contrast: str, incidentals: Sequence[str]
) -> Canvas:
    """An axial section at the height of the heart; `contrast` is always "CT"."""
    c = Canvas(rng, (244, 289), (1.08, 1.32), 0.93)
    t = TISSUE["CT"]
    draw_trunk(c, t)
    lungs = {s: c.blob(s * 0.46, c.near(0, 0.02), c.near(0.32, 0.012), c.near(0.6, 0.02), -s * 0.12) for s in (-1, 1)}
    for lung in lungs.values():
        c.paint(lung, 0.15, 1)
        vessels = lung * (cv2.GaussianBlur(c.grain(), (0, 0), 1.6) > 0.32)
        c.paint(vessels, 0.45, 0.6, 0.8)
    heart = c.blob(0.1, -0.2, c.near(0.3, 0.02), c.near(0.32, 0.02), 0.4)
    c.paint(heart, c.near(0.58, 0.02), 1)
    lungs = {side: lung * (1 - heart) for side, lung in lungs.items()}
    c.paint(c.blob(0.12, 0.36, 0.08, 0.1), c.near(0.68), 0.8)
    if finding and finding.organ == "pleura":
        lung, large = lungs[sign_of(finding.side)], finding.size == "large"
        fluid = finding.kind == "effusion"  # water sinks to the back, air rises to the front
        level = c.rng.uniform(0.02, 0.12) if large else c.rng.uniform(0.27, 0.33)
        bend = 0.25 * (sign_of(finding.side) * c.x - 0.46)
        part = lung * ((c.y > level - bend) if fluid else (c.y < -level + bend))
        c.paint(part, c.near(0.42, 0.015) if fluid else 0.0, 0.8)
        c.mask |= part > 0.5
    elif finding:
        zones = {"anterior": (-0.34, -0.2), "posterior": (0.16, 0.3)}
        _lung_spots(c, finding, lungs[sign_of(finding.side)], zones, (0.48, 0.54))
    draw_rib_cage(c, t, 0.84, 11)
    draw_incidentals(c, "chest section", contrast, incidentals)
    add_ct_marks(c)
    return c
