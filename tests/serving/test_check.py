"""What must not be served is refused, by name."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.serving.check import Request, compare, require_stock_ops
from medcap_tf.serving.protos import message_module


def saved(folder, call):
    """A SavedModel of one function float32 [B] -> {"y": float32 [B]}."""
    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder


def in_python(x):
    return {"y": tf.ensure_shape(tf.numpy_function(lambda v: v * 2, [x], tf.float32), [None])}


def by_xla(x):
    return {"y": tf.function(lambda v: v * 2, jit_compile=True)(x)}


def in_a_branch(x):
    return {"y": tf.cond(tf.size(x) > 3, lambda: in_python(x)["y"], lambda: x)}


@pytest.mark.parametrize(
    ("call", "message"),
    [(in_python, "PyFunc.*calls Python"), (by_xla, "asks for XLA"), (in_a_branch, "PyFunc.*calls Python")],
)
def test_python_and_xla_are_refused(tmp_path, call, message):
    with pytest.raises(InputError, match=message):
        require_stock_ops(saved(tmp_path, call))


def test_operations_of_other_packages_are_refused(tmp_path):
    saved(tmp_path, lambda x: {"y": x * 2})
    require_stock_ops(tmp_path)
    path = tmp_path / "saved_model.pb"
    message = message_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel.FromString(path.read_bytes())
    message.meta_graphs[0].graph_def.library.function[0].node_def.add(op="Addons>GatherTree", name="tree")
    path.write_bytes(message.SerializeToString())
    with pytest.raises(InputError, match="Addons>GatherTree.*belongs to the package Addons"):
        require_stock_ops(tmp_path)


@pytest.mark.slow
def test_answers_are_held_against_the_loader_of_the_server(tmp_path):
    saved(tmp_path, lambda x: {"y": x * 2})
    requests = [Request("serving_default", {"x": np.arange(count, dtype=np.float32)}) for count in (0, 3)]
    right = [{"y": request.inputs["x"] * 2} for request in requests]
    compare(tmp_path, requests, right, 1e-3)
    wrong = [right[0], {"y": right[1]["y"] + 0.1}]
    with pytest.raises(InputError, match="serving_default: y .* is not what the model in memory gives"):
        compare(tmp_path, requests, wrong, 1e-3)
    with pytest.raises(InputError, match="no signature 'other'"):
        compare(tmp_path, [Request("other", {})], right, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("call", [in_python, by_xla])
def test_the_loader_refuses_them_as_the_server_does(tmp_path, call):
    request = Request("serving_default", {"x": np.ones(2, np.float32)})
    with pytest.raises(InputError, match="fails where TensorFlow Serving would run it"):
        compare(saved(tmp_path, call), [request], [{"y": np.ones(2, np.float32)}], 1e-3)
