"""Why an image has its caption, as arrays; drawing comes later.

Axes: n words of the caption, h x w regions, K concepts shown, H x W pixels of the image as it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from medcap_tf.caption import Caption, no_maps
from medcap_tf.text import Normalizer

LONGEST_SIDE = 1280  # pixels of the image as it is shown: more than a figure's panel has in print
MIN_RETRIEVAL_WEIGHT = 0.005  # a training image of less weight is not worth a line


@dataclass(frozen=True)
class WordReading:
    """How the semantic classifier reads a caption."""

    words: tuple[str, ...]
    importance: np.ndarray  # float32 [n], sums to 1
    concepts: tuple[tuple[str, float], ...]  # code and score, best first
    contributions: np.ndarray  # float32 [K, n], what each word gives to each concept, in logits
    scores: dict[str, float] = field(default_factory=dict)  # of all codes the run knows, by these words alone


class Likeness(NamedTuple):
    """What a similar training image has in common with the image, and which words came from its caption."""

    here: np.ndarray  # float32 [h, w], what each region of the image adds to the similarity, beyond that of most images
    copied: np.ndarray  # float32 [n] in 0..1, of each word's probability, from this training image's caption
    image: np.ndarray | None = None  # the training image, uint8 [H', W', 3]; None where it is not at hand
    there: np.ndarray | None = None  # float32 [h, w], as `here`, of the training image's regions; with `image`
    word_maps: np.ndarray | None = None  # float32 [n, g, g], where in it the copied word lies; sums to 1, or 0


@dataclass(frozen=True)
class Explanation:
    """One image, its caption, and why; `caption.error` says why there is nothing else."""

    caption: Caption
    image: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))  # [H, W, 3], up to LONGEST_SIDE
    attention: np.ndarray = field(default_factory=no_maps)  # float32 [n, h, w], sums to 1 for each word
    evidence: np.ndarray | None = None  # float32 [n, g, g], sums to 1 for each word, or 0; None of a deep decoder
    image_share: np.ndarray | None = None  # float32 [n] in 0..1, of each word, from the image; with `evidence`
    grad_cam: np.ndarray | None = None  # float32 [n, h, w], sums to 1 for each word, or 0; None without the model
    reading: WordReading | None = None
    retrieval_share: np.ndarray | None = None  # float32 [n] in 0..1, of each word, from similar training images
    similar: tuple[tuple[str, str, float], ...] = ()  # of those images ID, caption and weight, the heaviest first
    reference: str = ""
    reference_reading: WordReading | None = None
    concept_scores: dict[str, float] = field(default_factory=dict)  # the model's own, of all codes the run knows
    layers: dict[str, np.ndarray] = field(default_factory=dict)  # float32 [h', w', C'] by layer name
    methods: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # concept -> tf-explain method -> picture
    likenesses: tuple[Likeness, ...] = ()  # of `similar`, in the same order; empty of an export

    def word_maps(self) -> dict[str, np.ndarray]:
        """The maps of the caption's words by name, float32 [n, h, w] each, those that say most first: `evidence` where
        the run has it, `attention`, `grad_cam` where it is known."""
        known = {name: getattr(self, name) for name in ("evidence", "attention", "grad_cam")}
        return {name: maps for name, maps in known.items() if maps is not None}


def from_caption(caption: Caption, image: np.ndarray) -> Explanation:
    """What a caption says by itself, as a server answers it: attention, the words' weights and what of them similar
    images gave; no gradients, no layers.

    Args:
        caption: of a readable image, with or without words.
        image: uint8 [H, W, 3], what was captioned.
    """
    weights, words, reading = caption.word_importance, caption.words, None
    if weights is not None and words:
        reading = WordReading(words, weights, (), np.zeros((0, len(words)), np.float32))
    similar = tuple(("", text, weight) for text, weight in caption.similar if weight >= MIN_RETRIEVAL_WEIGHT)
    share = caption.retrieval_share
    return Explanation(
        caption,
        shown_size(image),
        caption.attention,
        caption.evidence,
        caption.image_share,
        reading=reading,
        retrieval_share=share,
        similar=similar,
    )


def shown_size(image: np.ndarray) -> np.ndarray:
    """An image as people are shown it; the file's own pixels may be very many."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


def shared_words(words: Sequence[str], caption: str) -> list[bool]:
    """For each word, whether the caption holds it too, in any form with the same stem."""
    normalizer = Normalizer()
    known = set(normalizer.stems(caption))
    return [not known.isdisjoint(normalizer.stems(word)) for word in words]
