"""One loop for all stages: steps, validation, the best weights, early stopping, interruption and exact resumption."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import keras
import tensorflow as tf
from tqdm import tqdm

from medcap_tf.config import TrainingConfig
from medcap_tf.files import read_json, write_text
from medcap_tf.graphs import graph_function
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.averages import WeightAverage
from medcap_tf.training.checkpoints import Saver, settle
from medcap_tf.training.device import Device
from medcap_tf.training.history import History
from medcap_tf.training.messages import say
from medcap_tf.training.watch import Clock, Profile, UnreadLosses
from medcap_tf.training.workers import Workers


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; everything is saved."""


@dataclass
class Stage:
    """What one stage trains and how it is judged."""

    name: str
    epochs: int
    learning_rate: float
    steps: int  # batches an epoch
    modules: dict[str, keras.Model]  # saved in the stage's checkpoints
    variables: list[tf.Variable]  # trained
    batches: Callable[..., tf.data.Dataset]  # (epoch, batches to skip, replicas) -> the rest of the epoch
    loss: Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]  # (batch, step int64 []) -> float32 []
    validate: Callable[[], dict[str, float]]
    monitor: str  # the validation score that chooses the best epoch; higher is better
    keep_best: Callable[[Path], None]  # saves what it trains into a folder, after the best epoch so far
    row_ids: Callable[[Any], list[str]]  # rows of a batch -> image IDs
    xla: bool = False  # whether XLA compiles the step as a whole, for batches of one shape
    begins_trained: bool = False  # whether the weights it begins with compete with those of its epochs
    ema_decay: float = 0.0  # of the average of the weights that is validated and kept in their place; 0: none
    epoch_start: Callable[[int], None] = lambda epoch: None
    epoch_end: list[Callable[[int, dict[str, float]], None]] = field(default_factory=list)


