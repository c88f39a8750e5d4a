"""What may lie beside a finding of the chest, on a film and in a CT section."""

from __future__ import annotations

import numpy as np

from medcap_tf.phantoms.canvas import Canvas
from medcap_tf.phantoms.tomography import TISSUE, throw_streaks


def _film_tube(c: Canvas, contrast: str) -> None:
    """A tube through the gullet into the stomach."""
    way = [(0.01, -1.1), (0.02, -0.5), (0.03, 0.1), (0.06, 0.46), (0.2, 0.64), (c.near(0.42, 0.04), 0.68)]
    c.stroke([c.bent(way)], 0.012, 0.32, 0.6)


def _film_catheter(c: Canvas, contrast: str) -> None:
    """A venous catheter from the neck down to the right atrium."""
    s = c.rng.choice([-1, 1])
    way = [(s * 0.34, -1.06), (s * 0.2, -0.9), (s * 0.13, -0.7), (-0.1, -0.45), (-0.13, -0.15), (-0.12, 0.14)]
    c.stroke([c.bent(way)], 0.016, 0.34, 0.6)


def _film_pacemaker(c: Canvas, contrast: str) -> None:
    """The box in the shoulder, its leads through the great veins to the right ventricle."""
    s = c.rng.choice([-1, 1])
    x, y = s * c.near(0.8, 0.015), c.near(-0.6, 0.02)
    over = [(x, y - 0.1), (s * 0.56, -0.83), (s * 0.28, -0.82), (s * 0.08, -0.66), (-0.08, -0.42)]
    c.stroke([c.bent([*over, (-0.1, 0.1), end]) for end in ((0.02, 0.42), (0.3, 0.44))], 0.007, 0.32, 0.5)
    box = np.array([(-0.09, -0.12), (0.09, -0.12), (0.09, 0.06), (0.05, 0.12), (-0.05, 0.12), (-0.09, 0.06)])
    c.paint(c.shape([(x + dx, y + dy) for dx, dy in 1.15 * box]), 0.97, 0.6)
    c.paint(c.blob(x, y + 0.02, 0.05, 0.05), 0.82, 1)


def _film_electrode(c: Canvas, contrast: str) -> None:
    """Electrodes of an electrocardiogram on the skin, with their leads."""
    ends = [(c.near(x, 0.04), c.near(y, 0.04)) for x, y in ((-0.52, -0.4), (0.52, -0.4), (0.66, 0.36))]
    leads = [c.bent([(x, y), (x + np.sign(x) * 0.1, y + 0.3), (c.near(0.9 * x, 0.05), 1.1)]) for x, y in ends]
    c.stroke(leads, 0.006, 0.3, 0.5)
    for x, y in ends:
        c.paint(c.blob(x, y, 0.075, 0.075), 0.62, 0.8, 0.7)
        c.paint(c.blob(x, y, 0.038, 0.038), 1.0, 0.5)


def _film_prosthesis(c: Canvas, contrast: str) -> None:
    """The ring of a heart valve, seen aslant."""
    x, y, turn = c.near(0.04, 0.02), c.near(0.14, 0.025), c.near(0.5, 0.25)
    c.paint(c.line(_ring(x, y, 0.12, 0.085, turn), 0.022), 1.12, 0.5)
    c.paint(c.blob(x, y, 0.08, 0.045, turn), 0.55, 1)


def _film_clip(c: Canvas, contrast: str) -> None:
    """Clips that surgery left in an armpit: short dashes in all directions."""
    side = c.rng.choice([-1, 1])
    x, y = side * c.near(0.8, 0.015), c.near(-0.22, 0.04)
    c.paint(c.line(dashes(c, x, y, 8), 0.02), 1.1, 0.5)


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
    throw_streaks(c, x, y)
    c.paint(c.blob(x, y, 0.15, 0.06, s * 0.5), 1.1, 0.7)
    c.paint(c.blob(-0.02, -0.22, 0.025, 0.03), 1.1, 0.7)


def _chest_calcification(c: Canvas, contrast: str) -> None:
    """Chalk in the wall of the aorta and of the coronary arteries."""
    start = c.rng.uniform(0, 2 * np.pi)
    turn = start + np.linspace(0, c.rng.uniform(3, 4.5), 16)
    c.stroke([np.stack([0.12 + 0.075 * np.cos(turn), 0.36 + 0.095 * np.sin(turn)], axis=1)], 0.016, 0.5, 0.6)
    for x, y in ((0.02, -0.36), (0.22, -0.3), (0.26, -0.08)):
        c.paint(c.blob(c.near(x, 0.02), c.near(y, 0.02), 0.035, 0.03, c.rng.uniform(0, 3), 0.15), 1.0, 0.7)


def _chest_tube(c: Canvas, contrast: str) -> None:
    """A tube between two ribs, along the back of the pleural space: its two walls and the air within."""
    s, y = c.rng.choice([-1, 1]), c.near(-0.04, 0.03)
    way = c.bent([(s * 1.04, y - 0.08), (s * 0.86, y), (s * 0.66, y + 0.14), (s * 0.54, 0.36), (s * 0.36, 0.46)])
    c.paint(c.line([way], 0.034), 1.0, 0.6)
    c.paint(c.line([way], 0.012), 0.1, 0.5)


def _chest_prosthesis(c: Canvas, contrast: str) -> None:
    """The ring of a heart valve, cut aslant."""
    x, y, turn = c.near(0.12, 0.025), c.near(-0.14, 0.025), c.near(0.5, 0.25)
    throw_streaks(c, x, y)
    c.paint(c.line(_ring(x, y, 0.13, 0.09, turn), 0.024), TISSUE[contrast]["metal"], 0.6)


def _chest_emphysema(c: Canvas, contrast: str) -> None:
    """Air in the wall of one side: black bubbles, drawn out along it."""
    s = c.rng.choice([-1, 1])
    for angle in c.rng.uniform(-0.85, 0.5, 22):
        reach = c.rng.uniform(0.85, 0.95)
        x, y = s * reach * np.cos(angle), 0.98 * reach * np.sin(angle)
        c.paint(c.blob(x, y, 0.02, c.rng.uniform(0.03, 0.07), s * angle, 0.1), TISSUE[contrast]["air"], 0.5)


def _ring(x: float, y: float, rx: float, ry: float, turn: float) -> list[np.ndarray]:
    """A closed ellipse as one line [N, 2]."""
    angle = np.linspace(0, 2 * np.pi, 32)
    a, b = rx * np.cos(angle), ry * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return [np.stack([x + a * cos - b * sin, y + a * sin + b * cos], axis=1)]


def dashes(c: Canvas, x: float, y: float, count: int) -> list[np.ndarray]:
    """Short lines [2, 2] in all directions, scattered about a place."""
    middles = np.array([x, y]) + c.rng.uniform(-1, 1, (count, 2)) * (0.09, 0.22)
    turns = c.rng.uniform(0, np.pi, count)
    reach = 0.042 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return [np.stack([middle - half, middle + half]) for middle, half in zip(middles, reach)]


FILM = {
    "tube": _film_tube,
    "catheter": _film_catheter,
    "pacemaker": _film_pacemaker,
    "electrode": _film_electrode,
    "prosthesis": _film_prosthesis,
    "clip": _film_clip,
}
SECTION = {
    "implant": _chest_implant,
    "pacemaker": _chest_pacemaker,
    "calcification": _chest_calcification,
    "tube": _chest_tube,
    "prosthesis": _chest_prosthesis,
    "emphysema": _chest_emphysema,
}
