"""How Python functions become TensorFlow graphs, and how data sets run beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Loops and conditions over tensors are written out (`tf.while_loop`, `tf.cond`), so that AutoGraph, which rewrites the
# source of every function that is called, would find nothing to rewrite: a sixth of the time until a first caption.
# Keras asks for it again for each layer of our own unless the caller has said so.
as_written: Callable[[_Function], _Function] = tf.autograph.experimental.do_not_convert


def graph_function(function: Any = None, **options: Any) -> Any:
    """`tf.function`, and as a decorator too, without AutoGraph."""
    if function is None:
        return functools.partial(graph_function, **options)
    return tf.function(as_written(function), autograph=False, **options)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The data set without tf.data's tuning thread, which has nothing to tune where every number is given.

    An iterator's end may miss that thread (in TensorFlow 2.15 it is woken just before it is told to end) and then waits
    for its next turn: after 10, 20, 40, ... milliseconds, up to a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
