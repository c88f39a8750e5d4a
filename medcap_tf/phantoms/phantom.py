"""One phantom from a seed: a scene, a finding, what lies beside it, the picture, its caption and concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple, Union

import numpy as np

from medcap_tf.phantoms.abdomen import draw_abdomen
from medcap_tf.phantoms.brain import draw_brain
from medcap_tf.phantoms.canvas import Canvas
from medcap_tf.phantoms.chest import draw_chest_ct, draw_chest_film
from medcap_tf.phantoms.findings import Finding, choose_finding
from medcap_tf.phantoms.incidental import choose_incidentals
from medcap_tf.phantoms.ultrasound import draw_ultrasound
from medcap_tf.phantoms.wording import caption_of, concepts_of

_Draw = Callable[[np.random.Generator, Union[Finding, None], str, Sequence[str]], Canvas]
_SCENES: Mapping[tuple[str, str], _Draw] = {
    ("radiograph", "chest"): draw_chest_film,
    ("CT", "chest"): draw_chest_ct,
    ("CT", "brain"): draw_brain,
    ("MR", "brain"): draw_brain,
    ("CT", "abdomen"): draw_abdomen,
    ("MR", "abdomen"): draw_abdomen,
    ("ultrasound", "abdomen"): draw_ultrasound,
}
_SHARES = (0.20, 0.14, 0.13, 0.14, 0.12, 0.11, 0.16)  # of the scenes above, in their order


class Phantom(NamedTuple):
    """A synthetic image: `image` uint8 [H, W]; `mask` uint8 [H, W], 255 on the finding and 0 elsewhere; what it shows.

    `concepts` are UMLS codes (keys of `CONCEPTS`). `finding` is None, and `mask` all zero, in an image without one.
    `incidentals` are the kinds of what is shown beside the finding, or without any: none to four.
    """

    image: np.ndarray
    mask: np.ndarray
    caption: str
    concepts: tuple[str, ...]
    modality: str
    region: str
    finding: Finding | None
    incidentals: tuple[str, ...]


def draw_phantom(seed: int | Sequence[int]) -> Phantom:
    """Draws one synthetic image from a seed (or a sequence of seeds, all >= 0): the same seed, the same phantom.

    Sides are 180 to 288 pixels, and few images are square. About a fifth (`NORMAL_SHARE`) show no finding;
    each of the six incidental things that its scene knows is in a quarter of the images (`INCIDENTAL_SHARE`).
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    scenes = list(_SCENES)
    modality, region = scenes[rng.choice(len(scenes), p=_SHARES)]
    contrast = ("T1", "T2")[rng.integers(2)] if modality == "MR" else modality
    finding = choose_finding(rng, modality, region)
    incidentals = choose_incidentals(rng, modality, region)
    canvas = _SCENES[modality, region](rng, finding, contrast, incidentals)
    exposed = np.clip(canvas.image * rng.uniform(0.9, 1.08) + rng.normal(0, 0.012), 0, 1) ** rng.uniform(0.88, 1.15)
    image = np.round(exposed * 255).astype(np.uint8)
    caption = caption_of(rng, modality, region, contrast, finding, incidentals)
    mask = canvas.mask.astype(np.uint8) * 255
    concepts = concepts_of(modality, region, finding, incidentals)
    return Phantom(image, mask, caption, concepts, modality, region, finding, incidentals)
