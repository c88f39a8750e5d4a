"""Requests that a server runs on itself before it takes a model version into service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from medcap_tf.serving.protos import message_module, to_proto

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def write_warmup(folder: Path, model: str, inputs: Mapping[str, tuple[str, np.ndarray]], sizes: Sequence[int]) -> Path:
    """Write `assets.extra/tf_serving_warmup_requests`: a request for each signature and batch size.

    Args:
        folder: the version's folder.
        model: the name it will be served under.
        inputs: signature -> its input's name and an array of one row.
        sizes: batch sizes.
    """
    messages = message_module("tensorflow_serving.apis.prediction_log_pb2")
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sizes:
            for signature, (name, row) in inputs.items():
                log = messages.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = model, signature
                request.inputs[name].CopyFrom(_repeated(row, size))
                writer.write(log.SerializeToString())
    return path


def _repeated(row: np.ndarray, size: int) -> object:
    """A TensorProto of `size` equal rows; one number stands for a whole array of it."""
    if row.dtype == object:
        return to_proto(np.repeat(row, size, axis=0))
    proto = to_proto(row.ravel()[:1])
    proto.ClearField("tensor_shape")
    for side in (size, *row.shape[1:]):
        proto.tensor_shape.dim.add(size=side)
    proto.float_val.append(float(row.ravel()[0]))
    proto.ClearField("tensor_content")
    return proto
