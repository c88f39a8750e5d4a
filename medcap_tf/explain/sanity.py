"""Do explanations depend on what the model has learned, and hold still where nothing changed?

Axes: n words, h x w regions, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from medcap_tf.models.captioning import CaptioningModel

NOISE = 0.01  # standard deviation, of the range of pixel values


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of each word's two maps [n, h, w], averaged over the words; ties share their mean
    rank. A word with a map of one value, in which nothing is ranked, is left out; NaN where none is left."""
    ranks = [pd.DataFrame(maps.reshape(len(maps), -1).T).rank() for maps in (a, b)]
    return float(ranks[0].corrwith(ranks[1]).mean())  # Pearson's of the ranks; NaN, which the mean skips, of one value


def randomized(model: CaptioningModel, rng: np.random.Generator) -> Iterator[str]:
    """The cascade of Adebayo et al. (2018): from the output down to the input, part after part of the
    model loses what it has learned; yields the name of each part after its loss, and restores all at the end.

    The entries of every weight are shuffled: their spread stays as it was, and variances stay positive.
    """
    teacher, encoder = model.decoder.teacher, model.encoder
    stages = dict.fromkeys(layer.name.split("_")[0] for layer in reversed(encoder.layers) if layer.weights)
    last, first = ("word_logits", "fusion"), "decoder_begin"
    inner = [layer for layer in teacher.layers if layer.weights and layer.name not in (*last, first)]
    parts = {
        "words": [teacher.get_layer(name) for name in last],
        "decoder": inner,
        "projections": [teacher.get_layer(first)],
        **({"concepts": [model.head]} if model.head else {}),
        **{s: [layer for layer in encoder.layers if layer.name.startswith(s + "_")] for s in stages},
    }
    learned = [(part, part.get_weights()) for layers in parts.values() for part in layers]
    try:
        for name, layers in parts.items():
            for layer in layers:
                layer.set_weights([_shuffled(weight, rng) for weight in layer.get_weights()])
            yield name
    finally:
        for part, weights in learned:
            part.set_weights(weights)


def _shuffled(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(weight.reshape(-1)).reshape(weight.shape)


def noisy(pixels: np.ndarray, rng: np.random.Generator, count: int) -> Sequence[np.ndarray]:
    """Copies of an image, uint8 [S, S, 3], with gray Gaussian noise of `NOISE`."""
    noise = rng.normal(0, NOISE * 255, (count, *pixels.shape[:2], 1))
    return list(np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8))


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    """How much of the maps' weight moved elsewhere, 0..1, averaged over the words: half the absolute difference of
    float32 [n, h, w] (total variation distance)."""
    return float(np.abs(a - b).sum((1, 2)).mean() / 2)
