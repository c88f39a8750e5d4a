"""TensorFlow Serving's REST interface: no packages beyond `requests`, but images and maps travel as text."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from http.client import BadStatusLine, RemoteDisconnected
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
import urllib3

from medcap_tf.errors import InputError
from medcap_tf.serving.address import Address
from medcap_tf.serving.request import PATIENCE, Options, TooLarge, Unavailable, one_line, retried, says_too_large

_LATER = (429, 502, 503, 504)
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_HINTS = {
    401: "it asks for a password, which this client does not send",
    404: "is --url this server's address, and the model's name the one that it is served under?",
    413: "send fewer images at once with --batch-size, or smaller files",
}


class RestClient:
    """One model over REST."""

    def __init__(self, address: Address, options: Options):
        self._options = options
        # A name may be followed by /versions/N.
        self._where = f"{address.url}/v1/models/{quote(options.model, safe='/')}:predict"
        self._session = requests.Session()
        # No proxy of the environment leads to this machine, and no ~/.netrc is meant for it.
        self._session.trust_env = not address.loopback
        self._session.verify = next(filter(None, map(os.environ.get, _AUTHORITIES)), True)

    def predict(self, signature: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Client`."""
        sent = [_to_json(value) for value in values] if values.dtype == object else values.tolist()
        body = json.dumps({"signature_name": signature, "inputs": {name: sent}}).encode()
        answer = retried(lambda left: self._fetch(body, left), self._where, self._options.timeout)
        try:
            return {key: _from_json(value) for key, value in json.loads(answer)["outputs"].items()}
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self._where}: the answer is not TensorFlow Serving's ({one_line(repr(error))[:120]})"
            ) from error

    def _fetch(self, body: bytes, timeout: float) -> bytes:
        headers = {"Content-Type": "application/json"}
        try:
            # A redirected POST would arrive as a GET without its images.
            response = self._session.post(self._where, body, headers=headers, timeout=timeout, allow_redirects=False)
        # What urllib3 raises is not always wrapped; addresses that no resolver can take are a ValueError.
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
            raise self._failure(error) from None
        if response.status_code == 200:
            return response.content
        raise self._refusal(response)

    def _failure(self, error: Exception) -> Exception:
        """What to raise where no answer came."""
        causes = list(_causes(error))
        kinds = tuple(map(type, causes))
        reason = one_line(str(causes[-1]))
        if requests.ConnectTimeout in kinds:
            return Unavailable("no connection in time")
        if any(issubclass(kind, (requests.Timeout, urllib3.exceptions.ReadTimeoutError)) for kind in kinds):
            return InputError(f"{self._where}: no answer in time; {PATIENCE}")
        if requests.exceptions.ProxyError in kinds:
            host = self._where.split("/")[2].rsplit(":", 1)[0]
            return InputError(
                f"{self._where}: the environment's proxy fails ({reason}); to go without: NO_PROXY={host}"
            )
        if requests.exceptions.SSLError in kinds:
            return InputError(
                f"{self._where}: no TLS connection ({reason}); is it http://? The environment variable "
                f"{_AUTHORITIES[0]} names a file of certificates to trust"
            )
        if any(issubclass(kind, BadStatusLine) and kind is not RemoteDisconnected for kind in kinds):
            return InputError(f"{self._where}: what answers there is no HTTP server; gRPC's port goes with grpc://")
        if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            return Unavailable(reason)
        return InputError(f"{self._where}: cannot be asked ({reason})")

    def _refusal(self, response: requests.Response) -> Exception:
        """What to raise at another answer than 200."""
        code, message = response.status_code, _message(response)
        if code in _LATER:
            return Unavailable(f"HTTP {code}: {message}")
        if 300 <= code < 400:
            target = response.headers.get("Location", "another address").split("/v1/models/")[0]
            return InputError(f"{self._where}: HTTP {code}: sends on to {one_line(target)}; give that as --url")
        kind = TooLarge if code == 413 or says_too_large(message) else InputError
        hint = f"; {_HINTS[code]}" if code in _HINTS else ""
        return kind(f"{self._where}: HTTP {code}: {message}{hint}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was made of, to the innermost."""
    while error is not None:
        yield error
        inner = [one for one in (getattr(error, "reason", None), *error.args) if isinstance(one, BaseException)]
        error = inner[0] if inner else error.__cause__ or error.__context__


def _message(response: requests.Response) -> str:
    """The server's error; of a page for people no more than that it is one."""
    text = response.content.decode(errors="replace")
    try:
        return one_line(str(json.loads(text)["error"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    if "<html" in text[:1000].lower() or "<!doctype" in text[:1000].lower():
        return "a web page, so this is hardly TensorFlow Serving"
    return one_line(text) or response.reason or "no reason given"


def _to_json(value: bytes) -> Any:
    return {"b64": base64.b64encode(value).decode()}


def _from_json(value: Any) -> np.ndarray:
    array = np.array(value)
    if array.dtype.kind == "U":
        return np.array([text.encode() for text in array.ravel().tolist()], object).reshape(array.shape)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
