"""An export run as TensorFlow Serving runs it: by TensorFlow's C API, without Python's TensorFlow.

`TF_LoadSessionFromSavedModel` calls the loader that the server calls, and both run signatures by `Session::Run`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.serving.protos import message_module, tensorflow_folder

_STRING = 7
# TF_DataType -> numpy's; strings are objects of bytes.
DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8, _STRING: object, 9: np.int64, 10: np.bool_}
_STRING_BYTES = 24
_RESOURCE_EXHAUSTED = 8


class Tensor(NamedTuple):
    """One input or output of a signature."""

    name: str  # OPERATION:INDEX in the graph
    dtype: int  # TensorFlow's number of the type
    shape: tuple[int, ...]  # -1: any


class Signature(NamedTuple):
    """What a signature takes and gives, by the names that clients use."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


class OutOfMemory(InputError, MemoryError):
    """A signature took more memory than there is."""


class ServedModel:
    """A SavedModel loaded by the C API; `run` may be called from several threads at once."""

    def __init__(self, folder: Path, as_server: bool = True):
        """Load the version folder.

        Args:
            folder: the export's.
            as_server: False for a process with other work: XLA stays switched on in it, GPU memory is taken as it is
                needed, and the whole graph is not optimized before its first answer, its functions alone are.

        Raises:
            InputError: it cannot be loaded; with TensorFlow's own message.
        """
        self._c = _library()
        if as_server:
            self._c._ZN10tensorflow21DisableXlaCompilationEv()
        self._graph = self._c.TF_NewGraph()
        options, meta = self._c.TF_NewSessionOptions(), self._c.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            if not as_server:
                config = _guest_config()
                with self._status("setting up TensorFlow") as status:
                    self._c.TF_SetConfig(options, config, len(config), status)
            with self._status(f"{folder}: cannot be loaded as TensorFlow Serving would") as status:
                self._session = self._c.TF_LoadSessionFromSavedModel(
                    options, None, str(folder).encode(), tags, 1, self._graph, meta, status
                )
            self._release = weakref.finalize(self, _release, self._c, self._session, self._graph)
            self._release.atexit = False  # the end of the process frees all
            content = ctypes.string_at(meta.contents.data, meta.contents.length)
        finally:
            self._c.TF_DeleteSessionOptions(options)
            self._c.TF_DeleteBuffer(meta)
        self.meta_graph = message_module("tensorflow.core.protobuf.meta_graph_pb2").MetaGraphDef.FromString(content)
        self.meta_graph.ClearField("graph_def")
        self.signatures = {
            name: Signature(_tensors(definition.inputs), _tensors(definition.outputs))
            for name, definition in self.meta_graph.signature_def.items()
            if name != "__saved_model_init_op"
        }

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a signature on arrays of its inputs' types, strings as objects of bytes.

        Raises:
            InputError: no such signature or input, or TensorFlow's own error.
        """
        called = self._signature(signature, inputs)
        fed = [(called.inputs[name], array) for name, array in inputs.items()]
        wanted = [tensor.name for tensor in called.outputs.values()]
        return dict(zip(called.outputs, self._run(f"signature {signature}", fed, wanted)))

    def variable(self, name: str) -> np.ndarray | None:
        """The value of the variable of this name; None where there is none."""
        read = f"{name}/Read/ReadVariableOp"
        if not self._c.TF_GraphOperationByName(self._graph, read.encode()):
            return None
        return self._run(f"variable {name}", [], [read + ":0"])[0]

    def _run(self, doing: str, fed: Sequence[tuple[Tensor, np.ndarray]], wanted: Sequence[str]) -> list[np.ndarray]:
        into = (_Output * len(fed))(*(self._output(tensor.name) for tensor, _ in fed))
        outof = (_Output * len(wanted))(*(self._output(name) for name in wanted))
        values = (ctypes.c_void_p * len(fed))()
        results = (ctypes.c_void_p * len(wanted))()
        try:
            for place, (tensor, array) in enumerate(fed):
                values[place] = self._to_tensor(array, tensor.dtype)
            with self._status(doing) as status:
                self._c.TF_SessionRun(
                    self._session, None, into, values, len(fed), outof, results, len(wanted), None, 0, None, status
                )
            return [self._to_array(result) for result in results]
        finally:
            for tensor in (*values, *results):
                self._free(tensor)

    def close(self) -> None:
        """Give back the session and its memory, as happens by itself where nobody has the model any more."""
        self._release()

    def _signature(self, name: str, inputs: Mapping[str, Any]) -> Signature:
        if name not in self.signatures:
            raise InputError(f"no signature {name!r}; there are {', '.join(sorted(self.signatures))}")
        signature = self.signatures[name]
        if set(inputs) != set(signature.inputs):
            raise InputError(
                f"signature {name} takes {', '.join(signature.inputs)}, got {', '.join(inputs) or 'nothing'}"
            )
        return signature

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        return _Output(self._c.TF_GraphOperationByName(self._graph, operation.encode()), int(index or 0))

    def _to_tensor(self, array: np.ndarray, dtype: int) -> int:
        array = np.ascontiguousarray(array, DTYPES[dtype])
        sides = (ctypes.c_int64 * array.ndim)(*array.shape)
        size = array.size * _STRING_BYTES if dtype == _STRING else array.nbytes
        tensor = self._c.TF_AllocateTensor(dtype, sides, array.ndim, size)
        place = self._c.TF_TensorData(tensor)
        if dtype != _STRING:
            ctypes.memmove(place, array.ctypes.data, size)
            return tensor
        for number, text in enumerate(array.ravel()):
            self._c.TF_StringInit(place + number * _STRING_BYTES)
            self._c.TF_StringCopy(place + number * _STRING_BYTES, text, len(text))
        return tensor

    def _to_array(self, tensor: int | None) -> np.ndarray:
        shape = [self._c.TF_Dim(tensor, axis) for axis in range(self._c.TF_NumDims(tensor))]
        dtype = self._c.TF_TensorType(tensor)
        place = self._c.TF_TensorData(tensor)
        if dtype == _STRING:
            array = np.empty(int(np.prod(shape)), object)
            for number in range(array.size):
                text = place + number * _STRING_BYTES
                array[number] = ctypes.string_at(self._c.TF_StringGetDataPointer(text), self._c.TF_StringGetSize(text))
            return array.reshape(shape)
        content = ctypes.string_at(place, self._c.TF_TensorByteSize(tensor)) if np.prod(shape) else b""
        return np.frombuffer(bytearray(content), DTYPES[dtype]).reshape(shape)

    def _free(self, tensor: int | None) -> None:
        if not tensor:
            return
        if self._c.TF_TensorType(tensor) == _STRING:
            # Deleting a tensor frees its array alone, not the texts that its entries point to.
            place = self._c.TF_TensorData(tensor)
            for number in range(self._c.TF_TensorElementCount(tensor)):
                self._c.TF_StringDealloc(place + number * _STRING_BYTES)
        self._c.TF_DeleteTensor(tensor)

    @contextlib.contextmanager
    def _status(self, doing: str) -> Iterator[int]:
        status = self._c.TF_NewStatus()
        try:
            yield status
            if self._c.TF_GetCode(status):
                kind = OutOfMemory if self._c.TF_GetCode(status) == _RESOURCE_EXHAUSTED else InputError
                raise kind(f"{doing}: {self._c.TF_Message(status).decode(errors='replace')}")
        finally:
            self._c.TF_DeleteStatus(status)


def _release(library: Any, session: int, graph: int) -> None:
    status = library.TF_NewStatus()
    library.TF_CloseSession(session, status)
    library.TF_DeleteSession(session, status)
    library.TF_DeleteStatus(status)
    library.TF_DeleteGraph(graph)


def _tensors(infos: Any) -> dict[str, Tensor]:
    return {
        name: Tensor(info.name, info.dtype, tuple(dim.size for dim in info.tensor_shape.dim))
        for name, info in sorted(infos.items())
    }


@functools.cache
def _library() -> Any:
    """TensorFlow's C API out of the installed wheel."""
    folder = tensorflow_folder()
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"), ctypes.RTLD_GLOBAL)
    pointer, number, size, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
    buffer = ctypes.POINTER(_Buffer)
    # Result, then arguments.
    prototypes: dict[str, tuple] = {
        "TF_NewGraph": (pointer,),
        "TF_DeleteGraph": (None, pointer),
        "TF_NewBuffer": (buffer,),
        "TF_DeleteBuffer": (None, buffer),
        "TF_NewStatus": (pointer,),
        "TF_DeleteStatus": (None, pointer),
        "TF_GetCode": (number, pointer),
        "TF_Message": (text, pointer),
        "TF_NewSessionOptions": (pointer,),
        "TF_DeleteSessionOptions": (None, pointer),
        "TF_SetConfig": (None, pointer, text, size, pointer),
        "TF_LoadSessionFromSavedModel": (pointer, pointer, pointer, text, pointer, number, pointer, buffer, pointer),
        "TF_CloseSession": (None, pointer, pointer),
        "TF_DeleteSession": (None, pointer, pointer),
        "TF_GraphOperationByName": (pointer, pointer, text),
        "TF_SessionRun": (
            None, pointer, pointer, pointer, pointer, number, pointer, pointer, number, pointer, number, pointer,
            pointer,
        ),
        "TF_AllocateTensor": (pointer, number, pointer, number, size),
        "TF_DeleteTensor": (None, pointer),
        "TF_TensorData": (pointer, pointer),
        "TF_TensorType": (number, pointer),
        "TF_TensorByteSize": (size, pointer),
        "TF_TensorElementCount": (ctypes.c_int64, pointer),
        "TF_NumDims": (number, pointer),
        "TF_Dim": (ctypes.c_int64, pointer, number),
        "TF_StringInit": (None, pointer),
        "TF_StringCopy": (None, pointer, text, size),
        "TF_StringDealloc": (None, pointer),
        "TF_StringGetDataPointer": (pointer, pointer),
        "TF_StringGetSize": (size, pointer),
    }  # fmt: skip
    for name, (result, *arguments) in prototypes.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _guest_config() -> bytes:
    """A session's ConfigProto for a process that is not the model's alone."""
    config = message_module("tensorflow.core.protobuf.config_pb2").ConfigProto()
    config.gpu_options.allow_growth = True
    # Functions, which hold all convolutions, are optimized nevertheless, when they are first called.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config.SerializeToString()
