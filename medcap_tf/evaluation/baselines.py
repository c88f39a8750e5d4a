"""What every score stands beside: popular words without a look at the image, and the nearest training image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medcap_tf.data.records import Record
from medcap_tf.evaluation.metrics import concept_f1
from medcap_tf.text import Normalizer

_CHUNK = 512  # queries compared with the whole datastore at once

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
    rows = []
    for start in range(0, len(queries), _CHUNK):
        likeness = similarity(queries[start : start + _CHUNK], datastore)
        if own is not None:
            likeness[own[start : start + _CHUNK, None] == contents] = -np.inf
        rows.append(likeness.argmax(1))
    return np.concatenate(rows)


def similarity(queries: np.ndarray, datastore: np.ndarray) -> np.ndarray:
    """Cosine of the square roots, as `retrieval.Retriever` compares: float [N, C], float [M, C] -> float32 [N, M]."""
    roots = [np.sqrt(np.maximum(x.astype(np.float32), 0)) for x in (queries, datastore)]
    one, other = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in roots)
    return one @ other.T