class _Progress(tf.Module):
    """Where a stage stands: what a checkpoint needs beside weights and optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)  # batches done in this epoch
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.best = tf.Variable(-1.0, dtype=tf.float64, trainable=False)
        self.best_epoch = tf.Variable(-1, dtype=tf.int64, trainable=False)


def run_stage(
    stage: Stage,
    config: TrainingConfig,
    device: Device,
    run: RunFolder,
    history: History,
    shared: RunFolder | None = None,
) -> Path | None:
    """Train a stage to its end, from wherever its last checkpoint stands; a stage that is done is left alone.

    The best weights lie in a folder of the stage's own, named after their epoch: what a killed process wrote there
    counts only once a checkpoint says so, and no later stage that trains the same network on writes over it.

    Of several processes each writes into a `run` of its own, and all go on from what the chief wrote into `shared`.

    Returns:
        The folder of the best weights, those it began with counted for a stage that `begins_trained`; None where the
        stage has no epoch.

    Raises:
        Interrupted: a signal arrived; the state is saved in the middle of the epoch.
        InputError: the loss is not finite.
    """
    folder, workers = run.checkpoints / stage.name, device.workers
    common = (shared or run).checkpoints / stage.name
    done = "done.json"
    if (common / done).exists():
        return _best_weights(common, read_json(common / done)["best_epoch"])
    with device.strategy.scope():
        optimizer = _optimizer(stage, config, device)
        optimizer.build(stage.variables)
        average = _average(stage)
    progress = _Progress()
    averaged = {"average": average} if average else {}
    checkpoint = tf.train.Checkpoint(optimizer=optimizer, progress=progress, **averaged, **stage.modules)
    saver = Saver(checkpoint, folder, common, list(stage.modules.values()), workers)
    if saver.restore():
        say(f"{stage.name}: resuming at epoch {int(progress.epoch) + 1}, batch {int(progress.step) + 1}")
    elif stage.begins_trained:
        _rate_beginning(stage, progress, folder, workers)
    history.forget(stage.name, int(progress.epoch) + 1)
    # Traced once for the shapes that all batches share; by their own shapes each caption length would be traced anew.
    spec = workers.distribute(stage.batches, 0, 0).element_spec
    train_step = _compile(stage, optimizer, device, spec, progress, average)
    profile = Profile(run.logs / stage.name, config.profiled_steps)
    with _signals() as stopped:
        while int(progress.epoch) < stage.epochs and not _out_of_patience(progress, config):
            seconds = _train_epoch(stage, progress, train_step, device, saver, stopped, profile)
            settle(saver.variables)
            with average.in_place() if average else nullcontext():
                _finish_epoch(stage, progress, optimizer, history, folder, seconds, workers)
            saver.save()
            _remove_others(folder, int(progress.best_epoch))
            if workers.any(stopped):
                raise Interrupted(f"{_signal(stopped)}: saved at the end of {stage.name} epoch {int(progress.epoch)}")
    epoch, best_epoch, best = int(progress.epoch), int(progress.best_epoch), float(progress.best)
    write_text(folder / done, json.dumps({"epochs": epoch, "best_epoch": best_epoch, stage.monitor: best}))
    say(f"{stage.name}: best {stage.monitor} {best:.4f} in epoch {best_epoch}")
    workers.wait()  # for the chief's files
    return _best_weights(common, best_epoch)


def _best_weights(folder: Path, epoch: int) -> Path | None:
    if epoch < 0:
        return None
    own = folder / f"best-{epoch}"
    # Runs of earlier versions keep those of all stages together.
    return own if own.is_dir() else folder.parent / "best"


def _remove_others(folder: Path, epoch: int) -> None:
    for path in folder.glob("best-*"):
        if path.name != f"best-{epoch}":
            shutil.rmtree(path)


def _optimizer(stage: Stage, config: TrainingConfig, device: Device) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), linear warm-up, cosine decay, clipping by the global norm."""
    total = max(1, stage.epochs * stage.steps)
    warmup = min(round(config.warmup_epochs * stage.steps), total - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else stage.learning_rate,
        total - warmup,
        alpha=0.01,
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm or None, jit_compile=False
    )
    # Biases and normalization weights are not decayed: they hold scales, not evidence.
    optimizer.exclude_from_weight_decay(var_list=[v for v in stage.variables if len(v.shape) < 2])
    if "mixed_float16" in (device.precision, device.encoder_precision):
        return keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def compiled_step(stage: Stage, config: TrainingConfig, device: Device, spec: Any) -> Callable[[Any], tf.Tensor]:
    """A step with an optimizer of its own, batch -> loss float32 [], as `run_stage` trains it."""
    optimizer = _optimizer(stage, config, device)
    optimizer.build(stage.variables)
    return _compile(stage, optimizer, device, spec, _Progress(), _average(stage))


def _average(stage: Stage) -> WeightAverage | None:
    return WeightAverage(stage.modules.values(), stage.ema_decay) if stage.ema_decay else None


def _compile(
    stage: Stage, optimizer: Any, device: Device, spec: Any, progress: _Progress, average: WeightAverage | None
) -> Callable[[Any], tf.Tensor]:
    replicas = device.strategy.num_replicas_in_sync
    scales = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)

    @graph_function(jit_compile=stage.xla or None)
    def replica_step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        # What is frozen keeps nothing for a gradient: loops over its words would be compiled anew for each batch.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(stage.variables)
            loss = stage.loss(batch, optimizer.iterations)
            # Gradients are summed over the replicas when they are applied.
            objective = loss / replicas
            objective = optimizer.get_scaled_loss(objective) if scales else objective
        gradients = tape.gradient(objective, stage.variables)
        # Of an embedding's rows those of one word would count singly in the norm that clips; XLA is slow at them, too.
        update([tf.convert_to_tensor(gradient) for gradient in gradients])
        return loss

    def update(gradients: list[tf.Tensor]) -> None:
        gradients = optimizer.get_unscaled_gradients(gradients) if scales else gradients
        optimizer.apply_gradients(zip(gradients, stage.variables))

    if device.compiles_updates:
        update = graph_function(update, jit_compile=True)

    @graph_function(input_signature=[spec])
    def train_step(batch: Any) -> tf.Tensor:
        losses = device.strategy.run(replica_step, args=(batch,))
        loss = device.strategy.reduce(tf.distribute.ReduceOp.MEAN, losses, axis=None)
        # In the graph, where nobody waits for them.
        progress.step.assign_add(1)
        progress.loss_sum.assign_add(tf.cast(loss, tf.float64))
        if average:
            average.update()
        return loss

    return train_step


