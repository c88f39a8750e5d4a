"""How sure a score is, and whether one of two is really higher: resampling over images.

Both methods only sum each image's statistics again, so they take seconds. What a score takes from the whole set of
references, CIDEr-D's document frequencies, is held fixed.

Axes: N images, k statistics an image, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics.sufficient_statistics import FEW_IMAGES, SufficientStatistics

Parts = Mapping[str, SufficientStatistics]

RESAMPLES = 1_000
PERMUTATIONS = 10_000
LEVEL = 0.95
_CELLS = 4_000_000  # of a matrix of weights at a time: 32 MB


class Difference(NamedTuple):
    """One score of two systems on the same images; `low` and `high` bound `second - first`."""

    first: float
    second: float
    difference: float  # second - first
    low: float
    high: float
    p_value: float


def intervals(parts: Parts, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95% percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13) of scores of the same N images."""
    sums = _bootstrap_sums(parts, resamples, seed) if parts else {}
    return {name: _percentiles(part.of_sums(sums[name])) for name, part in parts.items()}


def compare(
    first: Parts, second: Parts, *, resamples: int = RESAMPLES, permutations: int = PERMUTATIONS, seed: int = 0
) -> dict[str, Difference]:
    """Paired tests of two systems on the same N images, score by score.

    The interval of the difference is a paired bootstrap's (Koehn 2004: the same images are drawn for both). The
    p-value is two-sided, by approximate randomization (Riezler and Maxwell 2005): how often the difference is as
    large or larger, (count + 1) / (permutations + 1), when each image's outputs are swapped between the systems with
    probability 1/2. No correction is made for testing several scores.

    Raises:
        InputError: the systems were scored on different numbers of images.
    """
    for name in first:
        images = len(first[name].values), len(second[name].values)
        if images[0] != images[1]:
            raise InputError(f"a paired test needs the same images for both: {images[0]} and {images[1]} were given")
    drawn = [_bootstrap_sums(parts, resamples, seed) for parts in (first, second)]
    p_values = _randomization(first, second, permutations, seed)
    differences = {}
    for name, part in first.items():
        scores = part.score(), second[name].score()
        low, high = _percentiles(part.of_sums(drawn[1][name]) - part.of_sums(drawn[0][name]))
        differences[name] = Difference(*scores, scores[1] - scores[0], low, high, p_values[name])
    return differences


def notes_on_intervals(images: int) -> dict[str, str]:
    """Why intervals over so many images say little, under `intervals`; empty where they say something."""
    if images == 1:
        return {"intervals": "one image alone: an interval over it has no width, whatever the truth is"}
    few = f"only {images} images: intervals over so few are too narrow"
    return {"intervals": few} if images < FEW_IMAGES else {}


def notes_on_tests(first: Parts, second: Parts, permutations: int = PERMUTATIONS) -> dict[str, str]:
    """Scores of which no p-value of `compare` could be below 0.05, whatever the systems are, and why.

    If d images differ between the systems, 2 of their 2^d swaps are as far apart as the systems are.
    """
    if 1 / (permutations + 1) > 1 - LEVEL:
        return dict.fromkeys(first, f"{permutations} permutations: p is {1 / (permutations + 1):.2g} at least")
    notes = {}
    for name, part in first.items():
        images = len(part.values)
        differ = int((part.values != second[name].values).any(1).sum())
        if not differ:
            notes[name] = "A and B have the same in every image: there is nothing to test"
        elif 2 / 2**differ > 1 - LEVEL:
            notes[name] = f"A and B differ in {differ} of {images} images: p is {2 / 2**differ:.2g} at least"
    return notes


def _bootstrap_sums(parts: Parts, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """float64 [R, k] for each score: sums over N images drawn with replacement, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    images = _images(parts)
    sums: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    for rows in _batches(resamples, images):
        # How often each image is drawn: [rows, N].
        drawn = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(float)
        for name, part in parts.items():
            sums[name].append(weights @ part.values)
    return {name: np.concatenate(batches) for name, batches in sums.items()}


def _randomization(first: Parts, second: Parts, permutations: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    images = _images(first)
    counts = dict.fromkeys(first, 0)
    for rows in _batches(permutations, images):
        swapped = rng.integers(2, size=(rows, images)).astype(float)
        for name, part in first.items():
            a, b = part.values, second[name].values
            moved = swapped @ (b - a)
            difference = part.of_sums(b.sum(0) - moved) - part.of_sums(a.sum(0) + moved)
            observed = abs(second[name].score() - part.score())
            # Sums in another order differ in their last bits, and what is equal has to count.
            counts[name] += int(np.sum(np.abs(difference) >= observed - 1e-12))
    return {name: (count + 1) / (permutations + 1) for name, count in counts.items()}


def _images(parts: Parts) -> int:
    return len(next(iter(parts.values())).values)


def _batches(total: int, images: int) -> Iterator[int]:
    """How many of `total` rows of a matrix [rows, N] to make at a time."""
    size = max(1, _CELLS // images)
    for start in range(0, total, size):
        yield min(size, total - start)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    """NaN where there is no value at all."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)
