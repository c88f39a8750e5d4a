"""TensorFlow's and TensorFlow Serving's messages, and arrays in them, without loading TensorFlow.

A client starts often, and the check of an export must see no Python TensorFlow at all: the generated message modules
live inside the package `tensorflow`, whose own start takes seconds and is not needed for them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from medcap_tf.errors import InputError

# TensorProto's number of each type, and the field that holds its values where `tensor_content` does not.
_TYPES: dict[str, tuple[int, str]] = {
    "float32": (1, "float_val"),
    "int32": (3, "int_val"),
    "object": (7, "string_val"),
    "int64": (9, "int64_val"),
    "bool": (10, "bool_val"),
}
_NAMES = {number: name for name, (number, _) in _TYPES.items()}


def message_module(name: str) -> Any:
    """Import a module of generated messages, such as `tensorflow.core.protobuf.meta_graph_pb2`.

    Raises:
        InputError: tensorflow-serving-api is not installed.
    """
    try:
        if "tensorflow" in sys.modules:
            return importlib.import_module(name)
        # An empty stand-in lets Python find the inner modules; TensorFlow itself can still be imported afterwards.
        stand_in = types.ModuleType("tensorflow")
        stand_in.__path__ = [str(tensorflow_folder())]
        sys.modules["tensorflow"] = stand_in
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules["tensorflow"]
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("tensorflow_serving", "grpc"):
            raise InputError(f"no package {error.name}; run: pip install medcap_tf[serving]") from None
        raise


def tensorflow_folder() -> Path:
    """Where TensorFlow is installed, found without importing it."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("no package tensorflow; run: pip install medcap_tf")
    return Path(spec.submodule_search_locations[0])


def to_proto(array: np.ndarray) -> Any:
    """float32, int32, int64, bool or (as object) bytes, of any shape, to a TensorProto."""
    number, field = _TYPES[array.dtype.name]
    proto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto(dtype=number)
    for side in array.shape:
        proto.tensor_shape.dim.add(size=side)
    if field == "string_val":
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def from_proto(proto: Any) -> np.ndarray:
    """The inverse of `to_proto`; a single value is repeated, as TensorFlow reads it.

    Raises:
        ValueError: a type that no signature uses, or values that do not fill the shape.
    """
    if proto.dtype not in _NAMES:
        raise ValueError(f"tensor of type number {proto.dtype}")
    name, shape = _NAMES[proto.dtype], [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, name).reshape(shape)
    values = np.array(list(getattr(proto, _TYPES[name][1])), name)
    # numpy.full would take zero bytes off the end of a text.
    return np.broadcast_to(values.reshape(()), shape) if values.size == 1 else values.reshape(shape)
