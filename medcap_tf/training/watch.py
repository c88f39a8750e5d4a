"""What the loop looks at while it runs, without waiting for the device at every step: losses, profile, clock."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from medcap_tf.errors import InputError

STEPS_BETWEEN_CHECKS = 20  # to read a loss is to wait for its step, and every one since: the device runs dry meanwhile


class UnreadLosses:
    """The losses of the last steps and which images they were of, until somebody looks."""

    def __init__(self, stage: str, epoch: int, done: int, row_ids: Callable[[Any], list[str]], local: Callable):
        """For batches after the first `done` of an epoch (from 0); `local` gives a distributed value's parts."""
        self._stage, self._epoch, self._done, self._row_ids, self._local = stage, epoch, done, row_ids, local
        self._unread: list[tuple[tf.Tensor, Any]] = []

    def add(self, loss: tf.Tensor, rows: Any) -> None:
        """Keep a step's loss float32 [] and its rows int64 [B]."""
        self._unread.append((loss, rows))

    def are_many(self) -> bool:
        """Whether it is time to look."""
        return len(self._unread) >= STEPS_BETWEEN_CHECKS

    def check(self) -> None:
        """Wait for all of them; raises InputError where one is not finite, naming the first such batch."""
        values = tf.stack([loss for loss, _ in self._unread]).numpy().tolist() if self._unread else []
        for number, (loss, (_, rows)) in enumerate(zip(values, self._unread), self._done + 1):
            if not math.isfinite(loss):
                ids = self._row_ids([int(row) for part in self._local(rows) for row in part.numpy()])
                raise InputError(
                    f"{self._stage}, epoch {self._epoch + 1}, batch {number}: the loss is {loss}; images "
                    f"{', '.join(ids)}. Look at them, or lower the learning rate; the last whole epoch is saved"
                )
        self._done += len(values)
        self._unread.clear()


class Profile:
    """TensorBoard's profile of some batches of the first epoch that a process trains of a stage."""

    def __init__(self, folder: Path, steps: tuple[int, int] | None):
        """`steps` are the first and the last batch, from 1; None: no profile."""
        self._folder, self._steps, self._running = folder, steps, False

    def step(self, number: int, wait: Callable[[], None]) -> contextlib.AbstractContextManager:
        """What batch `number` (from 1) is trained under; `wait` until all before is computed."""
        if self._steps is None:
            return contextlib.nullcontext()
        if number == self._steps[0]:
            wait()
            tf.profiler.experimental.start(str(self._folder))
            self._running = True
        elif number > self._steps[1]:
            self.end(wait)
        return tf.profiler.experimental.Trace("train", step_num=number, _r=1)

    def end(self, wait: Callable[[], None]) -> None:
        """Write it, where it is running; no batch is profiled afterwards."""
        if self._running:
            wait()
            tf.profiler.experimental.stop()
            self._running, self._steps = False, None


class Clock:
    """How long an epoch took, and how much of that the loop waited for its next batch."""

    def __init__(self) -> None:
        self._began, self._waited = time.perf_counter(), 0.0

    def over(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, timed."""
        items = iter(batches)
        while True:
            asked = time.perf_counter()
            item = next(items, None)
            self._waited += time.perf_counter() - asked
            if item is None:
                return
            yield item

    def seconds(self) -> dict[str, float]:
        """For a row of the history."""
        return {"training_seconds": time.perf_counter() - self._began, "waiting_seconds": self._waited}
