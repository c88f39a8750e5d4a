"""The baselines that win the recent editions, tuned on validation: the votes of several similar training images for
concepts, the caption that most of them agree on, and a threshold of its own for each concept.

Axes: N images that are asked about, M training images, K neighbors, Q concepts, C channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.evaluation.baselines import best_threshold, find_neighbors, official_f1
from medcap_tf.evaluation.metrics import caption_scores, official_tokens
from medcap_tf.run_folder import RunFolder

TUNED_BY = 500  # validation images at most: enough for a threshold, and few enough to be captioned once more
COUNTS = (1, 2, 3, 5, 10, 20, 50)
MOST_AGREEING = 20  # captions: each is compared with each
LEAST_TRUE = 10
"""Validation images of a concept below which its threshold is that of all: a few images choose any threshold."""

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far a threshold goes from that of all concepts to its own: all the way, chosen by 150 images, costs F1 0.02."""

_FOLDS = 5


class Tuned(NamedTuple):
    """What validation images have chosen; lists are in the order of the run's concepts."""

    concept_neighbors: int
    vote_thresholds: list[float]  # of the neighbors' votes
    caption_neighbors: int
    label_thresholds: list[float]  # of the model's own scores

    @classmethod
    def load(cls, run: RunFolder, concepts: Sequence[str]) -> Tuned | None:
        """Of a run; None in runs of earlier versions.

        Raises:
            InputError: the file is broken, or is of other concepts.
        """
        values = run.read_baselines()
        if values is None:
            return None
        try:
            tuned = cls(**values)
        except TypeError as error:
            raise InputError(
                f"{run.baselines}: cannot be read ({error}); move it away to leave the tuned baselines out"
            ) from error
        for name in ("vote_thresholds", "label_thresholds"):
            count = len(getattr(tuned, name))
            if count != len(concepts):
                raise InputError(
                    f"{run.baselines}: {name} has {count} values for the run's {len(concepts)} concepts; move it away"
                    " to leave the tuned baselines out"
                )
        return tuned


class Neighborhood(NamedTuple):
    """The K training images most like each of N."""

    rows: np.ndarray  # int64 [N, K], most alike first
    likeness: np.ndarray  # float32 [N, K]


def neighborhood(captions: Sequence[Caption], datastore: Datastore, own: np.ndarray | None = None) -> Neighborhood:
    """Those of captioned images, at most as many as `COUNTS` asks for; `own` as for `baselines.find_neighbors`."""
    count = min(max(COUNTS), len(datastore.records))
    queries = np.stack([pooled(caption, datastore) for caption in captions])
    return Neighborhood(*find_neighbors(queries, datastore.features, count, own, datastore.contents()))


def pooled(caption: Caption, datastore: Datastore) -> np.ndarray:
    """The mean region of a captioned image, float32 [C]; zeros where it could not be read."""
    return np.zeros(datastore.features.shape[1], np.float32) if caption.pooled is None else caption.pooled


