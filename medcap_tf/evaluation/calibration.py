"""Knowing when it does not know: what makes probabilities and percentiles of scores, fitted on validation images, and
how well they hold.

Axes: N captioned images, Q concepts that the run learned, F features.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medcap_tf.caption import NOVEL_FROM, OF_CONFIDENCE, OF_NOVELTY, Caption
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.records import Record
from medcap_tf.evaluation.metrics import ConceptNames, SufficientStatistics, finding_parts
from medcap_tf.models.calibration import LEAST, Calibration

BINS = 10  # of equal width, of the expected calibration error
PERCENTILES = 100
LEAST_IMAGES = 20  # fewer validation images calibrate nothing
_PENALTY = 1.0  # of the squared weights of standardized features
_STEPS = 50  # of Newton's method at most; it takes a handful


def calibrate(
    captions: Sequence[Caption],
    records: Sequence[Record],
    concepts: Sequence[str],
    names: Mapping[str, str],
    retrieval: bool,
) -> Calibration:
    """Fit everything on validation images.

    Args:
        captions: what an uncalibrated captioner says of N validation images.
        records: of the same images.
        concepts: the run's Q codes.
        names: of concepts; without names nobody can say which of them a caption names, and confidence is unknown.
        retrieval: whether similar images counted.
    """
    pairs = [(caption, record) for caption, record in zip(captions, records) if not caption.error]
    if len(pairs) < LEAST_IMAGES:
        return Calibration(len(pairs), retrieval)
    answered, truth = [caption for caption, _ in pairs], [record for _, record in pairs]
    novelty = {
        name: _quantiles([caption.signals[name] for caption in answered]) for name in OF_NOVELTY if _all(answered, name)
    }
    return Calibration(
        len(pairs), retrieval, _of_concepts(answered, truth, concepts), _of_captions(answered, truth, names), novelty
    )


def recalibrated(caption: Caption, calibration: Calibration) -> Caption:
    """The caption of an uncalibrated captioner with the concept scores of a calibrated one."""
    if caption.concept_scores is None:
        return caption
    return dataclasses.replace(caption, concept_scores=np.asarray(calibration.probabilities(caption.concept_scores)))


def names_no_wrong_concept(
    captions: Sequence[Caption], records: Sequence[Record], names: Mapping[str, str]
) -> np.ndarray:
    """Bool [N]: whether every concept that a caption names is true of its image, as `finding_precision` counts; true
    of a caption that names none."""
    references, codes = [record.caption for record in records], [record.concepts for record in records]
    parts = finding_parts(references, [caption.text for caption in captions], codes, ConceptNames(names))
    right, named = parts["finding_precision"].values.T
    return right == named


def fit_logistic(features: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Logistic regression by Newton's method, with Platt's targets (Platt 1999, section 2.2), which keep it finite
    where all answers are right, and an L2 penalty on the weights of the standardized features.

    Args:
        features: float [N, F].
        right: bool [N].

    Returns:
        Weights float [F] of the features as they are, and the offset, in logits.
    """
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    rows = np.hstack([(features - mean) / spread, np.ones((len(features), 1))])
    positive = int(right.sum())
    targets = np.where(right, (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2))
    penalty = np.diag([_PENALTY] * features.shape[1] + [0.0])
    weights = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        probable = 1 / (1 + np.exp(-rows @ weights))
        gradient = rows.T @ (targets - probable) - penalty @ weights
        curvature = (rows * (probable * (1 - probable))[:, None]).T @ rows + penalty
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    own = weights[:-1] / spread
    return own, float(weights[-1] - own @ mean)


def _of_concepts(captions: Sequence[Caption], records: Sequence[Record], codes: Sequence[str]) -> dict | None:
    """Slope and offset of the concept scores' logits (Platt 1999); None without scores or true concepts, and where
    higher scores do not mean more."""
    scores = [caption.concept_scores for caption in captions if caption.concept_scores is not None]
    labels = ConceptMatrix.of(records, codes).dense() > 0
    if len(scores) < len(captions) or not codes or not labels.any():
        return None
    bounded = LEAST + (1 - 2 * LEAST) * np.stack(scores).astype(float).ravel()
    (slope,), offset = fit_logistic(np.log(bounded / (1 - bounded))[:, None], labels.ravel())
    return {"slope": float(slope), "offset": offset} if slope > 0 else None


def _of_captions(captions: Sequence[Caption], records: Sequence[Record], names: Mapping[str, str]) -> dict | None:
    """The weight of each signal of a caption's confidence; None where a signal or the names are missing."""
    if not ConceptNames(names) or not all(_all(captions, name) for name in OF_CONFIDENCE):
        return None
    features = np.array([[caption.signals[name] for name in OF_CONFIDENCE] for caption in captions])
    weights, offset = fit_logistic(features, names_no_wrong_concept(captions, records, names))
    return {**dict(zip(OF_CONFIDENCE, weights.tolist())), "offset": offset}


