"""Scores that sums over images determine: whole-set scores, subgroups of images and resampling all read the same sums.

Axes: N images, k statistics an image, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.errors import InputError

FEW_IMAGES = 10  # fewer say little of a score
LEAST_BEST = 0.9  # of a score's top: where even right answers stay below it, its usual scale does not hold


def _no_doubt(values: np.ndarray) -> str:
    return ""


class SufficientStatistics(NamedTuple):
    """One score: what each image gives to it, and what the sums of that are worth."""

    values: np.ndarray  # float64 [N, k]
    of_sums: Callable[[np.ndarray], np.ndarray]  # float64 [..., k] -> float64 [...]; NaN where nothing can be scored
    doubt: Callable[[np.ndarray], str] = _no_doubt  # [N, k] -> why the score cannot mean anything; empty where it can

    def score(self) -> float:
        """The score of all images."""
        return float(self.of_sums(self.values.sum(0)))

    def of(self, rows: np.ndarray) -> SufficientStatistics:
        """The same score of some of the images: int64 or bool [n]."""
        return self._replace(values=self.values[rows])

    def note(self) -> str:
        """Why the score of these images cannot mean anything, or little; empty where nothing speaks against it."""
        return self.doubt(self.values)


def notes_on(parts: Mapping[str, SufficientStatistics]) -> dict[str, str]:
    """The scores that cannot mean anything, or little, on these images, and why."""
    return {name: note for name, part in parts.items() if (note := part.note())}


def mean_of(
    values: Sequence[float], best: Sequence[float] | None = None, top: float = 1, why: str = ""
) -> SufficientStatistics:
    """The mean of a value an image has.

    Args:
        values: one an image.
        best: what the right answer itself would have in each image, where that can be less than `top`.
        top: the highest value there is.
        why: what keeps right answers from the top.
    """
    if best is None:
        return ratio_of(values, np.ones(len(values)))

    def doubt(rows: np.ndarray) -> str:
        mean = float(rows[:, 2].mean())
        return f"the references themselves would have {mean:.2f} of {top}: {why}" if mean < LEAST_BEST * top else ""

    return SufficientStatistics(np.stack([values, np.ones(len(values)), best], axis=1).astype(float), _ratio, doubt)


def ratio_of(
    above: Sequence[float] | np.ndarray,
    below: Sequence[float] | np.ndarray,
    doubt: Callable[[np.ndarray], str] = _no_doubt,
) -> SufficientStatistics:
    """Sum over sum."""
    return SufficientStatistics(np.stack([above, below], axis=1).astype(float), _ratio, doubt)


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
