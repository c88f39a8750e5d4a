"""What every score stands beside: popular words without a look at the image, and similar training images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.records import Record
from medcap_tf.evaluation.metrics import concept_f1
from medcap_tf.text import Normalizer

_QUERIES, _BLOCK = 1024, 8192  # of so many rows at a time, so that no matrix is large

POPULAR_WORDS = 10
"""How many words the image-blind baseline says, close to the mean length of a normalized caption."""


def popular_words(captions: Sequence[str], count: int = POPULAR_WORDS) -> str:
    """The caption of the image-blind baseline: the most frequent words of the training captions, most frequent first.

    Stop words are not counted: the official score deletes them.
    """
    normalizer = Normalizer(stemmer="none")
    counts = Counter(word for caption in captions for word in normalizer.stems(caption))
    return " ".join(sorted(counts, key=lambda word: (-counts[word], word))[:count])


def popular_concepts(records: Sequence[Record]) -> tuple[str, ...]:
    """The image-blind concepts: as many of the most frequent ones as score best on the training records themselves."""
    truth = [record.concepts for record in records]
    counts = Counter(concept for concepts in truth for concept in concepts)
    ranked = sorted(counts, key=lambda concept: (-counts[concept], concept))[:20]
    if not ranked:
        return ()
    scores = [concept_f1(truth, [ranked[:k]] * len(truth)) for k in range(1, len(ranked) + 1)]
    return tuple(ranked[: 1 + int(np.argmax(scores))])


def nearest(
    queries: np.ndarray, datastore: np.ndarray, own: np.ndarray | None = None, contents: np.ndarray | None = None
) -> np.ndarray:
    """Row of the datastore most similar to each query, int64 [N]; see `neighbors`."""
    return find_neighbors(queries, datastore, 1, own, contents)[0][:, 0]


def find_neighbors(
    queries: np.ndarray,
    datastore: np.ndarray,
    count: int,
    own: np.ndarray | None = None,
    contents: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the datastore most similar to each query, int64 [N, count], the first most, and how similar they are.

    Args:
        queries: float [N, C].
        datastore: float [M, C].
        count: at most M.
        own: int [N]; rows whose number in `contents` is a query's own are left out: they come last, at -inf.
        contents: int [M].
    """
    unit, total = _unit_roots(queries), len(queries)
    best, rows = np.full((total, count), -np.inf, np.float32), np.zeros((total, count), np.int64)
    for first in range(0, len(datastore), _BLOCK):
        block = _unit_roots(datastore[first : first + _BLOCK]).T
        for start in range(0, total, _QUERIES):
            some = slice(start, min(start + _QUERIES, total))
            likeness = unit[some] @ block
            if own is not None and contents is not None:
                likeness[own[some, None] == contents[None, first : first + _BLOCK]] = -np.inf
            found = _highest(likeness, count)
            # Stable, so that of equals the first row is the nearest, as everywhere.
            values = np.hstack([best[some], np.take_along_axis(likeness, found, 1)])
            order = np.argsort(-values, axis=1, kind="stable")[:, :count]
            best[some] = np.take_along_axis(values, order, 1)
            rows[some] = np.take_along_axis(np.hstack([rows[some], first + found]), order, 1)
    return rows, best


def _highest(likeness: np.ndarray, count: int) -> np.ndarray:
    """The columns of each row's highest values, ascending: float [N, B] -> int64 [N, at most count]."""
    if count == 1:
        return likeness.argmax(1)[:, None]
    if count >= likeness.shape[1]:
        return np.broadcast_to(np.arange(likeness.shape[1]), likeness.shape)
    return np.sort(np.argpartition(-likeness, count - 1, axis=1)[:, :count], axis=1)


def similarity(queries: np.ndarray, datastore: np.ndarray) -> np.ndarray:
    """Cosine of the square roots, as `retrieval.Retriever` compares: float [N, C], float [M, C] -> float32 [N, M]."""
    return _unit_roots(queries) @ _unit_roots(datastore).T


def _unit_roots(rows: np.ndarray) -> np.ndarray:
    roots = np.sqrt(np.maximum(rows.astype(np.float32), 0))
    return roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-9)


def best_threshold(scores: np.ndarray, records: Sequence[Record], concepts: Sequence[str]) -> tuple[float, float]:
    """The threshold of float32 [N, K] concept scores with the highest official F1, and that F1.

    True concepts that are not among the learned ones count as missed.
    """
    if not any(record.concepts for record in records):
        return 0.5, 0.0
    candidates = np.arange(0.02, 0.98, 0.02)
    f1 = official_f1(records, concepts)
    values = [f1(scores >= threshold) for threshold in candidates]
    return float(candidates[int(np.argmax(values))]), max(values)


def official_f1(records: Sequence[Record], concepts: Sequence[str]) -> Callable[[np.ndarray], float]:
    """The official F1 of N records as a function of which of the K concepts are named, bool [N, K]."""
    learned = ConceptMatrix.of(records, concepts)
    rows = learned.rows()
    truth = np.array([len({concept.upper() for concept in record.concepts}) for record in records])
    counted = truth > 0

    def f1(named: np.ndarray) -> float:
        hits = np.bincount(rows[named[rows, learned.columns]], minlength=len(records))
        values = 2 * hits / np.maximum(np.count_nonzero(named, axis=1) + truth, 1)
        return float(values[counted].mean()) if counted.any() else 0.0

    return f1
