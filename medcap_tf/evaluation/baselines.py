"""What every score stands beside: popular words without a look at the image, and the nearest training image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

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
    """Row of the datastore most similar to each query: float [N, C], float [M, C] -> int64 [N].

    Rows whose number in `contents` int [M] is the query's in `own` int [N] are left out.
    """
    unit, count = _unit_roots(queries), len(queries)
    best, rows = np.full(count, -np.inf, np.float32), np.zeros(count, np.int64)
    for first in range(0, len(datastore), _BLOCK):
        block = _unit_roots(datastore[first : first + _BLOCK]).T
        for start in range(0, count, _QUERIES):
            some = slice(start, min(start + _QUERIES, count))
            likeness = unit[some] @ block
            if own is not None and contents is not None:
                likeness[own[some, None] == contents[None, first : first + _BLOCK]] = -np.inf
            found = likeness.argmax(1)
            values = likeness[np.arange(len(found)), found]
            nearer = values > best[some]  # of equals the first, as everywhere
            best[some], rows[some] = np.where(nearer, values, best[some]), np.where(nearer, first + found, rows[some])
    return rows


def similarity(queries: np.ndarray, datastore: np.ndarray) -> np.ndarray:
    """Cosine of the square roots, as `retrieval.Retriever` compares: float [N, C], float [M, C] -> float32 [N, M]."""
    return _unit_roots(queries) @ _unit_roots(datastore).T


def _unit_roots(rows: np.ndarray) -> np.ndarray:
    roots = np.sqrt(np.maximum(rows.astype(np.float32), 0))
    return roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-9)
