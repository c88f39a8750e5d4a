"""Both readers and images harmed at random: no crash, no neighbor harmed, no two views of one file.

A short run of what `benchmarks/fuzz_images.py` does at length.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medcap_tf.serving import pixels
from tests.data.image_files import draw
from tests.data.image_mutations import SIZE, check_batch, mutate

pytest.importorskip("pydicom")
SETTINGS = settings(
    max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def read():
    files = tf.TensorSpec([None], tf.string)
    graph = tf.function(lambda files: pixels.read_images(files, SIZE), input_signature=[files])
    return lambda files: [value.numpy() for value in graph(tf.constant(files, tf.string, [len(files)]))]


def test_harmed_images(read):
    good = draw("PNG", np.random.default_rng(0)).data

    @SETTINGS
    @given(st.integers(0, 2**32 - 9), st.integers(0, 8))
    def check(seed, place):
        check_batch([mutate(seed + case) for case in range(8)], read, good, place)

    check()
