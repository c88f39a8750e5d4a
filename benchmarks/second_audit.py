"""Deletion, insertion and MuFidelity of words' maps by the audit and by xplique, another implementation.

    pip install "xplique<2" "tensorflow-probability<0.24"
    python benchmarks/second_audit.py runs/demo runs/phantoms [--images 16]

xplique removes pixels where the audit removes regions, so it is given the regions' order as a map, region by region: an
even share of pixels ends within a region now and then, and the figures differ that much. MuFidelity draws sets of
regions at random, each implementation its own, and xplique correlates ranks.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from xplique.metrics import Deletion, Insertion, MuFidelity

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.records import read_dataset
from medcap_tf.explain.attribution import Attributor
from medcap_tf.explain.captioned import caption_records
from medcap_tf.explain.grid import pixels_of
from medcap_tf.explain.perturbation import STEPS, LogProbs, blur, heaviest_first, mu_fidelity, region_areas

WORDS = 2  # of a caption


def main() -> None:
    """Print a line a measure: both means, how far words differ, how words correlate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=16, help="of the test split (default: %(default)s)")
    chosen = parser.parse_args()
    captioner = RunCaptioner.load(chosen.run)
    attributor, rng = Attributor(captioner), np.random.default_rng(0)
    rows = []
    for item in caption_records(captioner, read_dataset(chosen.data).splits["test"][: chosen.images]):
        tokens = item.caption.tokens
        found = attributor.words(item.pixels, tokens)
        maps, coarse = next(iter(found.compared().values())), found.attention
        for word in rng.choice(len(tokens), min(WORDS, len(tokens)), replace=False):

            def log_probs(pixels: np.ndarray, tokens: np.ndarray = tokens, word: int = word) -> np.ndarray:
                return attributor.word_log_probs(pixels, tokens)[:, word : word + 1]

            one = maps[word : word + 1]
            sets = coarse[word : word + 1]
            rows.append([own(log_probs, item.pixels, one, sets), by_xplique(log_probs, item.pixels, one, sets)])
    for name, (ours, theirs) in zip(("deletion", "insertion", "MuFidelity"), np.array(rows).transpose(2, 1, 0)):
        known = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[known], theirs[known]
        apart, alike = np.abs(ours - theirs).mean(), np.corrcoef(ours, theirs)[0, 1]
        print(
            f"{name:12}{len(ours)} words: {ours.mean():.3f}, xplique {theirs.mean():.3f}; "
            f"mean difference {apart:.3f}, correlation {alike:.3f}"
        )


def own(log_probs: LogProbs, pixels: np.ndarray, one: np.ndarray, coarse: np.ndarray) -> list[float]:
    """The audit's, of the map of one word, float32 [1, g, g]; MuFidelity over the regions of a coarse one [1, h, w]."""
    areas = region_areas(log_probs, pixels, heaviest_first(one), one.shape[1:])
    fidelity = mu_fidelity(log_probs, pixels, {"map": one, "coarse": coarse}, np.random.default_rng(1))["map"]
    return [float(areas.deletion[0]), float(areas.insertion[0]), fidelity]


def by_xplique(log_probs: LogProbs, pixels: np.ndarray, one: np.ndarray, coarse: np.ndarray) -> list[float]:
    """xplique's, of the same."""
    grid, blurred = one.shape[1:], blur(pixels).astype(np.float32)
    ranks, shares = np.zeros((2, *pixels.shape[:2]), np.float32)
    for rank, region in enumerate(heaviest_first(one)[0]):
        inside = pixels_of(np.array([region]), grid, pixels.shape[:2])
        ranks[inside] = -rank
        shares[inside] = one.reshape(-1)[region] / inside.sum()

    def score(model: Any, inputs: Any, targets: Any) -> tf.Tensor:
        return tf.constant(log_probs(np.rint(np.asarray(inputs)).astype(np.uint8))[:, 0])

    def baseline(inputs: Any) -> Any:
        if tf.is_tensor(inputs):
            return tf.broadcast_to(tf.constant(blurred), tf.shape(inputs))
        return np.broadcast_to(blurred, np.shape(inputs)).copy()

    asked = {
        "model": tf.keras.Sequential(), "inputs": pixels[None].astype(np.float32),
        "targets": np.ones((1, 1), np.float32), "batch_size": 32, "operator": score, "baseline_mode": baseline,
    }  # fmt: skip
    measures = Deletion(**asked, steps=STEPS), Insertion(**asked, steps=STEPS)
    fidelity = MuFidelity(**asked, grid_size=coarse.shape[1], subset_percent=0.2, nb_samples=48)
    return [*(float(measure.evaluate(ranks[None])) for measure in measures), float(fidelity.evaluate(shares[None]))]


if __name__ == "__main__":
    main()