def _train_epoch(
    stage: Stage,
    progress: _Progress,
    train_step: Callable[[Any], tf.Tensor],
    device: Device,
    saver: Saver,
    stopped: list[str],
    profile: Profile,
) -> dict[str, float]:
    """Train the rest of an epoch; returns how long that took."""
    epoch, done = int(progress.epoch), int(progress.step)
    stage.epoch_start(epoch)
    batches = device.workers.distribute(stage.batches, epoch, done)
    bar = tqdm(
        batches, desc=f"{stage.name} {epoch + 1}/{stage.epochs}", total=stage.steps, initial=done, unit="batch",
        mininterval=1.0, leave=False,
    )  # fmt: skip
    clock = Clock()
    losses = UnreadLosses(stage.name, epoch, done, stage.row_ids, device.strategy.experimental_local_results)
    for batch in clock.over(bar):
        done += 1
        with profile.step(done, losses.check):
            losses.add(train_step(batch), batch["rows"])
        stop = device.workers.any(stopped)  # by a signal that one process gets, all stop after the same batch
        if stop or losses.are_many():
            losses.check()
            bar.set_postfix(loss=f"{float(progress.loss_sum) / done:.4f}", refresh=False)
        if stop:
            bar.close()
            saver.save()
            raise Interrupted(f"{_signal(stopped)}: saved at {stage.name} epoch {epoch + 1}, batch {done}")
    losses.check()
    profile.end(losses.check)
    return clock.seconds()


def _signal(stopped: list[str]) -> str:
    return stopped[0] if stopped else "another worker's signal"


def _finish_epoch(
    stage: Stage,
    progress: _Progress,
    optimizer: Any,
    history: History,
    folder: Path,
    seconds: dict[str, float],
    workers: Workers,
) -> None:
    epoch = int(progress.epoch) + 1
    began = time.perf_counter()
    scores = workers.of_chief(stage.validate())
    values = {
        "loss": float(progress.loss_sum) / max(1, int(progress.step)),
        "learning_rate": float(optimizer.learning_rate.numpy()),
        **{f"valid_{name}": value for name, value in scores.items()},
        **seconds,
        "validation_seconds": time.perf_counter() - began,
    }
    # Ties go to the later epoch: a BLEU-4 of zero says nothing, and more training rarely made it worse.
    if scores[stage.monitor] >= float(progress.best):
        progress.best.assign(scores[stage.monitor])
        progress.best_epoch.assign(epoch)
        stage.keep_best(folder / f"best-{epoch}")
    history.add(stage.name, epoch, values)
    shown = "  ".join(f"{name} {values[name]:.4f}" for name in values if not name.endswith("_seconds"))
    say(f"{stage.name} epoch {epoch}/{stage.epochs}  {shown}")
    for callback in stage.epoch_end:
        callback(epoch, values)
    progress.epoch.assign_add(1)
    progress.step.assign(0)
    progress.loss_sum.assign(0.0)


def _rate_beginning(stage: Stage, progress: _Progress, folder: Path, workers: Workers) -> None:
    score = workers.of_chief(stage.validate())[stage.monitor]
    progress.best.assign(score)
    progress.best_epoch.assign(0)
    stage.keep_best(folder / "best-0")
    say(f"{stage.name}: begins at {stage.monitor} {score:.4f}")


def _out_of_patience(progress: _Progress, config: TrainingConfig) -> bool:
    return int(progress.best_epoch) >= 0 and int(progress.epoch) - int(progress.best_epoch) >= config.patience


@contextmanager
def _signals() -> Iterator[list[str]]:
    """Collects SIGINT and SIGTERM for the loop to act on between two batches; a second SIGINT acts at once."""
    stopped: list[str] = []

    def handle(number: int, frame: Any) -> None:
        if stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.append(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
