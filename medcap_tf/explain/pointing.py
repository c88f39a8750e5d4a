"""Do maps point at what a word names? Held against masks of the findings.

Axes: n words, h x w regions, H x W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.explain.explanation import over_image


class Pointed(NamedTuple):
    """One map beside one mask."""

    hit: bool  # the map's highest pixel lies in the mask
    energy: float  # share of the map that lies in the mask


def point(grid: np.ndarray, mask: np.ndarray) -> Pointed:
    """The pointing game (Zhang et al. 2018) and the energy-based one (Wang et al. 2020).

    Args:
        grid: float32 [h, w], a map of regions; it is drawn over the image as in the figures.
        mask: bool [H, W], what the map should point at.

    Returns:
        hit and energy; a map of zeros points nowhere.
    """
    heat = over_image(grid, mask.shape)
    total = float(heat.sum())
    if total <= 0:
        return Pointed(False, 0.0)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return Pointed(bool(mask[row, column]), float(heat[mask].sum()) / total)


def center_hit(mask: np.ndarray) -> bool:
    """Whether the center of the image lies in the mask, bool [H, W]."""
    return bool(mask[mask.shape[0] // 2, mask.shape[1] // 2])


class Case(NamedTuple):
    """One word that names something in a mask."""

    kind: str  # what it names: "finding" or "place"
    attention: np.ndarray  # float32 [h, w]
    grad_cam: np.ndarray  # float32 [h, w]
    mask: np.ndarray  # bool [H, W]


def pointing_game(cases: Iterable[Case]) -> dict[str, float]:
    """Rates over all cases: `attention` and `grad_cam` inside the mask, beside the image's `centre` and a `random`
    point (its expectation: the mask's share of the image). `*_energy`: the share of the map inside the mask, whose
    chance is `random` too. `finding_*` and `place_*`: the words that name a finding, or its place, alone.
    """
    rows: list[dict[str, float]] = []
    for case in cases:
        pointed = {"attention": point(case.attention, case.mask), "grad_cam": point(case.grad_cam, case.mask)}
        row = {name: float(result.hit) for name, result in pointed.items()}
        row.update(centre=float(center_hit(case.mask)), random=float(case.mask.mean()))
        row.update({f"{case.kind}_{name}": value for name, value in row.items()})
        rows.append({**row, **{f"{name}_energy": result.energy for name, result in pointed.items()}})
    return {"words": len(rows), **means(rows)} if rows else {}


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each name over the rows that have it; values that are not numbers are left out, a name without any is
    too."""
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if np.isfinite(value):
                columns[name].append(value)
    return {name: float(np.mean(values)) for name, values in columns.items()}
