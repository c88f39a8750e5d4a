"""What may lie beside a finding of the abdomen, in CT and MR sections and under ultrasound."""

from __future__ import annotations

import numpy as np

from medcap_tf.phantoms.canvas import Canvas
from medcap_tf.phantoms.tomography import TISSUE, throw_streaks


def _abdomen_splenomegaly(c: Canvas, contrast: str) -> None:
    """A spleen grown to the front."""
    c.paint(c.blob(0.56, -0.04, 0.22, c.near(0.48, 0.02), -0.2), TISSUE[contrast]["spleen"], 1)


def _abdomen_stent(c: Canvas, contrast: str) -> None:
    """A stent in the bile duct, cut along its length."""
    way = c.bent([(-0.2, -0.3), (-0.12, -0.12), (-0.06, 0.04), (0.0, 0.16)])
    c.paint(c.line([way], 0.034), TISSUE[contrast]["metal"], 0.6)


def _abdomen_ascites(c: Canvas, contrast: str) -> None:
    """Free fluid between the wall and the organs of both flanks."""
    for s in (-1, 1):
        moved = -s * c.near(0.14, 0.012)  # inwards, and taller: a crescent is left
        rim = c.blob(0, -0.18, 0.8, 0.62, wobble=0.01) * (1 - c.blob(moved, -0.18, 0.8, 0.77, wobble=0.01))
        c.paint(rim, TISSUE[contrast]["fluid"], 1)


def _abdomen_calcification(c: Canvas, contrast: str) -> None:
    """Chalk in the wall of the aorta."""
    turn = c.rng.uniform(0, 2 * np.pi) + np.linspace(0, c.rng.uniform(4, 5.5), 20)
    c.stroke([np.stack([0.06 + 0.085 * np.cos(turn), 0.32 + 0.1 * np.sin(turn)], axis=1)], 0.02, 0.5, 0.6)


def _abdomen_tube(c: Canvas, contrast: str) -> None:
    """A tube that lies curled in the stomach."""
    way = [(0.08, -0.16), (0.16, -0.3), (0.28, -0.46), (0.44, -0.5), (c.near(0.52, 0.02), -0.38), (0.42, -0.28)]
    c.paint(c.line([c.bent(way)], 0.022), 1.05, 0.5)


def _abdomen_catheter(c: Canvas, contrast: str) -> None:
    """A drainage catheter from the front of the left flank; its end is a loop."""
    x, y = c.near(0.24, 0.025), c.near(0.02, 0.025)
    turn = np.linspace(-0.5, 5.2, 24)
    loop = np.stack([x + 0.1 * np.cos(turn), y + 0.12 * np.sin(turn)], axis=1)
    way = np.concatenate([[(0.92, -0.46), (0.6, -0.2)], loop])
    c.paint(c.line([way], 0.022), TISSUE[contrast]["metal"], 0.6)


def _abdomen_screw(c: Canvas, contrast: str) -> None:
    """Screws from behind through both sides of a vertebra."""
    for s in (-1, 1):
        head = s * c.near(0.24, 0.015), c.near(0.82, 0.015)
        shaft = [np.array([head, (s * 0.05, c.near(0.5, 0.015))])]
        if contrast == "CT":
            throw_streaks(c, *head)
        else:
            c.paint(c.line(shaft, 0.06), 0.95, 0.8)
        c.paint(c.line(shaft, 0.028), TISSUE[contrast]["metal"], 0.6)
        c.paint(c.blob(*head, 0.055, 0.05), TISSUE[contrast]["metal"], 0.6)


def _abdomen_lymphadenopathy(c: Canvas, contrast: str) -> None:
    """Nodes grown large in the fat around the great vessels."""
    for angle in np.linspace(np.pi, 2 * np.pi, 5) + c.rng.normal(0, 0.08, 5):
        x, y = -0.01 + 0.2 * np.cos(angle), 0.26 + 0.2 * np.sin(angle)
        c.paint(c.blob(x, y, c.near(0.062, 0.006), c.near(0.07, 0.006)), TISSUE[contrast]["soft"], 0.8)


