"""Talks to TensorFlow Serving over gRPC or REST, without TensorFlow and without the model.

Axes: B images.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.serving.protos import from_proto, message_module, to_proto

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds
# gRPC's own limit of 4 MiB is less than one answer with attention maps for 32 images may take.
_MESSAGE_BYTES = 256 * 2**20
_PATIENCE = "give more --timeout, or send fewer images at once with --batch-size"


class Unavailable(Exception):
    """The server cannot answer now and may do so later."""


class Client(Protocol):
    """One model on one server."""

    def predict(self, signature: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Run a signature on its one input; raises InputError, in one line, where it fails for good."""
        ...


class Options(NamedTuple):
    """How a server is asked."""

    model: str = "medcap"
    timeout: float = 60.0  # seconds for one answer, retries included


def connect(url: str, options: Options) -> Client:
    """A client for `http://HOST:8501`, `https://...` or `grpc://HOST:8500`; raises InputError on another URL."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.netloc:
        return RestClient(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", options)
    if parts.scheme == "grpc" and parts.netloc and parts.port:
        return GrpcClient(parts.netloc, options)
    raise InputError(f"--url {url}: should be http://HOST:8501 or grpc://HOST:8500")


def retried(call: Callable[[float], Any], where: str, timeout: float) -> Any:
    """`call(seconds left)` until it answers, with growing pauses; raises InputError when the time is up."""
    end, wait = time.monotonic() + timeout, _FIRST_WAIT
    while True:
        try:
            return call(max(end - time.monotonic(), 0.001))
        except Unavailable as error:
            if time.monotonic() + wait > end:
                raise InputError(
                    f"{where}: not available for {timeout:g} s ({error}); is the server running there, with this model?"
                ) from None
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


class RestClient:
    """Over REST: no packages needed, but images and maps travel as text."""

    def __init__(self, url: str, options: Options):
        self.url, self.options = url, options

    def predict(self, signature: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Client`."""
        where = f"{self.url}/v1/models/{self.options.model}:predict"
        sent = [_to_json(value) for value in values] if values.dtype == object else values.tolist()
        body = json.dumps({"signature_name": signature, "inputs": {name: sent}}).encode()
        request = urllib.request.Request(where, body, {"Content-Type": "application/json"})
        answer = retried(lambda left: _fetch(request, left), where, self.options.timeout)
        try:
            return {key: _from_json(value) for key, value in json.loads(answer)["outputs"].items()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{where}: the answer is none of TensorFlow Serving ({error!r})") from error


class GrpcClient:
    """Over gRPC: the faster one."""

    def __init__(self, address: str, options: Options):
        self.address, self.options = address, options
        self._grpc = message_module("grpc")
        self._messages = message_module("tensorflow_serving.apis.predict_pb2")
        service = message_module("tensorflow_serving.apis.prediction_service_pb2_grpc")
        limits = [(f"grpc.max_{way}_message_length", _MESSAGE_BYTES) for way in ("receive", "send")]
        self._stub = service.PredictionServiceStub(self._grpc.insecure_channel(address, options=limits))

    def predict(self, signature: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Client`."""
        request = self._messages.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.options.model, signature
        request.inputs[name].CopyFrom(to_proto(values))
        answer = retried(lambda left: self._call(request, left), f"grpc://{self.address}", self.options.timeout)
        return {key: from_proto(value) for key, value in answer.outputs.items()}

    def _call(self, request: Any, timeout: float) -> Any:
        codes = self._grpc.StatusCode
        try:
            return self._stub.Predict(request, timeout=timeout)
        except self._grpc.RpcError as error:
            if error.code() == codes.UNAVAILABLE:
                raise Unavailable(_one_line(error.details())) from None
            if error.code() == codes.DEADLINE_EXCEEDED:
                raise InputError(
                    f"grpc://{self.address}: no answer in {self.options.timeout:g} s; {_PATIENCE}"
                ) from None
            raise InputError(
                f"grpc://{self.address}: {error.code().name.lower()}: {_one_line(error.details())}"
            ) from None


def _fetch(request: urllib.request.Request, timeout: float) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        said = _one_line(error.read().decode(errors="replace"))
        if error.code in (429, 502, 503, 504):
            raise Unavailable(f"HTTP {error.code}: {said}") from None
        raise InputError(f"{request.full_url}: HTTP {error.code}: {said}") from None
    except TimeoutError:
        raise InputError(f"{request.full_url}: no answer in time; {_PATIENCE}") from None
    except urllib.error.URLError as error:
        raise Unavailable(str(error.reason)) from None
    except OSError as error:
        raise Unavailable(str(error)) from None


def _to_json(value: bytes) -> Any:
    return {"b64": base64.b64encode(value).decode()}


def _from_json(value: Any) -> np.ndarray:
    array = np.array(value)
    if array.dtype.kind == "U":
        return np.array([text.encode() for text in array.ravel().tolist()], object).reshape(array.shape)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def in_batches(client: Client, signature: str, files: list[bytes], size: int) -> list[Mapping[str, np.ndarray]]:
    """Files to rows of a signature's answer, `size` files a request."""
    rows: list[Mapping[str, np.ndarray]] = []
    for start in range(0, len(files), size):
        batch = np.array(files[start : start + size], object)
        found = client.predict(signature, "image_bytes", batch)
        rows += [{name: value[row] for name, value in found.items()} for row in range(len(batch))]
    return rows
