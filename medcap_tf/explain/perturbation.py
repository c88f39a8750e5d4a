"""Does what an explanation points at matter? Take it away, or show it alone, and see what the model says then.

Axes: n words of a sentence, P = h x w regions, S pixels a side, B variants of an image or a sentence, K concepts.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

import cv2
import numpy as np

from medcap_tf.explain.grid import pixels_of
from medcap_tf.explain.imputation import impute

STEPS = 6  # the share of regions grows in this many steps from none to all
IMPUTED_SHARES = (1 / 6, 1 / 3, 1 / 2)  # of the regions: of more nothing is left to impute from
SUBSETS = 24  # random sets of regions
WORD_SHARE = 1 / 3  # of a caption's words that are taken away
WORD_SHARES = (1 / 5, WORD_SHARE, 1 / 2)
_BATCH = 32

LogProbs = Callable[[np.ndarray], np.ndarray]  # pixels uint8 [B, S, S, 3] -> the words' log-probabilities [B, n]
ConceptScores = Callable[[np.ndarray], np.ndarray]  # tokens int32 [B, n], padded -> scores [B, K]


class Areas(NamedTuple):
    """Areas under the curves of a word's log-probability over the share of regions, nats, float32 [m n]."""

    deletion: np.ndarray  # its first regions blurred away: lower is better
    insertion: np.ndarray  # its first regions alone shown sharp: higher is better


def heaviest_first(maps: np.ndarray) -> np.ndarray:
    """Regions of each map float32 [n, h, w] from its heaviest to its lightest, int64 [n, P]."""
    return np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")


