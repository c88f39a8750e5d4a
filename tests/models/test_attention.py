"""Additive attention on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.models.attention import BahdanauAttention


@pytest.fixture
def layer():
    """One attention unit, W = 1, b = 0, v = 2: score = 2 tanh(q + k)."""
    layer = BahdanauAttention(1)
    layer(tf.zeros([1, 1, 1]), tf.zeros([1, 2, 1]), tf.zeros([1, 2, 1]))
    layer.set_weights([np.ones((1, 1)), np.zeros(1), np.full((1, 1), 2.0)])
    return layer


def test_weights_follow_the_equation(layer):
    query, keys = tf.constant([[[0.5]]]), tf.constant([[[0.0], [-1.0], [2.0]]])
    values = tf.constant([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    context, weights = layer(query, keys, values)
    scores = 2 * np.tanh(0.5 + np.array([0.0, -1.0, 2.0]))
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(weights[0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(context[0, 0], expected @ np.array([[1, 0], [0, 1], [5, 5]]), rtol=1e-5)


def test_hidden_places_get_nothing_and_a_blind_query_nothing_at_all(layer):
    query, keys, values = tf.zeros([1, 2, 1]), tf.zeros([1, 3, 1]), tf.ones([1, 3, 4])
    visible = tf.constant([[[True, False, True], [False, False, False]]])
    context, weights = layer(query, keys, values, visible=visible)
    np.testing.assert_allclose(weights[0], [[0.5, 0, 0.5], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(context[0, 1], np.zeros(4))


def test_weights_stay_float32_in_mixed_precision():
    layer = BahdanauAttention(4, dtype="mixed_float16")
    context, weights = layer(tf.ones([2, 1, 3]), tf.ones([2, 5, 4], tf.float16), tf.ones([2, 5, 6], tf.float16))
    assert weights.dtype == tf.float32
    assert context.dtype == tf.float16
