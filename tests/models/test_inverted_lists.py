"""Inverted lists beside a search of all rows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.models.inverted_lists import RECALL, Lists, ListSearch, build_lists, load_lists, save_lists


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clustered(count=2000, channels=24, clusters=40):
    """Rows around random centers, as images of a few kinds are."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(size=(clusters, channels))
    return unit(np.maximum(centers[rng.integers(clusters, size=count)] + rng.normal(0, 0.1, (count, channels)), 0))


def search(rows, lists, contents=None):
    return ListSearch(rows, lists, np.arange(len(rows)) if contents is None else contents)


def test_a_search_of_all_lists_is_exact_but_for_its_bytes():
    rows = clustered(500)
    lists = build_lists(rows)
    everything = lists._replace(probes=len(lists.centroids))
    queries = rows[:20].astype(np.float32)
    similarity, found = search(rows, everything).nearest(tf.constant(queries), 10, None, -1e9)
    true = np.sort(queries @ rows.T, axis=1)[:, ::-1][:, :10]
    np.testing.assert_allclose(similarity, true, atol=4e-3)
    assert found.numpy()[:, 0].tolist() == list(range(20))  # each its own nearest


def test_lists_hold_every_row_once_and_find_enough_of_the_nearest():
    rows = clustered()
    lists = build_lists(rows)
    assert sorted(lists.rows.tolist()) == list(range(len(rows)))
    assert lists.recall >= RECALL and lists.probes < len(lists.centroids) / 2
    queries = rows[::50].astype(np.float32)
    _, found = search(rows, lists).nearest(tf.constant(queries), 32, None, -1e9)
    true = np.argsort(-(queries @ rows.T), axis=1)[:, :32]
    shared = np.mean([len(set(a) & set(b)) / 32 for a, b in zip(found.numpy().tolist(), true.tolist())])
    assert shared > RECALL - 0.05
    again = build_lists(rows)
    assert all(np.array_equal(one, other) for one, other in zip(lists, again))


def test_small_lists_and_images_of_the_query_itself():
    """Two lists, of rows 0 and 2, and of row 1."""
    rows = np.array([[1.0, 0], [0, 1], [0.8, 0.6]])
    lists = Lists(np.array([[1.0, 0], [0, 1]], np.float32), np.array([0, 2, 1], np.int32), np.array([0, 2, 3]), 1, 1.0)
    made = search(rows, lists, contents=np.array([7, 8, 9]))
    queries = tf.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    similarity, found = made.nearest(queries, 2, tf.constant([-1, -1, 7]), -1e9)
    np.testing.assert_allclose(similarity[0], [1, 0.8], atol=4e-3)
    assert found.numpy()[0].tolist() == [0, 2]
    assert found.numpy()[1, 0] == 1 and similarity.numpy()[1, 1] == np.float32(-1e9)  # nothing else is in its list
    assert found.numpy()[2, 0] == 2 and similarity.numpy()[2, 1] == np.float32(-1e9)  # row 0 is the query's own image


def test_lists_are_read_as_they_were_written(tmp_path):
    lists = build_lists(clustered(200))
    save_lists(lists, tmp_path / "lists.npz")
    read = load_lists(tmp_path / "lists.npz", 200)
    assert all(np.array_equal(one, other) for one, other in zip(lists, read)) and isinstance(read.probes, int)
    assert load_lists(tmp_path / "none.npz", 200) is None
    with pytest.raises(InputError, match=r"lists\.npz: cannot be used \(of 200 images where there are 201\)"):
        load_lists(tmp_path / "lists.npz", 201)
    (tmp_path / "lists.npz").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"lists\.npz: cannot be used \(.+\); finish the run again"):
        load_lists(tmp_path / "lists.npz", 200)
