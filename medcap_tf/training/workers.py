"""Several processes, on one machine or many, that train one run together; a process that is alone does without.

Each of them runs the same program on its own share of every batch (`tf.distribute.MultiWorkerMirroredStrategy`, which
`TF_CONFIG` describes). Whatever reads a variable that each replica has for itself is a collective, so that all have to
do it, in the same order: all validate and save, the first alone into the run folder, the others into one that is thrown
away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from medcap_tf.data.pipeline import Examples
from medcap_tf.data.splits import Splits
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder


class WorkerLost(Exception):
    """Another process of this training has ended, or cannot be reached."""


@dataclass(frozen=True)
class Workers:
    """Which of the processes this is."""

    strategy: tf.distribute.Strategy
    index: int = 0  # the first is the chief, whose run folder counts
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether what this process writes counts."""
        return self.index == 0

    @property
    def replicas(self) -> tuple[int, int, int]:
        """(first, past the last, of how many): the replicas of this process."""
        total = self.strategy.num_replicas_in_sync
        own = total // self.count
        return self.index * own, (self.index + 1) * own, total

    def distribute(self, batches: Callable[..., tf.data.Dataset], *arguments: int) -> Any:
        """`batches(*arguments)`, shared out to the replicas; each process loads its own rows alone."""
        if self.count == 1:
            return self.strategy.experimental_distribute_dataset(batches(*arguments))
        own = self.replicas
        return self.strategy.distribute_datasets_from_function(lambda context: batches(*arguments, own))

    def local(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` on this process's first replica: outside of one, reading a moving average would be a collective."""
        if self.count == 1:
            return call
        first = self.strategy.experimental_local_results

        def run(*arguments: Any) -> Any:
            return tf.nest.map_structure(lambda x: first(x)[0], self.strategy.run(call, args=arguments))

        return run

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of float or integer arrays of equal shapes over the processes; waits for all of them."""
        if self.count == 1:
            return values
        first = self.replicas[0]
        each = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(values if context.replica_id_in_sync_group == first else np.zeros_like(values))
        )
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None).numpy()

    def any(self, happened: object) -> bool:
        """Whether it happened in any process."""
        return bool(happened) if self.count == 1 else bool(self.total(np.array(bool(happened), np.float32)))

    def of_chief(self, values: dict[str, float]) -> dict[str, float]:
        """The chief's values: processors of other kinds round differently, and all have to decide alike."""
        if self.count == 1:
            return values
        own = np.array(list(values.values()), np.float64)
        return dict(zip(values, self.total(own if self.is_chief else np.zeros_like(own)).tolist()))

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.total(np.zeros([], np.float32))

    def folder(self, run: RunFolder) -> RunFolder:
        """Where this process writes: the run folder, or one beside it."""
        return run if self.is_chief else RunFolder(run.path.with_name(f".{run.path.name}-worker{self.index}"))


def find_workers() -> tuple[int, int] | None:
    """(index, count) of this process by `TF_CONFIG`; None where it trains alone.

    Raises:
        InputError: the variable is damaged.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        values = json.loads(text or "{}")
        cluster, task = values.get("cluster", {}), values.get("task", {})
        workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
        index = int(task.get("index", 0)) + (len(cluster.get("chief", [])) if task.get("type") == "worker" else 0)
        known = not workers or (index < len(workers) and task.get("type") in ("chief", "worker"))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG: cannot be read ({error}); {_EXAMPLE}") from error
    if not known:
        raise InputError(f"TF_CONFIG: task {task} is none of the {len(workers)} workers; {_EXAMPLE}")
    return (index, len(workers)) if len(workers) > 1 else None


_EXAMPLE = 'it should be like {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'


def check_shares(workers: Workers, batch_size: int, splits: Splits) -> None:
    """Raise InputError where a batch has not the same for each replica, or a split not enough for each worker."""
    replicas = workers.strategy.num_replicas_in_sync
    if workers.count > 1 and not batch_size:
        raise InputError("setting training.batch_size: auto asks one machine alone; give several workers a number")
    if batch_size % replicas:
        raise InputError(
            f"setting training.batch_size: {batch_size} cannot be shared by {replicas} replicas; choose a multiple"
        )
    scored = min((len(records) for records in splits[1:] if records), default=workers.count)
    if scored < workers.count:
        raise InputError(f"{scored} records to score are too few for {workers.count} workers; train with fewer")


def check_whole_batch(workers: Workers, batch_size: int, train: Examples, with_concepts: bool) -> None:
    """Raise InputError where replicas, which train on whole batches alone, would get none."""
    replicas, words = workers.strategy.num_replicas_in_sync, train.with_words()
    count = len((words.with_concepts() if with_concepts else words).records)
    if replicas > 1 and count < batch_size:
        raise InputError(
            f"setting training.batch_size: {batch_size} images a batch, and {count} records to train have "
            f"{'words and concepts' if with_concepts else 'words'}: {replicas} replicas share whole batches; lower it"
        )


@contextlib.contextmanager
def together(workers: Workers, run: RunFolder) -> Iterator[RunFolder]:
    """The folder to write into. All but the chief keep their messages in the run's `logs`, and leave nothing else.

    Raises:
        WorkerLost: another process has gone.
    """
    folder = workers.folder(run)
    with contextlib.ExitStack() as stack:
        if not workers.is_chief:
            run.logs.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(open(run.logs / f"worker-{workers.index}.log", "a", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(log))
            shutil.rmtree(folder.path, ignore_errors=True)
            stack.callback(shutil.rmtree, folder.path, ignore_errors=True)
        try:
            yield folder
        # What TensorFlow raises where a peer closes its connection, or is silent for too long.
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError,
                tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError) as error:  # fmt: skip
            if workers.count == 1:
                raise
            reason = str(error).splitlines()[0][:200]
            raise WorkerLost(
                f"worker {workers.index + 1} of {workers.count} has lost another one ({reason})"
            ) from error
