"""Metal that surgery leaves anywhere in the body, for real images whose anatomy is not known."""

from __future__ import annotations

import numpy as np

from medcap_tf.phantoms.beside_chest import dashes
from medcap_tf.phantoms.canvas import Canvas
from medcap_tf.phantoms.tomography import throw_streaks

_METAL = {"T1": 0.0, "T2": 0.0}  # MR has no signal from it; all else shows it bright
_BRIGHT = 1.1


def _any_clip(c: Canvas, contrast: str) -> None:
    """A group of clips: short dashes in all directions."""
    x, y = c.rng.uniform(-0.5, 0.5, 2)
    if contrast == "CT":
        throw_streaks(c, x, y)
    c.paint(c.line(dashes(c, x, y, 6), 0.018), _METAL.get(contrast, _BRIGHT), 0.5)


def _any_screw(c: Canvas, contrast: str) -> None:
    """A screw along its length: head, shaft, and a thread as a wavy edge."""
    (x, y), turn = c.rng.uniform(-0.45, 0.45, 2), c.rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    reach = np.linspace(0, 0.3, 25)
    middle = np.array([x, y]) + reach[:, None] * along
    thread = middle + 0.012 * np.where(np.arange(25) % 2, 1, -1)[:, None] * across
    if contrast == "CT":
        throw_streaks(c, *middle[12])
    metal = _METAL.get(contrast, _BRIGHT)
    c.paint(np.maximum(c.line([middle], 0.02), c.line([thread], 0.01)), metal, 0.5)
    head = np.stack([middle[0] - 0.035 * across, middle[0] + 0.035 * across])
    c.paint(c.line([head], 0.026), metal, 0.5)


ANY = {"clip": _any_clip, "screw": _any_screw}
