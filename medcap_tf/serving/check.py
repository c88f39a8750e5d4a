"""What an export must stand before it gets its version number: stock operations alone, and the same answers through
the server's own loader as from the model in memory.

Run as a module it is the other end of the check: a process without Python's TensorFlow.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import medcap_tf
from medcap_tf.errors import InputError
from medcap_tf.serving.protos import message_module

_PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_SECONDS = 600


class Request(NamedTuple):
    """One call of a signature; texts and files are objects of bytes."""

    signature: str
    inputs: dict[str, np.ndarray]


def require_stock_ops(folder: Path) -> None:
    """Read a SavedModel's graph and functions; raises InputError naming the first operation that a server lacks."""
    saved = message_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    for name, node in _nodes(saved):
        reason = _objection(node)
        if reason:
            raise InputError(
                f"{name}: operation {node.op} ({node.name}) {reason}, so TensorFlow Serving cannot run this model; "
                "build it from TensorFlow's own operations"
            )


def compare(
    folder: Path, requests: Sequence[Request], expected: Sequence[dict[str, np.ndarray]], within: float
) -> None:
    """Load the export in a new process, run the requests, and hold the answers against the expected ones.

    Numbers may differ by `within` (absolute and relative; percentiles by as many hundredths), all else not at all.

    Raises:
        InputError: it does not load, does not run, takes too long, or answers otherwise.
    """
    for request, wanted, answer in zip(requests, expected, _run_elsewhere(folder, requests)):
        if set(wanted) != set(answer):
            raise InputError(f"signature {request.signature}: gives {sorted(answer)}, not {sorted(wanted)}")
        for name, value in wanted.items():
            # A percentile is of 0..100.
            if not _same(value, answer[name], 100 * within if name == "novelty" else within):
                raise InputError(
                    f"signature {request.signature}: {name} through TensorFlow's C API is not what the model in memory "
                    f"gives ({_shown(answer[name])} for {_shown(value)}); nothing was exported"
                )


def _nodes(saved: Any) -> Iterator[tuple[str, Any]]:
    for meta in saved.meta_graphs:
        yield from (("the graph", node) for node in meta.graph_def.node)
        for function in meta.graph_def.library.function:
            name = f"function {function.signature.name}"
            for node in function.node_def:
                yield name, node
            # XLA may be asked for by the whole function too.
            if function.attr["_XlaMustCompile"].b:
                raise InputError(f"{name} asks for XLA (jit_compile), which TensorFlow Serving has switched off")


def _objection(node: Any) -> str:
    if node.op in _PYTHON_OPS:
        return "calls Python"
    if ">" in node.op:
        return f"belongs to the package {node.op.split('>')[0]}"
    if ("_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b) or node.op.startswith("Xla"):
        return "asks for XLA (jit_compile)"
    return ""


def _run_elsewhere(folder: Path, requests: Sequence[Request]) -> list[dict[str, np.ndarray]]:
    home = str(Path(medcap_tf.__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "medcap_tf.serving.check"],
            input=pickle.dumps((str(folder), [tuple(request) for request in requests])),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            # Without TensorFloat-32, as the model in memory answered.
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "PYTHONPATH": paths, "NVIDIA_TF32_OVERRIDE": "0"},
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"the export gave no answer through TensorFlow's C API in {_SECONDS} s") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()[-2000:]
        raise InputError(f"the export fails where TensorFlow Serving would run it: {message or done.returncode}")
    return pickle.loads(done.stdout)


def _same(expected: np.ndarray, actual: np.ndarray, within: float) -> bool:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return False
    if expected.dtype == np.float32:
        return bool(np.isfinite(actual).all()) and np.allclose(expected, actual, rtol=within, atol=within)
    return bool((expected == actual).all())


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)} {array.ravel()[:4].tolist()}"


def _main() -> None:
    from medcap_tf.serving.capi import ServedModel

    folder, requests = pickle.load(sys.stdin.buffer)
    try:
        model = ServedModel(Path(folder))
        answers = [model.run(signature, inputs) for signature, inputs in requests]
    except InputError as error:
        sys.exit(str(error))
    if "tensorflow" in sys.modules:
        sys.exit("Python's TensorFlow was loaded into the check, which is to do without")
    sys.stdout.buffer.write(pickle.dumps(answers))


if __name__ == "__main__":
    _main()
