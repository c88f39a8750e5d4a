"""What a phantom can show: which findings each modality makes visible in each region, and the choice among them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NORMAL_SHARE = 0.2
_LUNG = (("nodule", "lung"), ("consolidation", "lung"), ("effusion", "pleura"), ("pneumothorax", "pleura"))
_SOFT = tuple((kind, organ) for kind in ("cyst", "mass") for organ in ("liver", "kidney"))
_STONES = (("stone", "gallbladder"), ("stone", "kidney"))
_FINDINGS = {
    ("radiograph", "chest"): _LUNG,
    ("CT", "chest"): _LUNG,
    # Bleeding twice: MR shows the other two as well, and no kind should be too rare to be learned.
    ("CT", "brain"): (*(("hemorrhage", "brain"),) * 2, ("infarct", "brain"), ("tumor", "brain")),
    ("MR", "brain"): (("cyst", "brain"), ("infarct", "brain"), ("tumor", "brain")),
    ("CT", "abdomen"): _SOFT + _STONES,
    ("MR", "abdomen"): _SOFT,
    ("ultrasound", "abdomen"): _SOFT + _STONES,
}


class Finding(NamedTuple):
    """What a caption states: `side` "left", "right" or "" (not stated), `zone` a word or "", `number` 1 or 2."""

    kind: str
    organ: str
    side: str
    zone: str
    size: str
    number: int


def choose_finding(rng: np.random.Generator, modality: str, region: str) -> Finding | None:
    """What to draw, among what the modality can show; a normal image in `NORMAL_SHARE` of the cases."""
    choices = _FINDINGS[modality, region]
    kind, organ = choices[rng.integers(len(choices))]
    side, size = ("left", "right")[rng.integers(2)], ("small", "large")[rng.integers(2)]
    normal, pair, draw = rng.random() < NORMAL_SHARE, rng.random() < 0.25, rng.random()
    if normal:
        return None
    zones: tuple[str, ...] = {"lung": ("upper", "lower"), "brain": ("frontal", "parietal", "occipital")}.get(
        organ, ("",)
    )
    if modality == "CT" and organ == "lung":  # an axial section knows front and back, not top and bottom
        zones = ("anterior", "posterior")
    if modality == "ultrasound":
        zones = ("upper", "lower") if organ == "kidney" else ("",)
    if organ == "gallbladder" or (modality == "ultrasound" and organ == "liver"):
        side = ""
    # Two cysts fit neither the brain nor the liver's left lobe, two stones only the gallbladder seen from close by; two
    # large findings, or a large stone, fit no organ.
    room = kind == "nodule" or (kind == "cyst" and organ != "brain" and (organ, side) != ("liver", "left"))
    paired = pair and (room or (modality, organ, kind) == ("ultrasound", "gallbladder", "stone"))
    if paired or kind == "stone":
        size = "small"
    return Finding(kind, organ, side, zones[int(draw * len(zones))], size, 1 + paired)
