"""Scores of named concepts on plain lists, and of their scores before a threshold names any.

Axes: N images, K concepts. Codes are compared in upper case, as the official script does.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics.sufficient_statistics import FEW_IMAGES, SufficientStatistics, check_pairs, ratio_of

ConceptSets = Sequence[Collection[str]]


def concept_scores(references: ConceptSets, predictions: ConceptSets) -> dict[str, float]:
    """`concept_f1` (the official score), `concept_micro_f1` and `concept_macro_f1` of N images, all in 0..1.

    Micro: F1 of all pairs of image and concept together. Macro: the mean of each concept's F1 over the N images, over
    the concepts that occur in truth **or** predictions; one that is never predicted, or never true, counts 0.

    Raises:
        InputError: as `concept_f1`.
    """
    scores = {name: part.score() for name, part in concept_parts(references, predictions).items()}
    return {**scores, "concept_macro_f1": _macro_f1(references, predictions)}


def concept_f1(references: ConceptSets, predictions: ConceptSets) -> float:
    """The official concept score of N images, in 0..1.

    F1 of each image over the union of its true and predicted CUIs, upper-cased; the mean is over the images that have
    at least one true CUI, so what is predicted for the others costs nothing.

    Raises:
        InputError: no images, different numbers of references and predictions, or no image with a true CUI.
    """
    return concept_parts(references, predictions)["concept_f1"].score()


def concept_parts(references: ConceptSets, predictions: ConceptSets) -> dict[str, SufficientStatistics]:
    """`concept_f1` and `concept_micro_f1` by image, to score subgroups of images and to resample.

    Raises:
        InputError: as `concept_f1`.
    """
    check_pairs(references, predictions, "concept set")
    pairs = [(upper(true), upper(predicted)) for true, predicted in zip(references, predictions)]
    hits, named, true = np.array([(len(t & p), len(p), len(t)) for t, p in pairs], float).T
    if not true.any():
        raise InputError(
            f"concept F1 needs an image with at least one true concept: none of the {len(references)} images has one"
        )
    counted = true > 0
    return {
        "concept_f1": ratio_of(np.where(counted, 2 * hits / np.maximum(named + true, 1), 0), counted, _few_true),
        "concept_micro_f1": ratio_of(2 * hits, named + true),
    }


def frequency_parts(
    references: ConceptSets, predictions: ConceptSets, frequent: Collection[str]
) -> dict[str, SufficientStatistics]:
    """Micro F1 of N images' frequent codes, `concept_f1_frequent`, and of all others, `concept_f1_rare`: most of a long
    tail is invisible in a mean over images.

    Args:
        references: the true codes of each image.
        predictions: the named ones.
        frequent: the codes that count as frequent.
    """
    known = upper(frequent)
    pairs = [(upper(true), upper(named)) for true, named in zip(references, predictions)]
    cut = {
        "concept_f1_frequent": [(true & known, named & known) for true, named in pairs],
        "concept_f1_rare": [(true - known, named - known) for true, named in pairs],
    }
    return {
        name: ratio_of([2 * len(t & p) for t, p in own], [len(t) + len(p) for t, p in own], _none_counted)
        for name, own in cut.items()
    }


def _none_counted(values: np.ndarray) -> str:
    return "" if values[:, 1].any() else "no such concept is true or named"


def _few_true(values: np.ndarray) -> str:
    """Why concept F1 says little, of its statistics [N, 2]; empty where it says something."""
    count, images = int(values[:, 1].sum()), len(values)
    if not count:
        return "no image has a true concept"
    return f"only {count} of {images} images have a true concept" if count < min(FEW_IMAGES, images) else ""


def concept_map_note(references: ConceptSets, concepts: Sequence[str]) -> str:
    """Why `concept_map` cannot mean anything: every true concept among the K is true of all images; else empty."""
    counts = Counter(code for codes in references for code in upper(codes))
    known = [counts[concept.upper()] for concept in concepts if counts[concept.upper()]]
    return "its concepts are true of all images, so that any scores have 1" if set(known) == {len(references)} else ""


def concept_map(references: ConceptSets, scores: np.ndarray, concepts: Sequence[str]) -> float | None:
    """Mean average precision of concept scores, in 0..1.

    The mean over the concepts with at least one true image of the average precision with which the concept's scores
    rank the N images: the sum over thresholds of precision times the gain in recall, images with equal scores
    together. True concepts that have no scores, because they were never learned, do not enter.

    Args:
        references: the true concepts of each image.
        scores: float [N, K], higher for images that rather have the concept.
        concepts: the K codes.

    Returns:
        None where none of the K concepts is true of any image.
    """
    images: dict[str, list[int]] = defaultdict(list)  # that have a concept
    for image, codes in enumerate(references):
        for code in upper(codes):
            images[code].append(image)
    precisions = []
    for column, concept in enumerate(concepts):
        if concept.upper() in images:
            wanted = np.zeros(len(references), bool)
            wanted[images[concept.upper()]] = True
            precisions.append(_average_precision(wanted, scores[:, column]))
    return float(np.mean(precisions)) if precisions else None


def _average_precision(wanted: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # the last image of each equal score
    hits = np.cumsum(wanted[order])[ends]
    return float(np.sum(hits / (ends + 1) * np.diff(hits, prepend=0)) / wanted.sum())


def _macro_f1(references: ConceptSets, predictions: ConceptSets) -> float:
    pairs = [(upper(true), upper(predicted)) for true, predicted in zip(references, predictions)]
    hits = Counter(concept for true, predicted in pairs for concept in true & predicted)
    mentions = Counter(concept for pair in pairs for concepts in pair for concept in concepts)
    # An exact sum: sets have no order, and the last bits of another sum would depend on it.
    return math.fsum(2 * hits[concept] / count for concept, count in mentions.items()) / len(mentions)


def upper(concepts: Collection[str]) -> set[str]:
    """Codes as the official scripts compare them."""
    return {concept.upper() for concept in concepts}