def votes(neighbors: Neighborhood, labels: ConceptMatrix, count: int) -> np.ndarray:
    """The share of the nearest `count` images that have each concept, by their likeness: float32 [N, Q].

    Args:
        neighbors: the neighbors of N images.
        labels: of the M training images.
        count: K or fewer.
    """
    weights = np.maximum(neighbors.likeness[:, :count], 1e-6)  # left-out images are at -inf
    weights = weights / weights.sum(1, keepdims=True)
    theirs = labels.take(neighbors.rows[:, :count].ravel())
    shares = np.zeros((len(neighbors.rows), labels.width), np.float32)
    np.add.at(shares, (theirs.rows() // count, theirs.columns), weights.ravel()[theirs.rows()])
    return shares


def consensus(rows: np.ndarray, tokens: Sequence[Sequence[str]]) -> list[int]:
    """For each of N images the one of its neighbors whose caption agrees most with the others'.

    Agreement is the mean F1 of their n-grams of 1 to 4 words (Devlin et al. 2015, section 3, with F1 for BLEU); of
    equals, the nearest, and so of any two.

    Args:
        rows: of the neighbors, int64 [N, K], the nearest first.
        tokens: M captions, cut.
    """
    counted = {row: _ngrams(tokens[row]) for row in set(rows.ravel().tolist())}
    medoids = []
    for nearest in rows.tolist():
        agreement = np.zeros(len(nearest))
        for (i, row), (j, other) in combinations(enumerate(nearest), 2):
            agreement[[i, j]] += _f1(counted[row], counted[other])
        medoids.append(nearest[int(agreement.argmax())])
    return medoids


def thresholds_by_label(scores: np.ndarray, records: Sequence[Record], concepts: Sequence[str]) -> list[float]:
    """A threshold for each concept: a share of the way from that of all concepts, with the highest official F1, to the
    one of the concept's own highest F1. The share is chosen by cross-validation, so that 0 is one of the answers.

    Args:
        scores: float [N, Q].
        records: N validation records.
        concepts: the Q codes.
    """
    labels = ConceptMatrix.of(records, concepts).dense()
    fold = np.arange(len(records)) % _FOLDS
    values = np.zeros(len(SHARES))
    for held_out in range(min(_FOLDS, len(records))):
        fit, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        if not len(fit):
            continue
        usual, _ = best_threshold(scores[fit], [records[i] for i in fit], concepts)
        own = _own_thresholds(scores[fit], labels[fit], usual)
        f1 = official_f1([records[i] for i in test], concepts)
        values += [len(test) * f1(scores[test] >= usual + share * (own - usual)) for share in SHARES]
    usual, _ = best_threshold(scores, records, concepts)
    share = SHARES[int(np.argmax(values))]
    return (usual + share * (_own_thresholds(scores, labels, usual) - usual)).tolist()


def _own_thresholds(scores: np.ndarray, labels: np.ndarray, usual: float) -> np.ndarray:
    """The threshold of each concept's highest F1, float [Q]; `usual` for those that too few images have."""
    common = labels.sum(0) >= LEAST_TRUE
    return np.array([_best_cut(scores[:, q], labels[:, q]) if common[q] else usual for q in range(scores.shape[1])])


def named(scores: np.ndarray, thresholds: Sequence[float], concepts: Sequence[str]) -> list[list[str]]:
    """The concepts of each image whose score reaches their own threshold, the surest first."""
    least = np.array(thresholds)
    margins = (row - least for row in scores)
    return [[concepts[i] for i in np.argsort(-row, kind="stable") if row[i] >= 0] for row in margins]


def tune(
    captions: Sequence[Caption], records: Sequence[Record], datastore: Datastore, concepts: Sequence[str]
) -> Tuned:
    """Choose counts and thresholds by validation images that are no part of the datastore.

    Args:
        captions: what the model says of N validation images.
        records: of the same images.
        datastore: the training images.
        concepts: the run's Q codes.
    """
    neighbors = neighborhood(captions, datastore)
    counts = [count for count in COUNTS if count <= neighbors.rows.shape[1]]
    tokens = [official_tokens(record.caption) for record in datastore.records]
    references = [record.caption for record in records]

    def quality(count: int) -> float:
        generated = [datastore.records[row].caption for row in consensus(neighbors.rows[:, :count], tokens)]
        scores = caption_scores(references, generated)
        return scores["bleu_4"] + scores["cider"] / 10

    best_caption = max((count for count in counts if count <= MOST_AGREEING), key=quality)
    if not concepts:
        return Tuned(1, [], best_caption, [])
    labels = ConceptMatrix.of(datastore.records, concepts)
    shares = {count: votes(neighbors, labels, count) for count in counts}
    best = max(counts, key=lambda count: best_threshold(shares[count], records, concepts)[1])
    own = concept_strength(captions, len(concepts))
    return Tuned(
        best,
        thresholds_by_label(shares[best], records, concepts),
        best_caption,
        thresholds_by_label(own, records, concepts),
    )


def concept_strength(captions: Sequence[Caption], concepts: int) -> np.ndarray:
    """The captioner's scores of all concepts, float [N, Q]; zeros where it has none."""
    nothing = np.zeros(concepts)
    return np.stack([nothing if caption.concept_scores is None else caption.concept_scores for caption in captions])


def _ngrams(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, 5) for i in range(len(tokens) - n + 1))


def _f1(one: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    total = sum(one.values()) + sum(other.values())
    return 2 * sum((one & other).values()) / total if total else 1.0


def _best_cut(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold of one concept's highest F1, halfway between the scores that it parts: float [N], 0 or 1 [N]."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    hits = np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + labels.sum())
    # Equal scores are named together.
    f1[:-1][ranked[:-1] == ranked[1:]] = -1
    last = int(np.argmax(f1))
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return float((ranked[last] + below) / 2)
