"""What an image may show beside its finding: devices, fluid, chalk and more, chosen apart from it, drawn around it.

So an image that looks alike, the same finding in the same place, need not show the same set of concepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable

import numpy as np

from medcap_tf.phantoms.beside_abdomen import ABDOMEN, ULTRASOUND
from medcap_tf.phantoms.beside_any import ANY
from medcap_tf.phantoms.beside_brain import BRAIN
from medcap_tf.phantoms.beside_chest import FILM, SECTION
from medcap_tf.phantoms.canvas import Canvas

INCIDENTAL_SHARE = 0.25  # of images, for each kind that the scene can show
_MOST = 4  # at once: a fifth would be in one of 200 images, and hide the others
_KINDS = {  # in the order of drawing: what is in front comes last
    ("radiograph", "chest"): ("prosthesis", "tube", "catheter", "pacemaker", "clip", "electrode"),
    ("CT", "chest"): ("implant", "emphysema", "pacemaker", "calcification", "prosthesis", "tube"),
    ("CT", "brain"): ("hydrocephalus", "catheter", "calcification", "electrode", "clip", "hematoma"),
    ("MR", "brain"): ("hydrocephalus", "atrophy", "catheter", "electrode", "clip", "hematoma"),
    ("CT", "abdomen"): ("splenomegaly", "ascites", "stent", "calcification", "tube", "screw"),
    ("MR", "abdomen"): ("splenomegaly", "ascites", "stent", "lymphadenopathy", "catheter", "screw"),
    ("ultrasound", "abdomen"): ("ascites", "lymphadenopathy", "calcification", "needle", "catheter", "electrode"),
}
_BRUSHES: Mapping[str, Mapping[str, Callable[[Canvas, str], None]]] = {
    "chest film": FILM,
    "chest section": SECTION,
    "brain": BRAIN,
    "abdomen": ABDOMEN,
    "ultrasound": ULTRASOUND,
    "any": ANY,
}


def choose_incidentals(rng: np.random.Generator, modality: str, region: str) -> tuple[str, ...]:
    """The kinds to draw, each with `INCIDENTAL_SHARE`, independent of the others but for a limit: none to four."""
    return choose_among(rng, _KINDS[modality, region])


def choose_among(rng: np.random.Generator, kinds: Sequence[str]) -> tuple[str, ...]:
    """`choose_incidentals`, of these kinds."""
    draws = rng.random(len(kinds))
    limit = min([INCIDENTAL_SHARE, *np.sort(draws)[_MOST : _MOST + 1]])
    return tuple(kind for kind, draw in zip(kinds, draws) if draw < limit)


def draw_incidentals(c: Canvas, scene: str, contrast: str, kinds: Sequence[str]) -> None:
    """Draws `kinds` on a scene that lacks only its noise; what the mask covers stays as it is.

    The random numbers come from a generator of their own, so all else in the image is the same with and without.
    """
    shown, scene_rng = c.image.copy(), c.rng
    (c.rng,) = scene_rng.spawn(1)
    for kind in kinds:
        _BRUSHES[scene][kind](c, contrast)
    c.image[c.mask] = shown[c.mask]
    c.rng = scene_rng
