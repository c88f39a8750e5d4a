"""What axial sections share: the brightness of tissues, the trunk, the ribs, and what each scanner adds."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from medcap_tf.phantoms.canvas import Canvas

# Brightness (0..1) of tissues under each contrast: what CT attenuates, what T1 and T2 relaxation make bright.
# Metal gives MR no signal.
_NAMES = "air fat soft bone fluid blood white gray liver spleen kidney mass rim edema infarct metal".split()
TISSUE = {
    "CT": dict(zip(_NAMES, (0.02, 0.26, 0.46, 0.97, 0.2, 0.72, 0.42, 0.5, 0.56, 0.6, 0.7, 0.36, 0.86, 0.3, 0.24, 1.1))),
    "T1": dict(
        zip(_NAMES, (0.02, 0.85, 0.36, 0.1, 0.08, 0.2, 0.64, 0.47, 0.55, 0.38, 0.42, 0.24, 0.92, 0.32, 0.25, 0.0))
    ),
    "T2": dict(
        zip(_NAMES, (0.02, 0.7, 0.26, 0.08, 0.98, 0.08, 0.33, 0.47, 0.32, 0.5, 0.58, 0.5, 0.16, 0.66, 0.76, 0.0))
    ),
}


def draw_trunk(c: Canvas, t: Mapping[str, float]) -> None:
    """The outline of an axial trunk: air around, a rim of fat, muscle within, spine at the back."""
    c.image += t["air"]
    c.paint(c.blob(0, 0, 0.98, 0.97, wobble=0.012), t["fat"])
    rim = c.rng.uniform(0.04, 0.1)
    c.paint(c.blob(0, 0.01, 0.98 - rim, 0.95 - 1.2 * rim, wobble=0.015), t["soft"])
    c.paint(c.blob(0, 0.56, 0.13, 0.15), t["bone"], 1, 0.8)
    c.paint(c.blob(0, 0.74, 0.05, 0.14), t["bone"], 1, 0.8)
    c.paint(c.blob(0, 0.69, 0.06, 0.055), t["fluid"] if t["fluid"] > 0.5 else t["soft"], 0.8)


def draw_rib_cage(c: Canvas, t: Mapping[str, float], reach: float, count: int) -> None:
    """Ribs cut across: short arcs just inside of the body's outline."""
    for sign in (-1, 1):
        for angle in np.linspace(-1.1, 1.2, count) + c.rng.normal(0, 0.04, count):
            span = angle + np.linspace(-0.07, 0.07, 4)
            arc = np.stack([sign * reach * np.cos(span), reach * 0.96 * np.sin(span)], axis=1)
            c.stroke([arc], 0.022, 0.55 * (t["bone"] - t["soft"]) / 0.5, 0.7)


def draw_metal(
    c: Canvas, contrast: str, place: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0
) -> None:
    """A piece of metal: in CT bright, with streaks across the section; in MR a void in a bright halo."""
    (x, y), (rx, ry) = place, radii
    if contrast == "CT":
        throw_streaks(c, x, y)
    else:
        c.paint(c.blob(x, y, rx + 0.028, ry + 0.026, tilt), 0.95, 0.8)
    c.paint(c.blob(x, y, rx, ry, tilt), TISSUE[contrast]["metal"], 0.7)


def throw_streaks(c: Canvas, x: float, y: float) -> None:
    """The rays, bright and dark, that metal throws across a CT section."""
    for turn in c.rng.uniform(0, np.pi, 6):
        reach = c.rng.uniform(0.4, 0.8) * np.array([-1, 1])
        ray = np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], axis=1)
        c.stroke([ray], 0.01, c.rng.choice([-0.18, 0.18]), 1)


def add_ct_marks(c: Canvas) -> None:
    """What CT adds to a picture: quantum noise, the table, a line of text."""
    if c.rng.random() < 0.6:
        across = np.linspace(-0.9, 0.9, 16)
        c.stroke([np.stack([across, 1.06 - 0.08 * across**2], axis=1)], 0.008, 0.4)
    if c.rng.random() < 0.4:
        c.write(f"IM {c.rng.integers(10, 99)}", 0.02, 0.06, 0.3, 0.7)
    c.image += c.rng.uniform(0.022, 0.04) * cv2.GaussianBlur(c.grain(), (0, 0), 0.7) * 2


def add_mr_marks(c: Canvas) -> None:
    """What MR adds to a picture: the coils' uneven gain, and Rician noise (the magnitude of a complex signal)."""
    c.image *= 1 + 0.1 * c.field(2) + 0.1 * c.rng.normal() * c.x
    noise = c.rng.uniform(0.02, 0.035)
    c.image = np.hypot(c.image + noise * c.grain(), noise * c.grain())
