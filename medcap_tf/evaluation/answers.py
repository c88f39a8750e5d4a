"""What each method says of the images that are scored: the model, and the baselines that it stands beside.

Axes: N images, M training images, Q concepts that the run learned, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.datastore import Datastore
from medcap_tf.evaluation.baselines import popular_concepts, popular_words
from medcap_tf.evaluation.metrics import official_tokens
from medcap_tf.evaluation.neighbors import Neighborhood, Tuned, concept_strength, consensus, named, neighborhood, votes


class Answers(NamedTuple):
    """What one method says of N images."""

    captions: list[str] | None  # None: it names concepts alone
    concepts: Sequence[Sequence[str]]
    strength: np.ndarray  # float [N, Q], how sure it is of each concept that the run learned


def model_answers(captions: Sequence[Caption], concepts: Sequence[str]) -> Answers:
    """The captioner's own."""
    codes = [[code for code, _ in caption.concepts] for caption in captions]
    return Answers([caption.text for caption in captions], codes, concept_strength(captions, len(concepts)))


def baseline_answers(
    captions: Sequence[Caption],
    datastore: Datastore,
    concepts: Sequence[str],
    own: np.ndarray,
    tuned: Tuned | None = None,
) -> dict[str, Answers]:
    """The baselines, by their names in `scores.json`.

    Args:
        captions: of N images, for what the encoder sees in them.
        datastore: the training images.
        concepts: the run's codes.
        own: int32 [N], the number of each image's own entry in the datastore, -1 for none.
        tuned: what validation images have chosen; None leaves the tuned baselines out.
    """
    blind, usual = popular_words([r.caption for r in datastore.records]), popular_concepts(datastore.records)
    labels, count = ConceptMatrix.of(datastore.records, concepts), len(captions)
    neighbors = neighborhood(captions, datastore, own)
    nearest = [datastore.records[row] for row in neighbors.rows[:, 0]]
    answers = {
        "popular_words": Answers(
            [blind] * count, [usual] * count, np.broadcast_to(labels.frequencies(), (count, len(concepts)))
        ),
        "nearest_image": Answers(
            [r.caption for r in nearest], [r.concepts for r in nearest], labels.take(neighbors.rows[:, 0]).dense()
        ),
    }
    return {**answers, **_tuned_answers(captions, datastore, concepts, neighbors, labels, tuned)} if tuned else answers


def _tuned_answers(
    captions: Sequence[Caption],
    datastore: Datastore,
    concepts: Sequence[str],
    neighbors: Neighborhood,
    labels: ConceptMatrix,
    tuned: Tuned,
) -> dict[str, Answers]:
    """`neighbors`: their consensus caption and the concepts they vote for; `thresholds_by_label`: the model's concepts
    under a threshold of each concept's own."""
    tokens = [official_tokens(record.caption) for record in datastore.records]
    rows = consensus(neighbors.rows[:, : tuned.caption_neighbors], tokens)
    agreed = [datastore.records[row].caption for row in rows]
    shares = votes(neighbors, labels, tuned.concept_neighbors)
    answers = {"neighbors": Answers(agreed, named(shares, tuned.vote_thresholds, concepts), shares)}
    if concepts:
        strength = concept_strength(captions, len(concepts))
        answers["thresholds_by_label"] = Answers(None, named(strength, tuned.label_thresholds, concepts), strength)
    return answers
