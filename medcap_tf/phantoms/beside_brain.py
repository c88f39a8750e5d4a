"""What may lie beside a finding of the brain, in CT and in MR."""

from __future__ import annotations

import numpy as np

from medcap_tf.phantoms.canvas import Canvas
from medcap_tf.phantoms.tomography import TISSUE, draw_metal


def _brain_hydrocephalus(c: Canvas, contrast: str) -> None:
    """Ventricles grown wide."""
    wide = c.near(1.0, 0.08)
    outer = [(0.1, -0.54), (0.2, -0.52), (0.23, -0.28), (0.19, -0.02), (0.27, 0.2), (0.33, 0.46), (0.24, 0.56)]
    inner = [(0.13, 0.46), (0.08, 0.18), (0.05, -0.06), (0.03, -0.34)]
    for s in (-1, 1):
        c.paint(c.shape([(s * wide * x, y) for x, y in outer + inner]), TISSUE[contrast]["fluid"], 1)


def _brain_catheter(c: Canvas, contrast: str) -> None:
    """A catheter through a hole in the skull to the back of a lateral ventricle."""
    s = c.rng.choice([-1, 1])
    way = np.array([(s * 0.92, c.near(0.42, 0.01)), (s * 0.14, c.near(0.26, 0.01))])
    c.paint(c.line([way], 0.026), 0.2 if contrast == "CT" else TISSUE[contrast]["fluid"], 1.2, 0.8)
    c.paint(c.line([way], 0.016), TISSUE[contrast]["metal"], 0.6)


def _brain_calcification(c: Canvas, contrast: str) -> None:
    """Chalk in the choroid plexus, on both sides."""
    for s in (-1, 1):
        for dx, dy in c.rng.normal(0, 0.02, (3, 2)):
            c.paint(c.blob(s * 0.17 + dx, 0.36 + dy, 0.035, 0.045, wobble=0.15), 1.0, 0.6)


def _brain_electrode(c: Canvas, contrast: str) -> None:
    """Electrodes deep in both halves of the brain, cut across."""
    for s in (-1, 1):
        draw_metal(c, contrast, (s * c.near(0.33, 0.015), c.near(-0.1, 0.015)), (0.055, 0.05))


def _brain_clip(c: Canvas, contrast: str) -> None:
    """A clip on an artery beside the midline, longer than wide."""
    place = c.rng.choice([-1, 1]) * c.near(0.12, 0.015), c.near(-0.14, 0.03)
    draw_metal(c, contrast, place, (0.1, 0.036), c.rng.uniform(0, np.pi))


def _brain_hematoma(c: Canvas, contrast: str) -> None:
    """Blood under the scalp, in front or behind: a lens on the outside of the skull."""
    x, y = c.rng.choice([-1, 1]) * c.near(0.3, 0.05), c.rng.choice([-1, 1]) * 0.86
    outside = 1 - c.blob(0, 0, 0.875, 0.94, wobble=0)
    c.paint(
        c.blob(x, y, c.near(0.36, 0.03), c.near(0.19, 0.01), np.sign(x * y) * -0.3) * outside, _HEMATOMA[contrast], 0.8
    )


def _brain_atrophy(c: Canvas, contrast: str) -> None:
    """The furrows of the cortex and the cleft between its halves grown wide."""
    lines = [np.array([(0, -0.82), (0, -0.4)]), np.array([(0, 0.46), (0, 0.82)])]
    for angle in np.linspace(0, 2 * np.pi, 22, endpoint=False) + c.rng.normal(0, 0.04, 22):
        reach, turn = np.array([0.99, c.rng.uniform(0.72, 0.82)]), angle + np.array([0, c.rng.normal(0, 0.06)])
        lines.append(np.stack([0.77 * reach * np.cos(turn), 0.83 * reach * np.sin(turn)], axis=1))
    c.paint(c.line(lines, 0.022), TISSUE[contrast]["fluid"], 1)


_HEMATOMA = {"CT": 0.68, "T1": 0.6, "T2": 0.9}
BRAIN = {
    "hydrocephalus": _brain_hydrocephalus,
    "atrophy": _brain_atrophy,
    "catheter": _brain_catheter,
    "calcification": _brain_calcification,
    "electrode": _brain_electrode,
    "clip": _brain_clip,
    "hematoma": _brain_hematoma,
}
