"""How sure a captioner is, and how unlike its training an image is, in the graph and by stock operations.

What is computed here was fitted on validation images by `evaluation.calibration`.

Axes: B images, Q concepts, P + 1 quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from medcap_tf.caption import OF_CONFIDENCE, OF_NOVELTY
from medcap_tf.errors import InputError
from medcap_tf.models.captioning import Encoded

# A score of 0 or 1 has a logit too, and one that is nearly so no say beyond it.
LEAST = 1e-3

Signals = Mapping[str, tf.Tensor]


class Calibration(NamedTuple):
    """What validation images have chosen; None: what could not be fitted."""

    images: int  # that it was fitted on
    retrieval: bool  # whether similar images counted
    concepts: Mapping[str, float] | None = None  # `slope` and `offset` of a concept score's logit (Platt 1999)
    confidence: Mapping[str, float] | None = None  # the weight of each of OF_CONFIDENCE, and `offset`, in logits
    novelty: Mapping[str, list[float]] = {}  # by signal of OF_NOVELTY: quantiles of the validation images, ascending

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Calibration:
        """From what `_asdict` gave, by way of JSON.

        Raises:
            InputError: something else.
        """
        try:
            calibration = cls(**values)
            if calibration.concepts:
                _ = calibration.concepts["slope"] + calibration.concepts["offset"]
            if calibration.confidence:
                _ = sum(calibration.confidence[name] for name in (*OF_CONFIDENCE, "offset"))
            _ = [sum(quantiles) for quantiles in calibration.novelty.values()]
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"is no calibration ({type(error).__name__}: {error})") from error
        return calibration

    def fitting(self, retrieval: bool) -> Calibration:
        """What of it holds for a captioner with or without similar images: probabilities for the one it was fitted on
        alone."""
        return self if retrieval == self.retrieval else self._replace(concepts=None, confidence=None)

    def probabilities(self, scores: tf.Tensor) -> tf.Tensor:
        """Concept scores in 0..1 as probabilities, float32 of any shape; unchanged where none were fitted."""
        if self.concepts is None:
            return scores
        bounded = LEAST + (1 - 2 * LEAST) * tf.cast(scores, tf.float32)
        logits = tf.math.log(bounded) - tf.math.log1p(-bounded)
        return tf.sigmoid(self.concepts["slope"] * logits + self.concepts["offset"])

    def confidence_of(self, signals: Signals) -> tf.Tensor | None:
        """The probability that a caption names no concept that its image does not have, float32 [B] in 0..1; None where
        it is not known."""
        if self.confidence is None or not all(name in signals for name in OF_CONFIDENCE):
            return None
        weighted = [self.confidence[name] * signals[name] for name in OF_CONFIDENCE]
        return tf.sigmoid(tf.add_n(weighted) + self.confidence["offset"])

    def novelty_of(self, signals: Signals) -> tf.Tensor | None:
        """How unlike the training images each image is, float32 [B]: the percentile among validation images, 0..100;
        None where it is not known."""
        for name in OF_NOVELTY:
            if name in signals and self.novelty.get(name):
                return percentile(signals[name], self.novelty[name])
        return None


def signals_of(
    encoded: Encoded,
    concept_scores: tf.Tensor | None = None,
    word_scores: tf.Tensor | None = None,
    threshold: float | None = None,
) -> dict[str, tf.Tensor]:
    """What confidence and novelty are computed from, float32 [B] each, as far as there is something to compute from.

    Args:
        encoded: the images.
        concept_scores: float32 [B, Q] in 0..1, of the image.
        word_scores: float32 [B, Q] in 0..1, of the caption's words alone.
        threshold: from which `word_scores` on the words name a concept.

    Returns:
        `weakest`, the image's score of that concept among those named by the words that it
        shows least, 1 where they name none; `undecided`, how far from both 0 and 1 the concept score lies that is
        furthest (0..0.5); `distance`, 1 - similarity of the nearest training image; `energy`, minus the sum of
        log(1 + e^logit) over all concepts (Wang et al. 2021, after Liu et al. 2020, equation 4).
    """
    signals = {}
    if concept_scores is not None and word_scores is not None and threshold is not None:
        named = tf.where(word_scores >= threshold, concept_scores, 1.0)
        signals["weakest"] = tf.reduce_min(named, 1)
        signals["undecided"] = tf.reduce_max(tf.minimum(concept_scores, 1 - concept_scores), 1)
    if encoded.neighbors is not None:
        signals["distance"] = 1 - encoded.neighbors.similarity[:, 0]
    if encoded.seen.concept_logits is not None:
        signals["energy"] = -tf.reduce_sum(tf.nn.softplus(encoded.seen.concept_logits), 1)
    return signals


def percentile(values: tf.Tensor, quantiles: list[float]) -> tf.Tensor:
    """Where values float32 [B] stand among P + 1 ascending quantiles, 0..100, linear between two of them."""
    low, high = tf.constant(quantiles[:-1], tf.float32), tf.constant(quantiles[1:], tf.float32)
    # Of equal quantiles the step counts as a whole.
    passed = (values[:, None] - low) / tf.maximum(high - low, 1e-12)
    return tf.reduce_mean(tf.clip_by_value(passed, 0.0, 1.0), 1) * 100
