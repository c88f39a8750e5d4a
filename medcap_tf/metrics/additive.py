"""Scores that sums over images determine: whole-set scores, groups of images and resampling all read the same sums.

Axes: N images, k statistics an image, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.errors import InputError


class Additive(NamedTuple):
    """One score: what each image gives to it, and what the sums of that are worth."""

    values: np.ndarray  # float64 [N, k]
    of_sums: Callable[[np.ndarray], np.ndarray]  # float64 [..., k] -> float64 [...]; NaN where nothing can be scored

    def score(self) -> float:
        """The score of all images."""
        return float(self.of_sums(self.values.sum(0)))

    def of(self, rows: np.ndarray) -> Additive:
        """The same score of some of the images: int64 or bool [n]."""
        return Additive(self.values[rows], self.of_sums)


def mean_of(values: Sequence[float]) -> Additive:
    """The mean of a value an image has."""
    return ratio_of(values, np.ones(len(values)))


def ratio_of(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray) -> Additive:
    """Sum over sum."""
    return Additive(np.stack([above, below], axis=1).astype(float), _ratio)


def _ratio(sums: np.ndarray) -> np.ndarray:
    below = sums[..., 1]
    return np.divide(sums[..., 0], below, out=np.full(below.shape, np.nan), where=below != 0)


def check_pairs(references: Sequence[object], candidates: Sequence[object], what: str) -> None:
    """Raise InputError unless both are lists of the same length above 0."""
    if isinstance(references, str) or isinstance(candidates, str):
        raise InputError(f"scores need a list with one {what} an image, but a single string was given")
    if len(references) != len(candidates):
        raise InputError(
            f"scores need one predicted {what} for each reference: {len(references)} references, "
            f"{len(candidates)} predictions"
        )
    if not references:
        raise InputError(f"scores need at least one {what}: both lists are empty")
