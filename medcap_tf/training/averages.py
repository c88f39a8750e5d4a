"""An exponential moving average of the weights while they train: steadier than they are, and better from early on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow as tf


class WeightAverage(tf.Module):
    """The average, over steps, of all that modules compute with (Polyak & Juditsky 1992), batch normalization's own
    statistics with it.

    It decays by min(decay, (1 + n) / (10 + n)) in step n, so that where training began is forgotten soon.
    """

    def __init__(self, modules: Iterable[tf.Module], decay: float):
        """It begins with the weights as they are."""
        super().__init__()
        self._weights = [weight for module in modules for weight in module.variables if weight.dtype.is_floating]
        self._decay = decay
        self._averages = [tf.Variable(tf.identity(weight), trainable=False) for weight in self._weights]
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def update(self) -> None:
        """After a step, in its graph."""
        done = tf.cast(self._steps.assign_add(1), tf.float32)
        kept = tf.minimum(self._decay, (1 + done) / (10 + done))
        for average, weight in zip(self._averages, self._weights):
            average.assign(kept * average + (1 - kept) * weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The modules compute with the average inside this block, and go on from their own weights after it."""
        own = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self._averages):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own):
                weight.assign(value)
