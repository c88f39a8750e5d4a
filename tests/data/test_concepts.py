"""Concepts by their columns, on a matrix written down."""

from __future__ import annotations

import numpy as np

from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.records import Record

CODES = [("B", "A"), (), ("C", "X"), ("A", "C", "A")]
DENSE = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1]]


def matrix():
    return ConceptMatrix.of([Record(str(i), None, "text", codes) for i, codes in enumerate(CODES)], ["A", "B", "C"])


def test_ones_stand_where_a_record_has_the_concept():
    made = matrix()
    assert made.dense().tolist() == DENSE and made.dense().dtype == np.float32
    assert len(made) == 4 and made.counts().tolist() == [2, 0, 1, 2]
    assert made.padded().tolist() == [[0, 1], [-1, -1], [2, -1], [0, 2]]
    np.testing.assert_array_equal(made.frequencies(), np.mean(DENSE, 0, dtype=np.float32))


def test_rows_are_taken_in_any_order():
    taken = matrix().take(np.array([3, 1, 0, 3]))
    assert taken.dense().tolist() == [DENSE[3], DENSE[1], DENSE[0], DENSE[3]]
    assert taken.take(np.array([], np.int64)).dense().shape == (0, 3)


def test_data_without_concepts_has_a_matrix_without_columns():
    made = ConceptMatrix.of([Record("a", None, "text", ("A",))], [])
    assert made.dense().shape == (1, 0) and made.padded().tolist() == [[-1]]
