"""All scores of one method's answers: standard metrics, an edition's, findings, frequent and rare concepts.

Axes: N images, Q concepts that the run learned.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.data.records import Record
from medcap_tf.evaluation.answers import Answers
from medcap_tf.evaluation.metrics import (
    ConceptNames,
    SufficientStatistics,
    caption_parts,
    caption_statistics,
    concept_map,
    concept_parts,
    concept_scores,
    edition_concept_parts,
    finding_parts,
    frequency_parts,
    missing_concepts,
)
from medcap_tf.evaluation.neural import Captioned, EditionChoice, edition_scores

_FREQUENT = 0.01  # of the training images: a concept that fewer have is rare


class Yardstick(NamedTuple):
    """What answers are scored against besides their references."""

    concepts: Sequence[str]  # the run's Q codes
    names: ConceptNames  # of concepts
    frequent: frozenset[str]  # codes that at least 1% of the training images have
    training: Sequence[str]  # the captions that were learned from
    edition: EditionChoice | None = None

    @classmethod
    def of(
        cls,
        training: Sequence[Record],
        concepts: Sequence[str],
        names: Mapping[str, str],
        edition: EditionChoice | None = None,
    ) -> Yardstick:
        """By the training records."""
        counts = Counter(code.upper() for record in training for code in set(record.concepts))
        frequent = frozenset(code for code, count in counts.items() if count >= _FREQUENT * len(training))
        return cls(concepts, ConceptNames(names), frequent, [record.caption for record in training], edition)


class Scored(NamedTuple):
    """One method's scores."""

    parts: dict[str, SufficientStatistics]  # by image, of those that have a value
    scores: dict[str, float | None]  # all; None: not computed
    notes: dict[str, str]  # why a score is None, and of how many parts a mean is


def score_answers(records: Sequence[Record], answers: Answers, yardstick: Yardstick) -> Scored:
    """Score a method's answers to the images of `records`, which have reference captions."""
    truth = [record.concepts for record in records]
    parts: dict[str, SufficientStatistics] = {}
    notes: dict[str, str] = {}
    if answers.captions is not None:
        references = [record.caption for record in records]
        parts.update(caption_parts(references, answers.captions))
        if yardstick.names:
            parts.update(finding_parts(references, answers.captions, truth, yardstick.names))
        if yardstick.edition:
            notes.update(_add_captions_of_edition(parts, records, answers.captions, yardstick.edition))
    if any(truth):
        parts.update(concept_parts(truth, answers.concepts))
        parts.update(frequency_parts(truth, answers.concepts, yardstick.frequent))
        if yardstick.edition:
            notes.update(_add_concepts_of_edition(parts, records, answers.concepts, yardstick.edition.year))
    values = {name: part.score() for name, part in parts.items()}
    finite = {name: part for name, part in parts.items() if math.isfinite(values[name])}
    notes.update({name: f"not computed: {parts[name].note()}" for name in values if name not in finite})
    scores: dict[str, float | None] = {name: values[name] if name in finite else None for name in values}
    if any(truth):
        scores.update(concept_scores_of(records, answers.concepts, answers.strength, yardstick.concepts))
    if answers.captions is not None:
        scores.update(caption_statistics(answers.captions, yardstick.training))
    return Scored(finite, {**scores, **{name: None for name in notes if name not in scores}}, notes)


def _add_captions_of_edition(
    parts: dict[str, SufficientStatistics], records: Sequence[Record], captions: Sequence[str], edition: EditionChoice
) -> dict[str, str]:
    """Add an edition's caption scores to `parts`; returns what there is to say of them."""
    written = [record.written or record.caption for record in records]
    images = [record.image_path for record in records]
    own = edition_scores(Captioned(edition.year, written, captions, images), edition.weights)
    parts.update(own.parts)
    return {**own.notes, **own.absent}


def _add_concepts_of_edition(
    parts: dict[str, SufficientStatistics], records: Sequence[Record], named: Sequence[Sequence[str]], year: str
) -> dict[str, str]:
    """Add an edition's concept scores to `parts`; returns what there is to say of them."""
    manual = [record.manual or () for record in records] if any(record.manual for record in records) else None
    own = edition_concept_parts(year, [record.concepts for record in records], named, manual)
    parts.update(own)
    return missing_concepts(year, own, "a table of codes checked by hand (concepts_manual.csv)")


def concept_scores_of(
    records: Sequence[Record], named: Sequence[Sequence[str]], strength: np.ndarray, concepts: Sequence[str]
) -> dict[str, float]:
    """F1s of the named concepts, and mean average precision of the scores float [N, Q] behind them."""
    truth = [record.concepts for record in records]
    precision = concept_map(truth, strength, concepts)
    return {**concept_scores(truth, named), **({} if precision is None else {"concept_map": precision})}
