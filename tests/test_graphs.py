"""How Python functions become graphs."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from medcap_tf.graphs import graph_function


class Branching(keras.layers.Layer):
    def call(self, inputs):
        return inputs if tf.reduce_sum(inputs) > 0 else -inputs


def test_nothing_is_rewritten_by_autograph_layers_neither():
    assert tf.function(Branching())(-tf.ones([2])).numpy().tolist() == [1, 1]
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        graph_function(lambda x: Branching()(x))(-tf.ones([2]))


def test_it_is_a_decorator_too():
    @graph_function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def double(x):
        return x * 2

    assert double(tf.ones([3])).numpy().tolist() == [2, 2, 2]
