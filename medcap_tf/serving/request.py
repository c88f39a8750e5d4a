"""What both protocols of TensorFlow Serving share: how long an answer is waited for, and what may go wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from medcap_tf.errors import InputError

PATIENCE = "give more --timeout, or send fewer images at once with --batch-size"
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds

Answer = TypeVar("Answer")


class Options(NamedTuple):
    """How a server is asked."""

    model: str = "medcap"
    timeout: float = 60.0  # seconds for one answer, retries included


class Unavailable(Exception):
    """The server cannot answer now and may do so later."""


class TooLarge(InputError):
    """The server does not take a request of this size."""


def retried(call: Callable[[float], Answer], where: str, timeout: float) -> Answer:
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


def one_line(text: str | None) -> str:
    """What a server said, fit for one line."""
    return " ".join((text or "").split())[:500]


def says_too_large(text: str) -> bool:
    """Whether a server's (or gRPC's) words mean a request or an answer beyond its limits."""
    return "larger than max" in text