def _all(captions: Sequence[Caption], signal: str) -> bool:
    return all(signal in caption.signals for caption in captions)


def _quantiles(values: Sequence[float]) -> list[float]:
    return np.quantile(values, np.linspace(0, 1, PERCENTILES + 1)).tolist()


class Bins(NamedTuple):
    """Probabilities in BINS of equal width, float64 [BINS] each: all that a reliability diagram needs of them."""

    counts: np.ndarray
    sure: np.ndarray  # the sums of the probabilities
    right: np.ndarray  # how many came true

    @classmethod
    def of(cls, probabilities: np.ndarray, right: np.ndarray) -> Bins:
        """Of probabilities and whether they came true, float and bool [N]."""
        own = np.minimum((probabilities * BINS).astype(int), BINS - 1)
        return cls(*(np.bincount(own, weights, BINS).astype(float) for weights in (None, probabilities, right)))

    def and_of(self, other: Bins) -> Bins:
        """Of all of both."""
        return Bins(*map(np.add, self, other))

    @property
    def error(self) -> float:
        """How far probabilities lie from the share that is right, on average (Guo et al. 2017, equation 5)."""
        return float(np.abs(self.sure - self.right).sum() / self.counts.sum())


class Judged(NamedTuple):
    """What is known of the captions that have a confidence, in one order."""

    confidence: np.ndarray  # float [N]
    right: np.ndarray  # bool [N], no concept is named that is not there
    concepts: Bins  # the scores of all concepts in all images


def judge(
    captions: Sequence[Caption], records: Sequence[Record], concepts: Sequence[str], names: Mapping[str, str]
) -> Judged | None:
    """Hold the confidence of captions against the truth; None where none has one."""
    pairs = [(c, r) for c, r in zip(captions, records) if c.confidence is not None and c.concept_scores is not None]
    if not pairs or not ConceptNames(names):
        return None
    answered, truth = [caption for caption, _ in pairs], [record for _, record in pairs]
    labels = ConceptMatrix.of(truth, concepts)
    # Image by image: thousands of concepts in thousands of images would take hundreds of MB.
    bins = (
        Bins.of(np.asarray(caption.concept_scores), labels.take(np.array([i])).dense()[0])
        for i, caption in enumerate(answered)
    )
    return Judged(
        np.array([caption.confidence for caption in answered]),
        names_no_wrong_concept(answered, truth, names),
        functools.reduce(Bins.and_of, bins),
    )


def calibration_scores(
    captions: Sequence[Caption], judged: Judged | None, parts: Mapping[str, SufficientStatistics]
) -> dict[str, Any]:
    """`calibration` of `scores.json`; empty for a run without calibration. A value that is None has no meaning here.

    Args:
        captions: of all images.
        judged: those that have a confidence.
        parts: the scores of `captions`, by image.
    """
    scores: dict[str, Any] = {}
    novelty = [caption.novelty for caption in captions if caption.novelty is not None]
    if novelty:
        scores["unlike_training"] = float(np.mean([value >= NOVEL_FROM for value in novelty]))
    if judged is None:
        return scores
    rows = [i for i, caption in enumerate(captions) if caption.confidence is not None]
    sure, right = judged.confidence, judged.right
    correlations = {
        f"spearman_{name}": rank_correlation(sure, values[rows]) for name, values in _quality(parts).items()
    }
    coverage = risk_coverage(sure, right)
    return {
        **scores,
        "no_wrong_concept": float(right.mean()),
        "mean_confidence": float(sure.mean()),
        "confidence_ece": Bins.of(sure, right).error,
        "concept_ece": judged.concepts.error,
        **correlations,
        "risk_of_surest_half": float(coverage[math.ceil(len(coverage) / 2) - 1]),
        "risk": float(coverage[-1]),
    }


def _quality(parts: Mapping[str, SufficientStatistics]) -> dict[str, np.ndarray]:
    """How good each caption is: float [N] by name."""
    quality = {name: parts[name].values[:, 0] for name in ("cider", "concept_f1") if name in parts}
    if "finding_precision" in parts and "finding_recall" in parts:
        named, (shared, wanted) = parts["finding_precision"].values[:, 1], parts["finding_recall"].values.T
        # Of a caption and a reference that name nothing, nothing is wrong or missing.
        quality["finding_f1"] = np.where(named + wanted > 0, 2 * shared / np.maximum(named + wanted, 1), 1.0)
    return quality


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's, ties sharing their mean rank; None where either has one value alone."""
    ranks = [pd.Series(values).rank().to_numpy() for values in (a, b)]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the 1, 2, ... N surest, the share that is wrong: float [N] (El-Yaniv and Wiener 2010). Captions of equal
    confidence count by their mean, since no order among them means anything."""
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], 1.0 - right[order]
    ties = np.cumsum(np.r_[0, np.diff(sure) != 0])
    shared = np.bincount(ties, wrong) / np.bincount(ties)
    return np.cumsum(shared[ties]) / np.arange(1, len(wrong) + 1)
