"""Does what an explanation points at matter? Take it away, or show it alone, and see what the model says then.

Axes: n words of a sentence, P = h x w regions, S pixels a side, B variants of an image or a sentence, K concepts.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import cv2
import numpy as np

STEPS = 6  # the share of regions grows in this many steps from none to all
WORD_SHARE = 1 / 3  # of a caption's words that are taken away
_BATCH = 32

LogProbs = Callable[[np.ndarray], np.ndarray]  # pixels uint8 [B, S, S, 3] -> the words' log-probabilities [B, n]
ConceptScores = Callable[[np.ndarray], np.ndarray]  # tokens int32 [B, n], padded -> scores [B, K]


class Areas(NamedTuple):
    """Areas under the curves of a word's log-probability over the share of regions, nats, float32 [n]."""

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
        orders: int64 [n, P], each word's regions in the order of their going (deletion) and coming (insertion).
        grid: h, w.
    """
    blurred = blur(pixels)
    ends = log_probs(np.stack([pixels, blurred]))
    curves = np.zeros((2, STEPS + 1, orders.shape[0]), np.float32)
    curves[0, 0] = curves[1, -1] = ends[0]
    curves[0, -1] = curves[1, 0] = ends[1]
    # Words that share an order, as all do for a random one, share its images.
    distinct, which = np.unique(orders, axis=0, return_inverse=True)
    images = np.concatenate([_variants(pixels, blurred, order, grid) for order in distinct])
    log_probabilities = np.concatenate([log_probs(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])
    log_probabilities = log_probabilities.reshape(len(distinct), 2, STEPS - 1, -1)
    for word, row in enumerate(which.reshape(-1)):
        curves[:, 1:-1, word] = log_probabilities[row, :, :, word]
    areas = (curves[:, 1:] + curves[:, :-1]).mean(1) / 2
    return Areas(areas[0], areas[1])


def blur(pixels: np.ndarray) -> np.ndarray:
    """The image without anything smaller than a tenth of its side, uint8 [S, S, 3]."""
    return cv2.GaussianBlur(pixels, (0, 0), sigmaX=pixels.shape[0] / 10)


def _variants(sharp: np.ndarray, blurred: np.ndarray, order: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Deletions, then insertions, of an order's first 1/STEPS, 2/STEPS, ... regions: uint8 [B, S, S, 3]."""
    size = sharp.shape[1], sharp.shape[0]
    deleted, inserted = [], []
    for step in range(1, STEPS):
        selected = np.zeros(len(order), np.uint8)
        selected[order[: round(len(order) * step / STEPS)]] = 1
        inside = cv2.resize(selected.reshape(grid), size, interpolation=cv2.INTER_NEAREST)[..., None] > 0
        deleted.append(np.where(inside, blurred, sharp))
        inserted.append(np.where(inside, sharp, blurred))
    return np.stack(deleted + inserted)


def concept_drops(
    scores: ConceptScores,
    tokens: np.ndarray,
    weights: dict[str, np.ndarray],
    right: np.ndarray,
    rng: np.random.Generator,
    draws: int = 10,
) -> dict[str, float]:
    """How far the right concepts' mean score falls when a third of the words is taken away.

    Args:
        scores: the classifier of sentences.
        tokens: int32 [n], n >= 2.
        weights: by method, float32 [n]: the heaviest words go.
        right: int [R], the right concepts' columns, R >= 1.
        rng: draws the words that go in the comparison.
        draws: how many times.

    Returns:
        The drop by method, and `random`, the mean over the draws.
    """
    count = max(1, round(len(tokens) * WORD_SHARE))
    gone = [np.argsort(-weight, kind="stable")[:count] for weight in weights.values()]
    gone += [rng.choice(len(tokens), count, replace=False) for _ in range(draws)]
    sentences = np.zeros((1 + len(gone), len(tokens)), np.int32)
    sentences[0] = tokens
    for row, words in enumerate(gone, start=1):
        sentences[row, : len(tokens) - count] = np.delete(tokens, words)
    means = scores(sentences)[:, right].mean(1)
    drops = means[0] - means[1:]
    named = {name: float(drop) for name, drop in zip(weights, drops)}
    return {**named, "random": float(drops[len(weights) :].mean())}
