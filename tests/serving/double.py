"""A double of TensorFlow Serving for tests: its protocols over loopback, on the loader that the server itself uses.

It is not TensorFlow Serving: no batching beyond its limit, one version, no warm-up. Run it as
`python -m tests.serving.double BASE`; it prints `grpc PORT rest PORT` when it is ready.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.serving.capi import DTYPES, ServedModel
from medcap_tf.serving.files import find_version
from medcap_tf.serving.protos import from_proto, message_module, to_proto

_LOOPBACK = "127.0.0.1"
_STRING, _TYPES = 7, {1: "DT_FLOAT", 3: "DT_INT32", 7: "DT_STRING", 10: "DT_BOOL"}


class ServingDouble:
    """One model, answering over gRPC and REST on two free ports of the loopback address."""

    def __init__(self, base: Path, rest_port: int = 0, threads: int = 8, largest_batch: int = 0):
        """Load the newest version in `base` and start answering; a port of 0 is any free one.

        Requests of more rows than `largest_batch` are refused, as a server with batching does; 0: none is.
        """
        folder = find_version(base)
        if folder is None:
            raise InputError(f"{base}: no version to serve")
        self.name, self.version = folder.parent.name, folder.name
        self.model, self.largest_batch = ServedModel(folder), largest_batch
        self.grpc_port, self._grpc = self._start_grpc(threads)
        self._rest = ThreadingHTTPServer((_LOOPBACK, rest_port), _rest_handler(self))
        self.rest_port = self._rest.server_address[1]
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer a signature; raises InputError in the server's words."""
        rows = max((len(value) for value in inputs.values() if value.ndim), default=0)
        if 0 < self.largest_batch < rows:
            raise InputError(f"Task size {rows} is larger than maximum input batch size {self.largest_batch}")
        return self.model.run(signature, inputs)

    def close(self) -> None:
        """Stop answering."""
        self._rest.shutdown()
        self._rest.server_close()
        self._grpc.stop(None).wait()
        self.model.close()

    def describe(self) -> dict[str, Any]:
        """What `/metadata` answers, in the server's form."""
        signatures = {
            name: {
                "inputs": {key: _described(tensor) for key, tensor in signature.inputs.items()},
                "outputs": {key: _described(tensor) for key, tensor in signature.outputs.items()},
                "method_name": "tensorflow/serving/predict",
            }
            for name, signature in self.model.signatures.items()
        }
        spec = {"name": self.name, "signature_name": "", "version": self.version}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}

    def health(self) -> dict[str, Any]:
        """What the model's own path answers."""
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": self.version, "state": "AVAILABLE", "status": status}]}

    def _start_grpc(self, threads: int) -> tuple[int, Any]:
        grpc = message_module("grpc")
        service = message_module("tensorflow_serving.apis.prediction_service_pb2_grpc")
        messages = message_module("tensorflow_serving.apis.predict_pb2")
        double = self

        class Predictions(service.PredictionServiceServicer):
            def Predict(self, request: Any, context: Any) -> Any:
                signature = request.model_spec.signature_name or "serving_default"
                if request.model_spec.name != double.name:
                    context.abort(
                        grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}"
                    )
                try:
                    found = double.run(signature, {name: from_proto(x) for name, x in request.inputs.items()})
                except (InputError, ValueError, TypeError) as error:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                answer = messages.PredictResponse()
                answer.model_spec.CopyFrom(request.model_spec)
                for name, value in found.items():
                    answer.outputs[name].CopyFrom(to_proto(value))
                return answer

        # The server itself has no limit on what it takes.
        limits = [(f"grpc.max_{way}_message_length", -1) for way in ("receive", "send")]
        server = grpc.server(ThreadPoolExecutor(threads), options=limits)
        service.add_PredictionServiceServicer_to_server(Predictions(), server)
        port = server.add_insecure_port(f"{_LOOPBACK}:0")
        server.start()
        return port, server


def _rest_handler(double: ServingDouble) -> type[BaseHTTPRequestHandler]:
    """The paths of the REST interface: health, `/metadata`, `:predict` in columns or rows."""
    home = f"/v1/models/{double.name}"
    homes = (home, f"{home}/versions/{double.version}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answers = {**dict.fromkeys(homes, double.health), **{f"{h}/metadata": double.describe for h in homes}}
            if self.path in answers:
                self._send(200, answers[self.path]())
            else:
                self._send(404, {"error": f"Could not find any versions of model {self.path}"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path not in [f"{h}:predict" for h in homes]:
                self._send(404, {"error": f"Servable not found for request: {self.path}"})
                return
            try:
                self._send(200, _predict(double, json.loads(body)))
            except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
                self._send(400, {"error": str(error)})

        def _send(self, code: int, content: Mapping[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


def _predict(double: ServingDouble, body: Mapping[str, Any]) -> dict[str, Any]:
    name = body.get("signature_name", "serving_default")
    if name not in double.model.signatures:
        raise InputError(f'Serving signature key "{name}" not found.')
    types = {key: tensor.dtype for key, tensor in double.model.signatures[name].inputs.items()}
    rows = body.get("instances")
    given = body["inputs"] if rows is None else {key: [_field(row, key) for row in rows] for key in types}
    columns = given if isinstance(given, dict) else dict.fromkeys(types, given)
    found = double.run(name, {key: _array(value, types.get(key, _STRING)) for key, value in columns.items()})
    plain = {key: _plain(value) for key, value in found.items()}
    if rows is None:
        return {"outputs": plain}
    return {"predictions": [dict(zip(plain, row)) for row in zip(*plain.values())]}


def _field(row: Any, key: str) -> Any:
    return row[key] if isinstance(row, dict) and key in row else row


def _array(value: Any, dtype: int) -> np.ndarray:
    if dtype != _STRING:
        return np.array(value, DTYPES[dtype])
    texts = [base64.b64decode(x["b64"]) if isinstance(x, dict) else str(x).encode() for x in value]
    return np.array(texts, object)


def _plain(array: np.ndarray) -> list:
    if array.dtype != object:
        return array.tolist()
    return np.array([text.decode() for text in array.ravel()], object).reshape(array.shape).tolist()


def _described(tensor: Any) -> dict[str, Any]:
    sides = [{"size": str(side), "name": ""} for side in tensor.shape]
    shape = {"dim": sides, "unknown_rank": False}
    return {"dtype": _TYPES[tensor.dtype], "tensor_shape": shape, "name": tensor.name}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="the folder that export.py wrote to")
    parser.add_argument("--rest-port", type=int, default=0, help="default: any free one")
    parser.add_argument("--threads", type=int, default=8, help="requests answered at a time over gRPC (default: 8)")
    parser.add_argument("--largest-batch", type=int, default=0, help="rows a request; default: any number")
    chosen = parser.parse_args(arguments)
    double = ServingDouble(chosen.base.absolute(), chosen.rest_port, chosen.threads, chosen.largest_batch)
    print(f"grpc {double.grpc_port} rest {double.rest_port}", flush=True)
    sys.stdin.read()
    double.close()


if __name__ == "__main__":
    main()
