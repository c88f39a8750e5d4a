"""Baselines with answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.data.records import Record
from medcap_tf.evaluation import baselines
from medcap_tf.evaluation.baselines import nearest, popular_concepts, popular_words, similarity


def record(*concepts):
    return Record("id", None, "caption", concepts)


def test_popular_words_leave_stop_words_out():
    captions = ["CT of the chest", "CT of the brain", "the chest of the chest"]
    assert popular_words(captions, 2) == "chest ct"


def test_popular_concepts_are_as_many_as_score_best():
    # A alone: (1 + 1 + 0) / 3; A and B: (2/3 + 2/3 + 2/3) / 3, equal; A, B and C are worse.
    records = [record("A"), record("A"), record("B")]
    assert popular_concepts(records) == ("A",)
    assert popular_concepts([record("A", "B"), record("B", "A")]) == ("A", "B")
    assert popular_concepts([record()]) == ()


def test_nearest_is_by_angle():
    datastore = np.array([[10.0, 0], [1, 1], [0, 0.1]])
    queries = np.array([[1.0, 0.1], [0, 9], [2, 2]])
    assert nearest(queries, datastore).tolist() == [0, 2, 1]
    own, contents = np.array([4, 7, -1], np.int32), np.array([4, 5, 7], np.int32)
    assert nearest(queries, datastore, own, contents).tolist() == [1, 1, 1]


def test_nearest_in_blocks_is_nearest_in_all(monkeypatch):
    rng = np.random.default_rng(0)
    queries, datastore = rng.uniform(size=(7, 5)).astype(np.float16), rng.uniform(size=(23, 5)).astype(np.float16)
    datastore[20] = datastore[3]  # of equals the first
    queries[0] = datastore[3]
    expected = similarity(queries, datastore).argmax(1)
    monkeypatch.setattr(baselines, "_QUERIES", 3)
    monkeypatch.setattr(baselines, "_BLOCK", 4)
    found = nearest(queries, datastore)
    assert found.tolist() == expected.tolist() and found[0] == 3
    assert nearest(queries, datastore, np.arange(7), np.array([0] * 23)).tolist()[0] == 0  # all of it is its own


def test_similarity_is_the_cosine_of_square_roots():
    # Roots (3, 4) and (4, 3), (1, 0): 24 / 25 and 3 / 5; what is below 0 counts as 0.
    found = similarity(np.array([[9.0, 16.0]]), np.array([[16.0, 9.0], [1.0, -2.0], [0.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([24 / 25, 3 / 5, 0])
