"""Bahdanau attention, the one layer that reads regions (decoder) and words (semantic encoder).

Axes: B images, Q queries, P places attended to (regions or words), A attention units, D query width, U value width.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("medcap_tf")
class BahdanauAttention(keras.layers.Layer):
    """Additive attention (Bahdanau et al. 2015, appendix A.1.2): score(q, k) = v . tanh(W q + k).

    Keys come already projected, so that a search over many steps projects an image's regions once; they are kept per
    image and shared by its Q queries (its beams, or the positions of its caption).
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.query_projection = keras.layers.Dense(units, name="query", dtype=self.dtype_policy)
        self.score = keras.layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)

    def call(
        self, query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, visible: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attend.

        Args:
            query: float [B, Q, D].
            keys: float [B, P, A], projected.
            values: float [B, P, U].
            visible: bool [B, Q, P] or [B, 1, P], the places that a query may see; None: all.

        Returns:
            context float [B, Q, U], and weights float32 [B, Q, P] that sum to 1 over the visible places. A query that
            sees nothing gets weights and context of zero.
        """
        query = self.query_projection(query)
        scores = tf.squeeze(self.score(tf.nn.tanh(query[:, :, None] + keys[:, None])), -1)
        scores = tf.cast(scores, tf.float32)
        if visible is None:
            weights = tf.nn.softmax(scores)
        else:
            seen = tf.cast(visible, tf.float32)
            # -1e9 rather than -inf: a row that sees nothing stays finite, and the product clears it.
            weights = tf.nn.softmax(tf.where(visible, scores, -1e9)) * seen
        return tf.matmul(tf.cast(weights, values.dtype), values), weights

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "units": self.units}
