"""A stage's checkpoints, and beside them what each replica has for itself, so that a resumed run is the same run.

TensorFlow's checkpoints keep the mean of a variable that every replica updates for itself, as the moving averages of
batch normalization are; in the middle of an epoch these differ, and each replica has to go on from its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.files import replacing
from medcap_tf.training.workers import Workers


class Saver:
    """A stage's checkpoints. All processes save, since it takes all to read what each replica has.

    The chief's are those that count.
    """

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint,
        folder: Path,
        common: Path,
        modules: Iterable[tf.Module],
        workers: Workers,
    ):
        """`folder`: to write into; `common`: to go on from. Raises InputError where the last one cannot be read."""
        self._checkpoint, self._common, self._workers = checkpoint, common, workers
        replicated = workers.strategy.num_replicas_in_sync > 1
        self.variables = _replica_variables(modules) if replicated else []
        with _readable(common):
            self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=3)

    def restore(self) -> bool:
        """Go on from the last checkpoint; False where there is none."""
        with _readable(self._common):
            latest = tf.train.latest_checkpoint(str(self._common))
            if latest:
                self._checkpoint.restore(latest).expect_partial()
        if latest:
            _restore_replicas(self._workers, self.variables, latest)
        return bool(latest)

    def save(self) -> None:
        """Keep how everything stands; it counts when the chief's file `checkpoint` names it."""
        if self.variables:
            number = int(self._checkpoint.save_counter) + 1
            _save_replicas(self._workers, self.variables, str(self._common / f"ckpt-{number}"))
            self._workers.wait()
        self._manager.save()
        if self._workers.is_chief:
            _forget_replicas(self._common, self._manager.checkpoints)
        self._workers.wait()


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Raise InputError where the last checkpoint cannot be read."""
    try:
        yield
    # ValueError: other shapes, or no name in the file `checkpoint`; IndexError: a file that was cut off.
    except (tf.errors.OpError, ValueError, IndexError) as error:
        raise InputError(
            f"{folder}: the last checkpoint cannot be read ({str(error).splitlines()[0]}); remove this folder to "
            "begin the stage again"
        ) from error


def _replica_variables(modules: Iterable[tf.Module]) -> list[tf.Variable]:
    """The variables that each replica has for itself: moving averages."""
    on_read = tf.VariableSynchronization.ON_READ
    found = [variable for module in modules for variable in module.variables]
    return [v for v in found if getattr(v, "synchronization", None) == on_read]


def settle(variables: Iterable[tf.Variable]) -> None:
    """All replicas go on from the mean of theirs, which is what validation, and the best weights, are of."""
    for variable in variables:
        variable.assign(tf.identity(variable))


def _save_replicas(workers: Workers, variables: list[tf.Variable], checkpoint: str) -> None:
    """Write what each replica has for itself beside a checkpoint, which holds the means alone."""
    if not variables:
        return
    first, _, total = workers.replicas
    values = [workers.strategy.experimental_local_results(variable) for variable in variables]
    for place, own in enumerate(zip(*values)):
        path = _replica_file(checkpoint, first + place, total)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, open(beside, "wb") as file:
            np.savez(file, *(value.numpy() for value in own))


def _restore_replicas(workers: Workers, variables: list[tf.Variable], checkpoint: str) -> None:
    """Read it again; by another number of replicas, or of an earlier version's checkpoint, all keep the means."""
    first, last, total = workers.replicas
    files = [_replica_file(checkpoint, place, total) for place in range(first, last)]
    if not variables or not all(file.is_file() for file in files):
        return
    for place, file in enumerate(files):
        with np.load(file) as values:
            for name, variable in zip(values.files, variables):
                workers.strategy.experimental_local_results(variable)[place].assign(values[name])


def _forget_replicas(folder: Path, kept: Iterable[str]) -> None:
    """Remove what belongs to checkpoints that are no longer kept."""
    names = {Path(checkpoint).name for checkpoint in kept}
    for path in folder.glob("ckpt-*.replica-*.npz"):
        if path.name.partition(".")[0] not in names:
            path.unlink(missing_ok=True)


def _replica_file(checkpoint: str, place: int, total: int) -> Path:
    return Path(f"{checkpoint}.replica-{place}-of-{total}.npz")
