"""How Python functions become TensorFlow graphs."""

from __future__ import annotations

import functools

import tensorflow as tf

# Loops and conditions over tensors are written out (`tf.while_loop`, `tf.cond`), so that AutoGraph, which rewrites the
# source of every function that is called, would find nothing to rewrite: a sixth of the time until a first caption.
graph_function = functools.partial(tf.function, autograph=False)