def region_areas(log_probs: LogProbs, pixels: np.ndarray, orders: np.ndarray, grid: tuple[int, int]) -> Areas:
    """Deletion and insertion (Petsiuk et al. 2018), over regions instead of pixels and with blur instead of gray.

    Args:
        log_probs: the model on one fixed sentence.
        pixels: uint8 [S, S, 3].
        orders: int64 [m n, P], m times each word's regions in the order of their going (deletion) and coming
            (insertion).
        grid: h, w.

    Returns:
        float32 [m n] each.
    """
    blurred = blur(pixels)
    ends = log_probs(np.stack([pixels, blurred]))
    ends = np.tile(ends, len(orders) // ends.shape[1])
    curves = np.zeros((2, STEPS + 1, len(orders)), np.float32)
    curves[0, 0] = curves[1, -1] = ends[0]
    curves[0, -1] = curves[1, 0] = ends[1]
    answers = _answers(log_probs, orders, lambda order: _variants(pixels, blurred, order, grid))
    curves[:, 1:-1] = answers.reshape(2, STEPS - 1, -1)
    areas = (curves[:, 1:] + curves[:, :-1]).mean(1) / 2
    return Areas(areas[0], areas[1])


def imputed_deletion(
    log_probs: LogProbs, pixels: np.ndarray, orders: np.ndarray, grid: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Mean log-probability float32 [m n] of each word with its first regions filled from what surrounds them, over
    IMPUTED_SHARES (ROAD; Rong et al. 2022, section 5). A second way to remove: blur may be a sign in itself.

    Args:
        log_probs, pixels, orders, grid: as for `region_areas`.
        rng: draws the noise.
    """

    def variants(order: np.ndarray) -> np.ndarray:
        removed = [pixels_of(order[: round(len(order) * share)], grid, pixels.shape[:2]) for share in IMPUTED_SHARES]
        return np.stack([impute(pixels, inside, rng) for inside in removed])

    return _answers(log_probs, orders, variants).mean(0)


def _answers(log_probs: LogProbs, orders: np.ndarray, variants: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Each word's log-probability under the images of its own order: float32 [B, m n], of orders int64 [m n, P].

    Equal orders share their images: those of all words for a random one, and often those of two kinds of map.
    """
    distinct, which = np.unique(orders, axis=0, return_inverse=True)
    images = np.concatenate([variants(order) for order in distinct])
    answers = np.concatenate([log_probs(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])
    answers = answers.reshape(len(distinct), -1, answers.shape[-1])
    words = answers.shape[-1]
    return np.stack([answers[row, :, place % words] for place, row in enumerate(which.reshape(-1))], 1)


def blur(pixels: np.ndarray) -> np.ndarray:
    """The image without anything smaller than a tenth of its side, uint8 [S, S, 3]."""
    return cv2.GaussianBlur(pixels, (0, 0), sigmaX=pixels.shape[0] / 10)


def _variants(sharp: np.ndarray, blurred: np.ndarray, order: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Deletions, then insertions, of an order's first 1/STEPS, 2/STEPS, ... regions: uint8 [B, S, S, 3]."""
    deleted, inserted = [], []
    for step in range(1, STEPS):
        inside = pixels_of(order[: round(len(order) * step / STEPS)], grid, sharp.shape[:2])[..., None]
        deleted.append(np.where(inside, blurred, sharp))
        inserted.append(np.where(inside, sharp, blurred))
    return np.stack(deleted + inserted)


def removal_order(log_probs: LogProbs, pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Regions in the order of what blurring each alone costs each word, int64 [n, P]: an oracle, which asks the model.

    Args:
        log_probs: the model on one fixed sentence.
        pixels: uint8 [S, S, 3].
        grid: h, w.
    """
    regions = np.arange(grid[0] * grid[1])
    costs = log_probs(pixels[None])[0] - _without(log_probs, pixels, [[region] for region in regions], grid)
    return np.argsort(-costs.T, axis=1, kind="stable")


def mu_fidelity(
    log_probs: LogProbs, pixels: np.ndarray, maps: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, float]:
    """How well the sum of a map over random regions predicts what blurring them costs (Bhatt et al. 2020, equation 5).

    Args:
        log_probs: the model on one fixed sentence.
        pixels: uint8 [S, S, 3].
        maps: by name, float32 [n, ., .], each on a grid of its own; regions are those of the coarsest.
        rng: draws SUBSETS sets of a fifth of the regions.

    Returns:
        By name, Pearson's correlation averaged over the words for which it is defined; NaN where there is none.
    """
    height, width = min((own.shape[1:] for own in maps.values()), key=math.prod)
    count = height * width
    subsets = [rng.choice(count, max(1, count // 5), replace=False) for _ in range(SUBSETS)]
    costs = log_probs(pixels[None])[0] - _without(log_probs, pixels, subsets, (height, width))
    result = {}
    for name, own in maps.items():
        masks = np.stack([pixels_of(subset, (height, width), own.shape[1:], 0) for subset in subsets])
        sums = masks.reshape(len(masks), -1) @ own.reshape(len(own), -1).T
        result[name] = _mean_correlation(sums, costs)
    return result


def _mean_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of the columns of [m, n], averaged over those in which both vary."""
    a, b = a - a.mean(0), b - b.mean(0)
    norms = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    varied = norms > 1e-12
    return float(((a * b).sum(0)[varied] / norms[varied]).mean()) if varied.any() else float("nan")


def _without(log_probs: LogProbs, pixels: np.ndarray, subsets: list, grid: tuple[int, int]) -> np.ndarray:
    """Log-probabilities float32 [m, n] with each of m sets of regions blurred away."""
    blurred = blur(pixels)
    answers = []
    for start in range(0, len(subsets), _BATCH):
        chunk = [pixels_of(subset, grid, pixels.shape[:2])[..., None] for subset in subsets[start : start + _BATCH]]
        answers.append(log_probs(np.stack([np.where(inside, blurred, pixels) for inside in chunk])))
    return np.concatenate(answers)


def concept_drops(
    scores: ConceptScores,
    tokens: np.ndarray,
    weights: dict[str, np.ndarray],
    right: np.ndarray,
    rng: np.random.Generator,
    draws: int = 10,
) -> dict[str, float]:
    """How far the right concepts' mean score falls without a caption's heaviest words, or with them alone
    (comprehensiveness and sufficiency; DeYoung et al. 2020, equations 1 and 2).

    Args:
        scores: the classifier of sentences.
        tokens: int32 [n], n >= 2.
        weights: by method, float32 [n].
        right: int [R], the right concepts' columns, R >= 1.
        rng: draws the words that go in the comparison.
        draws: how many times.

    Returns:
        By method the fall without the heaviest WORD_SHARE, under `METHOD_comprehensiveness` its mean over WORD_SHARES,
        under `METHOD_sufficiency` the mean fall where those alone are kept; and the same of `random`, over the draws.
    """
    orders = [np.argsort(-weight, kind="stable") for weight in weights.values()]
    orders += [rng.permutation(len(tokens)) for _ in range(draws)]
    counts = [max(1, round(len(tokens) * share)) for share in WORD_SHARES]
    kept = [order[count:] for order in orders for count in counts]
    kept += [order[:count] for order in orders for count in counts]
    sentences = np.zeros((1 + len(kept), len(tokens)), np.int32)
    sentences[0] = tokens
    for row, words in enumerate(kept, start=1):
        sentences[row, : len(words)] = tokens[np.sort(words)]
    answers = scores(sentences)[:, right].mean(1)
    without, alone = (answers[0] - answers[1:]).reshape(2, len(orders), len(counts))
    result = {}
    for name, rows in _rows_by_name(weights, draws).items():
        result[name] = float(without[rows, WORD_SHARES.index(WORD_SHARE)].mean())
        result[f"{name}_comprehensiveness"] = float(without[rows].mean())
        result[f"{name}_sufficiency"] = float(alone[rows].mean())
    return result


def _rows_by_name(weights: dict[str, np.ndarray], draws: int) -> dict[str, slice]:
    own = {name: slice(row, row + 1) for row, name in enumerate(weights)}
    return {**own, "random": slice(len(weights), len(weights) + draws)}
