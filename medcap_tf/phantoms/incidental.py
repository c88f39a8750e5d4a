"""What an image may show beside its finding: devices, fluid and chalk, chosen apart from it and drawn around it.

So an image that looks alike, the same finding in the same place, need not show the same set of concepts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medcap_tf.phantoms.canvas import Canvas
from medcap_tf.phantoms.tomography import TISSUE

INCIDENTAL_SHARE = 0.25  # of images, for each kind that the scene can show
_KINDS = {  # in the order of drawing: what is in front comes last
    ("radiograph", "chest"): ("tube", "catheter", "pacemaker"),
    ("CT", "chest"): ("implant", "pacemaker", "calcification"),
    ("CT", "brain"): ("hydrocephalus", "catheter", "calcification"),
    ("MR", "brain"): ("hydrocephalus", "catheter", "electrode"),
    ("CT", "abdomen"): ("splenomegaly", "stent", "ascites"),
    ("MR", "abdomen"): ("splenomegaly", "stent", "ascites"),
    ("ultrasound", "abdomen"): ("needle", "catheter", "ascites"),
}


def choose_incidentals(rng: np.random.Generator, modality: str, region: str) -> tuple[str, ...]:
    """The kinds to draw, each with `INCIDENTAL_SHARE`, independent of the others: none to three."""
    kinds = _KINDS[modality, region]
    return tuple(kind for kind, draw in zip(kinds, rng.random(len(kinds))) if draw < INCIDENTAL_SHARE)


def draw_incidentals(c: Canvas, scene: str, contrast: str, kinds: Sequence[str]) -> None:
    """Draws `kinds` on a scene that lacks only its noise; what the mask covers stays as it is.

    The random numbers come from a generator of their own, so all else in the image is the same with and without.
    """
    shown, scene_rng = c.image.copy(), c.rng
    (c.rng,) = scene_rng.spawn(1)
    for kind in kinds:
        _BRUSHES[scene, kind](c, contrast)
    c.image[c.mask] = shown[c.mask]
    c.rng = scene_rng


def _metal(contrast: str) -> float:
    """The brightness of a device: it gives MR no signal, and stops X-rays and sound."""
    return 0.0 if contrast in ("T1", "T2") else 1.0


def _film_catheter(c: Canvas, contrast: str) -> None:
    """A venous catheter from the neck down to the right atrium."""
    s = c.rng.choice([-1, 1])
    way = [(s * 0.34, -1.06), (s * 0.2, -0.9), (s * 0.13, -0.7), (-0.1, -0.45), (-0.13, -0.15), (-0.12, 0.14)]
    c.stroke([_bent(c, way)], 0.016, 0.34, 0.6)


def _film_tube(c: Canvas, contrast: str) -> None:
    """A tube through the gullet into the stomach."""
    way = [(0.01, -1.1), (0.02, -0.5), (0.03, 0.1), (0.06, 0.46), (0.2, 0.64), (c.near(0.42, 0.04), 0.68)]
    c.stroke([_bent(c, way)], 0.012, 0.32, 0.6)


def _film_pacemaker(c: Canvas, contrast: str) -> None:
    """The box in the shoulder, its leads through the great veins to the right ventricle."""
    s = c.rng.choice([-1, 1])
    x, y = s * c.near(0.8, 0.015), c.near(-0.6, 0.02)
    over = [(x, y - 0.1), (s * 0.56, -0.83), (s * 0.28, -0.82), (s * 0.08, -0.66), (-0.08, -0.42)]
    c.stroke([_bent(c, [*over, (-0.1, 0.1), end]) for end in ((0.02, 0.42), (0.3, 0.44))], 0.007, 0.32, 0.5)
    box = np.array([(-0.09, -0.12), (0.09, -0.12), (0.09, 0.06), (0.05, 0.12), (-0.05, 0.12), (-0.09, 0.06)])
    c.paint(c.shape([(x + dx, y + dy) for dx, dy in 1.15 * box]), 0.97, 0.6)
    c.paint(c.blob(x, y + 0.02, 0.05, 0.05), 0.82, 1)


def _chest_implant(c: Canvas, contrast: str) -> None:
    """Implants in both breasts."""
    for s in (-1, 1):
        x, y = s * c.near(0.42, 0.01), c.near(-0.86, 0.01)
        c.paint(c.blob(x, y, 0.32, 0.16, s * 0.3), TISSUE[contrast]["fat"], 1)
        c.paint(c.blob(x, y, 0.23, 0.1, s * 0.3), 0.85, 0.7)
        c.paint(c.blob(x, y, 0.2, 0.08, s * 0.3), 0.62, 0.7)


def _chest_pacemaker(c: Canvas, contrast: str) -> None:
    """The box in the wall of the chest, with the streaks that metal throws across a CT section, and a lead's tip."""
    s = c.rng.choice([-1, 1])
    x, y = s * c.near(0.52, 0.02), c.near(-0.79, 0.01)
    c.paint(c.blob(x, y, 0.24, 0.13, s * 0.5), TISSUE[contrast]["fat"], 1)  # the skin bulges over it
    for turn in c.rng.uniform(0, np.pi, 8):
        reach = c.rng.uniform(0.4, 0.8) * np.array([-1, 1])
        ray = np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], axis=1)
        c.stroke([ray], 0.01, c.rng.choice([-0.18, 0.18]), 1)
    c.paint(c.blob(x, y, 0.15, 0.06, s * 0.5), 1.1, 0.7)
    c.paint(c.blob(-0.02, -0.22, 0.025, 0.03), 1.1, 0.7)