def _scan_needle(c: Canvas, contrast: str) -> None:
    """A biopsy needle from the side of the probe, oblique to the beam."""
    way = np.array([(c.near(0.68, 0.02), c.near(-0.62, 0.02)), (c.near(0.16, 0.03), c.near(-0.02, 0.03))])
    c.paint(c.line([way], 0.011), 1.8, 0.6)


def _scan_catheter(c: Canvas, contrast: str) -> None:
    """A drainage catheter that ends in a loop; its two walls show as a double line."""
    x, y = c.near(-0.3, 0.02), c.near(-0.3, 0.02)
    turn = np.linspace(-2.4, 3.4, 24)
    loop = np.stack([x + 0.1 * np.cos(turn), y + 0.11 * np.sin(turn)], axis=1)
    way = np.concatenate([[(-0.75, -0.78)], loop])
    c.paint(c.line([way], 0.026), 1.8, 0.6)
    c.paint(c.line([way], 0.01), 0.02, 0.5)


def _scan_ascites(c: Canvas, contrast: str) -> None:
    """Fluid, black, between the organs and the diaphragm."""
    middle = c.near(0.62, 0.03)
    upper = [(-1.2, 0.48), (-0.5, middle - 0.02), (0, middle), (0.5, middle - 0.02), (1.2, 0.48)]
    lower = [(1.2, 0.64), (0.3, 0.82), (-0.3, 0.81), (-1.2, 0.64)]
    c.paint(c.shape([*upper, *lower]), 0.02, 1)


def _scan_electrode(c: Canvas, contrast: str) -> None:
    """An electrode for ablation, from the other side; its tines spread at the end."""
    x, y = c.near(-0.52, 0.02), c.near(0.06, 0.02)
    shaft = np.array([(x - 0.36, y - 0.36), (x, y)])
    tines = [np.array([(x, y), (x + 0.17 * np.cos(a), y + 0.21 * np.sin(a))]) for a in np.linspace(-0.45, 2.0, 5)]
    c.paint(c.line([shaft], 0.016), 1.8, 0.6)
    c.paint(c.line(tines, 0.009), 1.8, 0.6)


def _scan_calcification(c: Canvas, contrast: str) -> None:
    """Coarse chalk: a group of bright spots."""
    for dx, dy in c.rng.uniform(-1, 1, (8, 2)) * (0.13, 0.17):
        c.paint(c.blob(0.66 + dx, 0.2 + dy, 0.033, 0.035, wobble=0.15), 1.8, 0.6)


def _scan_lymphadenopathy(c: Canvas, contrast: str) -> None:
    """Two large nodes: dark ovals, each with a bright hilum."""
    for x, y in ((-0.02, -0.4), (0.27, -0.46)):
        x, y, turn = c.near(x, 0.015), c.near(y, 0.015), c.near(0.2, 0.2)
        c.paint(c.blob(x, y, 0.135, 0.105, turn, 0.05), 0.1, 0.8)
        c.paint(c.blob(x, y, 0.06, 0.022, turn), 1.0, 0.7)


ABDOMEN = {
    "splenomegaly": _abdomen_splenomegaly,
    "stent": _abdomen_stent,
    "ascites": _abdomen_ascites,
    "calcification": _abdomen_calcification,
    "tube": _abdomen_tube,
    "catheter": _abdomen_catheter,
    "screw": _abdomen_screw,
    "lymphadenopathy": _abdomen_lymphadenopathy,
}
ULTRASOUND = {
    "ascites": _scan_ascites,
    "lymphadenopathy": _scan_lymphadenopathy,
    "calcification": _scan_calcification,
    "needle": _scan_needle,
    "catheter": _scan_catheter,
    "electrode": _scan_electrode,
}
