"""Decoding in a process of its own, for codecs that end theirs.

GDCM and imagecodecs end the whole process on some broken streams, or turn them over without end: a server or a training
would go with it. The process starts with the first file that needs it, decodes one at a time, and is started anew where
it died.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

SECONDS = 60  # for one call

Answer = TypeVar("Answer")


def apart(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """`function(*arguments)`, in the other process; both have to be picklable.

    Raises ValueError where it raises, died over it or took more than SECONDS.
    """
    could, answer = _process.ask((function, arguments))
    if not could:
        raise ValueError(answer)
    return answer


class _Process:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: subprocess.Popen[bytes] | None = None

    def ask(self, question: Any) -> tuple[bool, Any]:
        """Whether it could, and the child's answer, or why there is none."""
        with self.lock:
            if self.child is None or self.child.poll() is not None:
                self.child = self._start()
            child = self.child
            timer = threading.Timer(SECONDS, child.kill)
            timer.start()
            try:
                assert child.stdin and child.stdout
                pickle.dump(question, child.stdin)
                child.stdin.flush()
                return pickle.load(child.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):
                self._end()
                return False, "the decoder broke down over it"
            finally:
                timer.cancel()

    def close(self) -> None:
        with self.lock:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-W", "ignore", "-m", "medcap_tf.data.codecs"]
        # What the codecs print about broken streams would mix with the caller's own.
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=environment)

    def _end(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None


_process = _Process()
atexit.register(_process.close)


def _forget_process() -> None:
    """A forked child must not talk into its parent's pipe."""
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_forget_process)


def _serve() -> None:
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints is no answer
    while True:
        try:
            function, arguments = pickle.load(questions)
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = True, function(*arguments)
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