def _chest_calcification(c: Canvas, contrast: str) -> None:
    """Chalk in the wall of the aorta and of the coronary arteries."""
    start = c.rng.uniform(0, 2 * np.pi)
    turn = start + np.linspace(0, c.rng.uniform(3, 4.5), 16)
    c.stroke([np.stack([0.12 + 0.075 * np.cos(turn), 0.36 + 0.095 * np.sin(turn)], axis=1)], 0.016, 0.5, 0.6)
    for x, y in ((0.02, -0.36), (0.22, -0.3), (0.26, -0.08)):
        c.paint(c.blob(c.near(x, 0.02), c.near(y, 0.02), 0.035, 0.03, c.rng.uniform(0, 3), 0.15), 1.0, 0.7)


def _brain_catheter(c: Canvas, contrast: str) -> None:
    """A catheter through a hole in the skull to the back of a lateral ventricle."""
    s = c.rng.choice([-1, 1])
    way = np.array([(s * 0.92, c.near(0.42, 0.01)), (s * 0.14, c.near(0.26, 0.01))])
    c.paint(c.line([way], 0.026), 0.2 if contrast == "CT" else TISSUE[contrast]["fluid"], 1.2, 0.8)
    c.paint(c.line([way], 0.016), _metal(contrast), 0.6)


def _brain_calcification(c: Canvas, contrast: str) -> None:
    """Chalk in the choroid plexus, on both sides."""
    for s in (-1, 1):
        for dx, dy in c.rng.normal(0, 0.02, (3, 2)):
            c.paint(c.blob(s * 0.17 + dx, 0.36 + dy, 0.035, 0.045, wobble=0.15), 1.0, 0.6)


def _brain_hydrocephalus(c: Canvas, contrast: str) -> None:
    """Ventricles grown wide."""
    wide = c.near(1.0, 0.08)
    outer = [(0.1, -0.54), (0.2, -0.52), (0.23, -0.28), (0.19, -0.02), (0.27, 0.2), (0.33, 0.46), (0.24, 0.56)]
    inner = [(0.13, 0.46), (0.08, 0.18), (0.05, -0.06), (0.03, -0.34)]
    for s in (-1, 1):
        c.paint(c.shape([(s * wide * x, y) for x, y in outer + inner]), TISSUE[contrast]["fluid"], 1)


def _brain_electrode(c: Canvas, contrast: str) -> None:
    """Electrodes deep in both halves of the brain, cut across, in the halo that metal makes in MR."""
    for s in (-1, 1):
        x, y = s * c.near(0.33, 0.015), c.near(-0.1, 0.015)
        c.paint(c.blob(x, y, 0.085, 0.075), 0.95, 0.8)
        c.paint(c.blob(x, y, 0.06, 0.055), _metal(contrast), 0.7)


def _abdomen_splenomegaly(c: Canvas, contrast: str) -> None:
    """A spleen grown to the front."""
    c.paint(c.blob(0.56, -0.04, 0.22, c.near(0.48, 0.02), -0.2), TISSUE[contrast]["spleen"], 1)


def _abdomen_stent(c: Canvas, contrast: str) -> None:
    """A stent in the bile duct, cut along its length."""
    way = _bent(c, [(-0.2, -0.3), (-0.12, -0.12), (-0.06, 0.04), (0.0, 0.16)])
    c.paint(c.line([way], 0.034), _metal(contrast), 0.6)


def _abdomen_ascites(c: Canvas, contrast: str) -> None:
    """Free fluid between the wall and the organs of both flanks."""
    for s in (-1, 1):
        moved = -s * c.near(0.14, 0.012)  # inwards, and taller: a crescent is left
        rim = c.blob(0, -0.18, 0.8, 0.62, wobble=0.01) * (1 - c.blob(moved, -0.18, 0.8, 0.77, wobble=0.01))
        c.paint(rim, TISSUE[contrast]["fluid"], 1)


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


def _bent(c: Canvas, way: Sequence[tuple[float, float]]) -> np.ndarray:
    """A smooth line [N, 2] through about these points."""
    points = np.array(way) + c.rng.normal(0, 0.01, (len(way), 2))
    for _ in range(3):
        first, last, middle = points[:1], points[-1:], (points[:-1], points[1:])
        cut = np.stack([0.75 * middle[0] + 0.25 * middle[1], 0.25 * middle[0] + 0.75 * middle[1]], axis=1)
        points = np.concatenate([first, cut.reshape(-1, 2), last])
    return points


_BRUSHES = {
    ("chest film", "tube"): _film_tube,
    ("chest film", "catheter"): _film_catheter,
    ("chest film", "pacemaker"): _film_pacemaker,
    ("chest section", "implant"): _chest_implant,
    ("chest section", "pacemaker"): _chest_pacemaker,
    ("chest section", "calcification"): _chest_calcification,
    ("brain", "catheter"): _brain_catheter,
    ("brain", "calcification"): _brain_calcification,
    ("brain", "hydrocephalus"): _brain_hydrocephalus,
    ("brain", "electrode"): _brain_electrode,
    ("abdomen", "splenomegaly"): _abdomen_splenomegaly,
    ("abdomen", "stent"): _abdomen_stent,
    ("abdomen", "ascites"): _abdomen_ascites,
    ("ultrasound", "needle"): _scan_needle,
    ("ultrasound", "catheter"): _scan_catheter,
    ("ultrasound", "ascites"): _scan_ascites,
}
