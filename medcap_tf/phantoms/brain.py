"""The brain: an axial CT or MR section, with bleeding, infarcts, tumors and cysts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medcap_tf.phantoms.canvas import Canvas, sign_of
from medcap_tf.phantoms.findings import Finding
from medcap_tf.phantoms.incidental import draw_incidentals
from medcap_tf.phantoms.tomography import TISSUE, add_ct_marks, add_mr_marks


def draw_brain(rng: np.random.Generator, finding: Finding | None, contrast: str, incidentals: Sequence[str]) -> Canvas:
    """An axial section at the height of the ventricles; `contrast` is "CT", "T1" or "T2"."""
    c = Canvas(rng, (236, 289), (0.8, 1.02), 0.9)
    t = TISSUE[contrast]
    ct = contrast == "CT"
    c.image += t["air"]
    width = c.near(0.92, 0.03)
    c.paint(c.blob(0, 0, width, 0.98, wobble=0.01), t["fat"] if not ct else t["soft"])
    c.paint(c.blob(0, 0, width - 0.045, 0.94, wobble=0.008), t["bone"])
    c.paint(c.blob(0, 0, width - 0.125, 0.855, wobble=0.01), t["fluid"])
    brain = c.blob(0, 0, width - 0.15, 0.83, wobble=0.012)
    c.paint(brain, t["gray"])
    _folds(c, t, width - 0.15)
    for sign in (-1, 1):
        core = c.blob(sign * 0.33, 0, 0.24, 0.56, wobble=0.09)
        c.paint(core, t["white"] + 0.02 * c.field(8), 2.5)
        front, back = c.near(0.3, 0.03), c.near(0.33, 0.03)
        c.paint(c.blob(sign * 0.1, -front, 0.05, 0.16, -sign * 0.35), t["fluid"], 1)
        c.paint(c.blob(sign * 0.17, back, 0.055, 0.17, sign * 0.3), t["fluid"], 1)
        c.paint(c.blob(sign * 0.22, -0.06, 0.09, 0.15, wobble=0.06), t["gray"], 1.5)
    c.stroke([np.array([(0, -0.82), (0, -0.42)]), np.array([(0, 0.42), (0, 0.82)])], 0.008, 0.15 if ct else -0.15)
    if finding:
        _draw_finding(c, finding, t, brain)
    draw_incidentals(c, "brain", contrast, incidentals)
    if ct:
        add_ct_marks(c)
    else:
        add_mr_marks(c)
    return c


def _folds(c: Canvas, t: Mapping[str, float], width: float) -> None:
    """The furrows of the cortex: short lines of fluid that run inwards from the surface."""
    lines = []
    for angle in np.linspace(0, 2 * np.pi, 26, endpoint=False) + c.rng.normal(0, 0.05, 26):
        ends = np.array([1.0, c.rng.uniform(0.8, 0.9)])
        turn = angle + np.array([0, c.rng.normal(0, 0.06)])
        lines.append(np.stack([ends * width * np.cos(turn), ends * 0.83 * np.sin(turn)], axis=1))
    c.stroke(lines, 0.009, 0.7 * (t["fluid"] - t["gray"]), 0.8)


def _draw_finding(c: Canvas, finding: Finding, t: Mapping[str, float], brain: np.ndarray) -> None:
    """Bleeding (even, bright), infarct (a wedge that opens outwards), tumor (rim and core), cyst (fluid, round)."""
    x, y = {"frontal": (0.34, -0.48), "parietal": (0.5, 0.06), "occipital": (0.32, 0.52)}[finding.zone]
    x, y = sign_of(finding.side) * c.near(x, 0.03), c.near(y, 0.03)
    ((x, y, rx, ry),) = c.spots(finding, x, y)
    if finding.kind == "infarct":
        spot = c.shape(_wedge(1.02 * x, 1.02 * y, 1.5 * rx, 1.5 * ry)) * brain
        c.paint(spot, t["infarct"] + 0.02 * c.field(12), 1.5)
    else:
        spot = c.blob(x, y, rx, ry, wobble=0.02 if finding.kind == "cyst" else 0.09) * brain
    if finding.kind in ("hemorrhage", "tumor"):
        c.paint(c.blob(x, y, 1.45 * rx, 1.45 * ry, wobble=0.15) * brain, t["edema"], 2)
    if finding.kind == "hemorrhage":
        c.paint(spot, 0.86 + 0.03 * c.field(14), 0.8)
    elif finding.kind == "tumor":
        c.paint(spot, t["rim"], 0.8)
        c.paint(c.blob(x, y, 0.58 * rx, 0.58 * ry, wobble=0.12), t["mass"], 0.8)
    elif finding.kind == "cyst":
        c.paint(spot, t["fluid"], 0.6)
    c.mask |= spot > 0.5


def _wedge(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    """The corners of a triangle around (x, y) that opens towards the surface of the brain."""
    heading = np.arctan2(y / ry, x / rx)
    turns = [heading + turn for turn in (np.pi, -0.75, 0.0, 0.75)]
    return [(x + rx * np.cos(turn), y + ry * np.sin(turn)) for turn in turns]
