"""Do maps point at what a word names? Held against masks of the findings.

Axes: n words, h x w regions, H x W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from medcap_tf.explain.grid import over_image

TOLERANCE = 15  # pixels of the image by which a peak may miss, as is usual since Zhang et al. 2018
_RESAMPLES = 1000


class Pointed(NamedTuple):
    """One map beside one mask; a map of zeros points nowhere."""

    hit: bool  # the map's highest pixel lies in the mask (Zhang et al. 2018)
    within: bool  # or at most TOLERANCE pixels from it
    energy: float  # share of the map that lies in the mask (Wang et al. 2020)
    iou: float  # of the mask and what is above Otsu's threshold of the map
    auc: float  # area under the ROC curve of the map's pixels against the mask


def point(grid: np.ndarray, mask: np.ndarray) -> Pointed:
    """Hold a map against a mask.

    Args:
        grid: float32 [h, w], a map of regions; it is drawn over the image as in the figures.
        mask: bool [H, W] with at least one pixel, what the map should point at.
    """
    heat = over_image(grid, mask.shape)
    total = float(heat.sum())
    if total <= 0:
        return Pointed(False, False, 0.0, 0.0, 0.5)
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return Pointed(
        bool(mask[peak]), bool(distance[peak] <= TOLERANCE), float(heat[mask].sum()) / total, _iou(heat, mask),
        _auc(heat, mask),
    )  # fmt: skip


def _iou(heat: np.ndarray, mask: np.ndarray) -> float:
    levels = np.rint(255 * heat / heat.max()).astype(np.uint8)
    _, bright = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float((mask & (bright > 0)).sum() / (mask | (bright > 0)).sum())


def _auc(heat: np.ndarray, mask: np.ndarray) -> float:
    """The chance that a pixel of the mask is above one outside, by ranks; ties count half."""
    inside, outside = heat[mask], np.sort(heat[~mask])
    if not len(outside):
        return 0.5
    below, above = (np.searchsorted(outside, inside, side) for side in ("left", "right"))
    return float((below + above).mean() / 2 / len(outside))


def center_hit(mask: np.ndarray) -> bool:
    """Whether the center of the image lies in the mask, bool [H, W]."""
    return bool(mask[mask.shape[0] // 2, mask.shape[1] // 2])


class Case(NamedTuple):
    """One word that names something in a mask."""

    image: int  # its number
    kind: str  # what it names: `finding` or `place`
    maps: Mapping[str, np.ndarray]  # by name, float32 [h, w] each
    mask: np.ndarray  # bool [H, W]
    groups: tuple[str, ...] = ()  # what it is counted among, such as `right`


def pointing_game(cases: Iterable[Case]) -> dict[str, dict]:
    """How often maps point at what words name.

    Returns:
        `pointing_game`: rates over all cases that belong to the caption. By map its share of peaks inside the mask,
        with `_within` those at most TOLERANCE pixels away, with `_energy`, `_iou` and `_auc` the means of the other
        values of `Pointed`; beside them the image's `centre` and a `random` point (its expectation: the mask's share of
        the image, which is also the chance of energy). `finding_*` and `place_*`: the words that name a finding, or its
        place, alone.
        `pointing_groups`: by group of words, the rates of the words that name a finding.
        `pointing_intervals`: 95% bootstrap intervals over images of the words that name a finding.
    """
    own, findings, groups = [], [], defaultdict(list)
    for case in cases:
        row = _rates(case)
        hits = {name: value for name, value in row.items() if not name.endswith(("_energy", "_iou", "_auc"))}
        if "reference" not in case.groups:
            own.append({**row, **{f"{case.kind}_{name}": value for name, value in hits.items()}})
        if case.kind == "finding":
            findings += [(case.image, hits)] if "reference" not in case.groups else []
            for group in case.groups:
                groups[group].append(hits)
    return {
        "pointing_game": {"words": len(own), **means(own)} if own else {},
        "pointing_groups": {name: {"words": len(members), **means(members)} for name, members in groups.items()},
        "pointing_intervals": bootstrap(findings),
    }


def _rates(case: Case) -> dict[str, float]:
    row = {"centre": float(center_hit(case.mask)), "random": float(case.mask.mean())}
    for name, grid in case.maps.items():
        pointed = point(grid, case.mask)
        row[name], row[f"{name}_within"] = float(pointed.hit), float(pointed.within)
        row.update({f"{name}_energy": pointed.energy, f"{name}_iou": pointed.iou, f"{name}_auc": pointed.auc})
    return row


def bootstrap(rows: Sequence[tuple[int, Mapping[str, float]]], seed: int = 0) -> dict[str, list[float]]:
    """95% intervals of means over words, by drawing images with all their words.

    Args:
        rows: the image's number and the values of each word.
        seed: of the draws.
    """
    if not rows:
        return {}
    numbers = {image: i for i, image in enumerate(dict.fromkeys(image for image, _ in rows))}
    draws = np.random.default_rng(seed).integers(len(numbers), size=(_RESAMPLES, len(numbers)))
    result = {}
    for name in dict.fromkeys(name for _, row in rows for name in row):
        sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
        for image, row in rows:
            if name in row:
                sums[numbers[image]] += row[name]
                counts[numbers[image]] += 1
        drawn = sums[draws].sum(1) / np.maximum(counts[draws].sum(1), 1)
        result[name] = [float(end) for end in np.percentile(drawn, [2.5, 97.5])]
    return result


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each name over the rows that have it; values that are not numbers are left out, a name without any is
    too."""
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if np.isfinite(value):
                columns[name].append(value)
    return {name: float(np.mean(values)) for name, values in columns.items()}
