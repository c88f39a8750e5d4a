"""Dropout whose state is a weight, so that a run killed and resumed draws the masks it would have drawn.

Keras keeps its generators out of checkpoints and TensorFlow's stateful kernels hide theirs; neither can be resumed.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class CountedDropout(keras.layers.Layer):
    """Dropout (Srivastava et al. 2014) seeded by (`seed`, number of training calls so far)."""

    def __init__(self, rate: float, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: Any) -> None:
        """Create the counter: int32 []."""
        self.calls = self.add_weight(
            name="calls",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """float [...] -> float [...], the same shape; unchanged outside training."""
        if not training or self.rate == 0:
            return inputs
        masked = tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=[self.seed, self.calls])
        self.calls.assign_add(1)
        return masked

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
