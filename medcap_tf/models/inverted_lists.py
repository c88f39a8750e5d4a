"""Nearest neighbors among more training images than can all be looked at: inverted lists of quantized rows.

Rows are unit vectors, grouped around centroids (spherical k-means); a query looks into the lists of its nearest
centroids alone (inverted files; Sivic and Zisserman 2003), whose rows are kept in bytes. So of 1,000,000 images about
one in a hundred is compared, and they take a quarter of the memory. Stock operations: an export holds all of it.

Axes: B queries, C channels, M rows, N neighbors, G lists, P lists that a query looks into, R rows of these.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.files import whole_file

EXACT = 100_000  # rows up to which all of them are compared: 0.2 GFLOP a query of 1,024 channels
RECALL = 0.95  # of the true neighbors that the lists have to find
_SAMPLE = 64  # rows a list that its centroid is learned from
_ROUNDS = 8  # of k-means
_BLOCK = 8192  # rows at a time
_TRIED = 256  # rows that recall is measured on
_NEIGHBORS = 32  # of each


class Lists(NamedTuple):
    """Which rows lie around which centroid, and how many lists a query has to look into."""

    centroids: np.ndarray  # float32 [G, C], unit vectors
    rows: np.ndarray  # int32 [M], list after list
    ends: np.ndarray  # int64 [G + 1]; list g has rows[ends[g] : ends[g + 1]]
    probes: int  # P
    recall: float  # of the 32 nearest, measured on some of the rows


def build_lists(rows: np.ndarray, seed: int = 0) -> Lists:
    """Group unit rows float [M, C]; looks into as many lists as RECALL takes. Minutes at 1,000,000 rows."""
    rng, count = np.random.default_rng(seed), len(rows)
    groups = max(1, 2 * round(count**0.5))
    sample = rows[np.sort(rng.permutation(count)[: _SAMPLE * groups])].astype(np.float32)
    centroids = sample[rng.permutation(len(sample))[:groups]]
    for _ in range(_ROUNDS):
        own = _nearest_centroid(sample, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, own, sample)
        empty = np.bincount(own, minlength=groups) == 0
        sums[empty] = sample[rng.integers(len(sample), size=int(empty.sum()))]
        centroids = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    own = _nearest_centroid(rows, centroids)
    ends = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=groups))])
    lists = Lists(centroids, np.argsort(own, kind="stable").astype(np.int32), ends, 1, 0.0)
    return _with_recall(lists, rows, own, rng.permutation(count)[:_TRIED])


def save_lists(lists: Lists, path: Path) -> None:
    """Write what `load_lists` reads, atomically."""
    with whole_file(path) as file:
        np.savez(file, **lists._asdict())


def load_lists(path: Path, count: int) -> Lists | None:
    """The lists of a datastore of so many rows; None where there are none.

    Raises:
        InputError: the file is damaged, or of another datastore.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path) as values:
            lists = Lists(*(values[name] for name in Lists._fields))
        if len(lists.rows) == count == lists.ends[-1]:
            return lists._replace(probes=int(lists.probes), recall=float(lists.recall))
        fault = f"of {len(lists.rows)} images where there are {count}"
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        fault = str(error)
    raise InputError(f"{path}: cannot be used ({fault}); finish the run again by train.py --resume")


def _nearest_centroid(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    blocks = (rows[start : start + _BLOCK].astype(np.float32) for start in range(0, len(rows), _BLOCK))
    return np.concatenate([(block @ centroids.T).argmax(1) for block in blocks])


def _with_recall(lists: Lists, rows: np.ndarray, own: np.ndarray, tried: np.ndarray) -> Lists:
    """Twice as many lists, until enough of the true neighbors of some rows lie in them."""
    queries = rows[tried].astype(np.float32)
    true = _exact_neighbors(queries, rows)
    # The place, in the order of a query's lists, of the list that holds each true neighbor.
    order = np.argsort(-(queries @ lists.centroids.T), axis=1)
    places = np.argsort(order, axis=1)[np.arange(len(tried))[:, None], own[true]]
    probes = 1
    while (recall := float((places < probes).mean())) < RECALL:
        probes *= 2
    return lists._replace(probes=min(probes, len(lists.centroids)), recall=recall)


def _exact_neighbors(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 [B, N], of all rows."""
    best, found = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(rows), _BLOCK):
        likeness = queries @ rows[start : start + _BLOCK].astype(np.float32).T
        best = np.concatenate([best, likeness], 1)
        found = np.concatenate([found, np.broadcast_to(np.arange(likeness.shape[1]) + start, likeness.shape)], 1)
        kept = np.argsort(-best, axis=1, kind="stable")[:, :_NEIGHBORS]
        best, found = np.take_along_axis(best, kept, 1), np.take_along_axis(found, kept, 1)
    return found


class ListSearch(tf.Module):
    """The search itself, over rows in bytes."""

    def __init__(self, rows: np.ndarray, lists: Lists, contents: np.ndarray):
        """Of unit rows float [M, C]; `contents` int32 [M] is a number for what each shows."""
        super().__init__()
        self._probes = lists.probes
        codes, scales = np.zeros(rows.shape, np.int8), np.zeros(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = rows[lists.rows[start : start + _BLOCK]].astype(np.float32)
            scale = np.maximum(np.abs(block).max(1), 1e-9) / 127
            codes[start : start + _BLOCK] = np.rint(block / scale[:, None])
            scales[start : start + _BLOCK] = scale
        self._codes, self._scales = _fixed(codes, "codes"), _fixed(scales, "scales")
        self._centroids, self._ends = _fixed(lists.centroids, "centroids"), _fixed(lists.ends, "ends")
        self._rows = _fixed(lists.rows, "list_rows")
        self._contents = _fixed(contents[lists.rows].astype(np.int32), "list_contents")

    def nearest(
        self, queries: tf.Tensor, count: int, own: tf.Tensor | None, never: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Unit queries float32 [B, C] -> similarities float32 and rows int32 [B, N], the most similar first.

        Where the lists hold fewer than N rows, the rest has the similarity `never`, as have rows whose number in
        `contents` is the query's in `own` int32 [B].
        """
        lists = tf.math.top_k(tf.matmul(queries, self._centroids, transpose_b=True), self._probes).indices
        own = tf.fill(tf.shape(queries)[:1], -1) if own is None else own

        def one(values: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            query, probed, number = values
            places = tf.ragged.range(tf.gather(self._ends, probed), tf.gather(self._ends, probed + 1)).flat_values
            codes = tf.cast(tf.gather(self._codes, places), tf.float32)
            similarity = tf.linalg.matvec(codes, query) * tf.gather(self._scales, places)
            similarity = tf.where(tf.gather(self._contents, places) == number, never, similarity)
            missing = tf.maximum(0, count - tf.size(places))
            similarity = tf.pad(similarity, [[0, missing]], constant_values=never)
            best = tf.math.top_k(similarity, count)
            return best.values, tf.gather(tf.pad(tf.gather(self._rows, places), [[0, missing]]), best.indices)

        signature = (tf.TensorSpec([count], tf.float32), tf.TensorSpec([count], tf.int32))
        return tf.map_fn(one, (queries, lists, own), fn_output_signature=signature)


def _fixed(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)
