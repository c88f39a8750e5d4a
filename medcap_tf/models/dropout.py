"""Dropout whose state is a weight, so that a run killed and resumed draws the masks it would have drawn.

Keras keeps its generators out of checkpoints and TensorFlow's stateful kernels hide theirs; neither can be resumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

_PLACES, _SEEDS = 1000, 1 << 40  # layers of a captioner, and seeds of a run, that are kept distinct
_REPLICA = 1 << 50  # above any seed of a layer


@keras.saving.register_keras_serializable("medcap_tf")
class ResumableDropout(keras.layers.Layer):
    """Dropout (Srivastava et al. 2014) seeded by the run's seed, the layer's own `seed`, the replica, and the number of
    training calls so far."""

    def __init__(self, rate: float, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate, self.seed, self.run_seed = rate, seed, 0

    def build(self, input_shape: Any) -> None:
        """Create the counter: int64 []. TensorFlow keeps int32 variables off GPUs, where XLA does not reach them."""
        self.calls = self.add_weight(
            name="calls",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """float [...] -> float [...], the same shape; unchanged outside training."""
        if not training or self.rate == 0:
            return inputs
        seed = (self.run_seed % _SEEDS) * _PLACES + self.seed
        pair = tf.stack([seed + replica_seed(), self.calls])
        masked = tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=pair)
        self.calls.assign_add(1)
        return masked

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def seed_dropout(models: Iterable[keras.Model], seed: int) -> None:
    """Give every such layer of the models, nested ones too, the seed of the run; before anything is traced."""
    for model in models:
        for layer in model.submodules:
            if isinstance(layer, ResumableDropout):
                layer.run_seed = seed


def replica_seed() -> tf.Tensor:
    """int64 [], what to add to a seed so that each of the replicas that share a step draws its own; 0 for the first."""
    context = tf.distribute.get_replica_context()
    return tf.cast(context.replica_id_in_sync_group if context else 0, tf.int64) * _REPLICA
