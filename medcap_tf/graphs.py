"""How Python functions become TensorFlow graphs, and how data sets run beside them."""

from __future__ import annotations

import functools

import tensorflow as tf

# Loops and conditions over tensors are written out (`tf.while_loop`, `tf.cond`), so that AutoGraph, which rewrites the
# source of every function that is called, would find nothing to rewrite: a sixth of the time until a first caption.
graph_function = functools.partial(tf.function, autograph=False)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The data set without tf.data's tuning thread, which has nothing to tune where every number is given.

    An iterator's end may miss that thread (in TensorFlow 2.15 it is woken just before it is told to end) and then waits
    for its next turn: after 10, 20, 40, ... milliseconds, up to a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
