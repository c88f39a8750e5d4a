"""TensorFlow Serving's gRPC interface: the faster one."""

from __future__ import annotations

from typing import Any

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.serving.address import Address
from medcap_tf.serving.protos import from_proto, message_module, to_proto
from medcap_tf.serving.request import PATIENCE, Options, TooLarge, Unavailable, one_line, retried, says_too_large

# gRPC's own limit of 4 MiB is less than one answer with attention maps for 32 images may take.
_MESSAGE_BYTES = 256 * 2**20


class GrpcClient:
    """One model over gRPC."""

    def __init__(self, address: Address, options: Options):
        self._where, self._options = address.url, options
        self._grpc = message_module("grpc")
        self._messages = message_module("tensorflow_serving.apis.predict_pb2")
        service = message_module("tensorflow_serving.apis.prediction_service_pb2_grpc")
        settings = [(f"grpc.max_{way}_message_length", _MESSAGE_BYTES) for way in ("receive", "send")]
        # No proxy of the environment leads to this machine.
        settings.append(("grpc.enable_http_proxy", int(not address.loopback)))
        self._stub = service.PredictionServiceStub(self._grpc.insecure_channel(address.netloc, options=settings))

    def predict(self, signature: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Client`."""
        request = self._messages.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._options.model, signature
        request.inputs[name].CopyFrom(to_proto(values))
        answer = retried(lambda left: self._call(request, left), self._where, self._options.timeout)
        try:
            return {key: from_proto(value) for key, value in answer.outputs.items()}
        except ValueError as error:
            raise InputError(
                f"{self._where}: the answer is no export's of medcap_tf ({one_line(str(error))})"
            ) from None

    def _call(self, request: Any, timeout: float) -> Any:
        codes = self._grpc.StatusCode
        try:
            return self._stub.Predict(request, timeout=timeout)
        except self._grpc.RpcError as error:
            code, message = error.code(), one_line(error.details())
        if code == codes.UNAVAILABLE:
            raise Unavailable(message)
        if code == codes.DEADLINE_EXCEEDED:
            raise InputError(f"{self._where}: no answer in {self._options.timeout:g} s; {PATIENCE}")
        hint = "; is the model's name the one that it is served under?" if code == codes.NOT_FOUND else ""
        kind = TooLarge if says_too_large(message) else InputError
        raise kind(f"{self._where}: {code.name.lower()}: {message}{hint}")
