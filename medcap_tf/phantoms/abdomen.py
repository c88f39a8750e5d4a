"""The upper abdomen: an axial CT or MR section, with cysts, masses and stones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medcap_tf.phantoms.canvas import Canvas, sign_of
from medcap_tf.phantoms.findings import Finding
from medcap_tf.phantoms.incidental import draw_incidentals
from medcap_tf.phantoms.tomography import TISSUE, add_ct_marks, add_mr_marks, draw_rib_cage, draw_trunk


def draw_abdomen(
    rng: np.random.Generator, finding: Finding | None, contrast: str, incidentals: Sequence[str]
) -> Canvas:
    """An axial section through liver, spleen and kidneys; `contrast` is "CT", "T1" or "T2"."""
    c = Canvas(rng, (244, 289), (1.1, 1.34), 0.94)
    t = TISSUE[contrast]
    draw_trunk(c, t)
    c.paint(c.blob(0.02, -0.08, 0.74, 0.62, wobble=0.02), t["fat"] * 0.8 + 0.2 * t["soft"], 1.5)
    for _ in range(5):  # loops of bowel
        c.paint(c.blob(rng.uniform(-0.1, 0.5), rng.uniform(-0.5, 0.15), 0.12, 0.12, wobble=0.1), t["soft"], 1)
    c.paint(c.blob(0.34, -0.42, c.near(0.24, 0.02), 0.2, 0.4), t["soft"] + 0.04, 1)
    c.paint(c.blob(0.36, -0.52, 0.14, 0.06), t["air"], 1)
    right = [(-0.8, 0.1), (-0.76, -0.36), (-0.45, -0.68), (-0.05, -0.72), (0.34, -0.6), (0.2, -0.36), (-0.12, -0.2)]
    c.paint(c.shape([*right, (-0.28, 0.05), (-0.52, 0.44), (-0.7, 0.46)]), t["liver"] + 0.015 * c.field(24), 1)
    c.paint(c.blob(0.68, 0.12, 0.13, c.near(0.3, 0.02), -0.15), t["spleen"], 1)
    for sign in (-1, 1):
        kidney = c.blob(sign * 0.4, c.near(0.42, 0.02), c.near(0.17, 0.01), c.near(0.22, 0.012), sign * 0.3)
        c.paint(kidney, t["kidney"], 1)
        c.paint(c.blob(sign * 0.35, 0.4, 0.06, 0.09, wobble=0.1), t["fat"], 1.2)
    c.paint(c.blob(0.06, 0.32, 0.065, 0.075), t["blood"], 0.8)
    c.paint(c.blob(-0.09, 0.3, 0.07, 0.06), t["blood"] * 0.9, 0.8)
    stones_here = finding is not None and finding.organ == "gallbladder"
    if stones_here or rng.random() < 0.6:
        grown = 1.35 if stones_here else 1.0
        c.paint(c.blob(-0.3, -0.14, 0.13 * grown, 0.19 * grown, 0.3), t["fluid"], 0.8)
    if finding:
        _draw_finding(c, finding, t)
    draw_incidentals(c, "abdomen", contrast, incidentals)
    draw_rib_cage(c, t, 0.86, 6)
    if contrast == "CT":
        add_ct_marks(c)
    else:
        add_mr_marks(c)
    return c


def _draw_finding(c: Canvas, finding: Finding, t: Mapping[str, float]) -> None:
    """Cyst (fluid, round), mass (ragged, dark core in a rim) or stone (as bright as bone) in its organ."""
    places = {"right liver": (-0.54, -0.14), "left liver": (0.16, -0.5), "gallbladder": (-0.3, -0.14)}
    sign = sign_of(finding.side)
    x, y = places.get(f"{finding.side} {finding.organ}".strip(), (sign * 0.42, 0.38))
    for spot_x, spot_y, rx, ry in c.spots(finding, c.near(x, 0.02), c.near(y, 0.02)):
        if finding.kind == "cyst":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.015)
            c.paint(spot, t["fluid"], 0.6)
        elif finding.kind == "mass":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.12)
            c.paint(spot, t["rim"] + 0.05 * c.field(20), 0.8)
            c.paint(c.blob(spot_x, spot_y, 0.6 * rx, 0.6 * ry, wobble=0.15), t["mass"], 1)
        else:
            spot = c.blob(spot_x, spot_y, 0.85 * rx, 0.85 * ry, wobble=0.08)
            c.paint(spot, 1.0, 0.5)
        c.mask |= spot > 0.5
