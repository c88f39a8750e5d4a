"""Arrays in messages and back, without TensorFlow being loaded."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.serving.protos import from_proto, to_proto
from tests.conftest import run_command

ARRAYS = [
    np.array([[1.5, -2.0]], np.float32),
    np.zeros((0, 3), np.float32),
    np.array([3, -4], np.int32),
    np.array([2**40], np.int64),
    np.array([True, False]),
    np.array([[b"a", b""], [b"\xff\0", "é".encode()]], object),
    np.zeros((0,), object),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_arrays_come_back_and_tensorflow_reads_them(array):
    proto = to_proto(array)
    np.testing.assert_array_equal(from_proto(proto), array)
    assert from_proto(proto).dtype == array.dtype
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)


def test_zero_bytes_at_the_end_of_a_file_are_kept():
    assert from_proto(to_proto(np.array([b"one\0"], object))).tolist() == [b"one\0"]


@pytest.mark.parametrize("array", ARRAYS[:5], ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_what_tensorflow_writes_is_read(array):
    np.testing.assert_array_equal(from_proto(tf.make_tensor_proto(array)), array)
    np.testing.assert_array_equal(from_proto(tf.make_tensor_proto(7.0, tf.float32, [2, 2])), np.full((2, 2), 7.0))


def test_neither_client_nor_loader_load_tensorflow():
    code = (
        "import sys; from medcap_tf.serving import client, capi;"
        "client.connect('grpc://localhost:1', client.Options());"
        "print([m for m in sys.modules if m in ('tensorflow', 'keras') or m.startswith('tensorflow.python')])"
    )
    assert run_command("-c", code).stdout.strip() == "[]"
