"""Talks to TensorFlow Serving over gRPC or REST, without TensorFlow and without the model.

Axes: B images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol, Union, cast

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.serving.address import check_timeout, parse_address
from medcap_tf.serving.request import Options, TooLarge

_CAPTION = ("caption", "stems", "score", "length", "valid")
# What an answer cannot be read without.
_ANSWERS = {
    "serving_default": _CAPTION,
    "explain": (*_CAPTION, "attention", "word_importance", "concept", "concept_score"),
}

# One image's part of an answer, or why there is none.
Row = Union[Mapping[str, np.ndarray], InputError]


class Client(Protocol):
    """One model on one server."""

    def predict(self, signature: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Run a signature on its one input; raises InputError, in one line, where it fails for good."""
        ...


def connect(url: str, options: Options) -> Client:
    """A client for `http://HOST:8501`, `https://...` or `grpc://HOST:8500`; nothing is sent yet.

    Raises:
        InputError: another URL, a time-out that is no number, or no package for gRPC.
    """
    address = parse_address(url)
    options = options._replace(timeout=check_timeout(options.timeout))
    # Each protocol's packages are loaded where it is used.
    if address.scheme == "grpc":
        from medcap_tf.serving.rpc import GrpcClient

        return GrpcClient(address, options)
    from medcap_tf.serving.rest import RestClient

    return RestClient(address, options)


def in_batches(client: Client, signature: str, files: Iterable[bytes | InputError], size: int) -> Iterator[Row]:
    """Files to rows of the answer of `serving_default` or `explain`, in order: `size` files a request, or as many as
    the server takes at once where that is fewer. In place of a file stands why there is none, which is passed on; one
    file alone that is too large for the server becomes its error."""
    left, batch = iter(files), list[Union[bytes, InputError]]()
    while batch := batch or list(islice(left, size)):
        try:
            rows = _rows(client, signature, batch[:size])
        except TooLarge as error:
            if len(batch[:size]) > 1:
                size = len(batch[:size]) // 2
                continue
            rows = [error]
        yield from rows
        batch = batch[size:]


def _rows(client: Client, signature: str, files: list[bytes | InputError]) -> list[Row]:
    sent = [file for file in files if isinstance(file, bytes)]
    if not sent:
        return list(cast("list[InputError]", files))
    answer = client.predict(signature, "image_bytes", np.array(sent, object))
    _check_answer(answer, signature, len(sent))
    rows = iter([{name: value[row] for name, value in answer.items()} for row in range(len(sent))])
    return [file if isinstance(file, InputError) else next(rows) for file in files]


def _check_answer(answer: Mapping[str, np.ndarray], signature: str, count: int) -> None:
    missing = [name for name in _ANSWERS[signature] if name not in answer]
    short = [name for name, value in answer.items() if not value.ndim or len(value) != count]
    if missing or short or answer["caption"].dtype != object:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(answer.items()))[:300]
        raise InputError(
            f"the server's model answers {count} images by {signature} with {shapes or 'nothing'}, as no export of "
            "medcap_tf does; is the model's name right?"
        )
