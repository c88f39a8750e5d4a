"""What each method says of the images that are scored: the model, and the baselines that it stands beside.

Axes: N images, M training images, Q concepts that the run learned, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
) -> Iterator[tuple[str, Answers]]:
    """The baselines under their names in `scores.json`, one after the other: the scores of thousands of concepts of
    thousands of images take 100 MB each.

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
    yield (
        "popular_words",
        Answers([blind] * count, [usual] * count, np.broadcast_to(labels.frequencies(), (count, len(concepts)))),
    )
    yield (
        "nearest_image",
        Answers([r.caption for r in nearest], [r.concepts for r in nearest], labels.take(neighbors.rows[:, 0]).dense()),
    )
    if tuned:
        yield "neighbors", _agreed(datastore, concepts, neighbors, labels, tuned)
        if concepts:
            strength = concept_strength(captions, len(concepts))
            yield "thresholds_by_label", Answers(None, named(strength, tuned.label_thresholds, concepts), strength)


def _agreed(
    datastore: Datastore, concepts: Sequence[str], neighbors: Neighborhood, labels: ConceptMatrix, tuned: Tuned
) -> Answers:
    """The neighbors' consensus caption, and the concepts that they vote for."""
    tokens = [official_tokens(record.caption) for record in datastore.records]
    rows = consensus(neighbors.rows[:, : tuned.caption_neighbors], tokens)
    shares = votes(neighbors, labels, tuned.concept_neighbors)
    captions = [datastore.records[row].caption for row in rows]
    return Answers(captions, named(shares, tuned.vote_thresholds, concepts), shares)
