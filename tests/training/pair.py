"""One of two processes that train a small network by `run_stage`: `python -m tests.training.pair OUT [SIGNAL STEP]`.

With SIGNAL it sends itself that after so many steps, counted where the processes ask each other whether to stop.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from medcap_tf.config import TrainingConfig
from medcap_tf.models.dropout import ResumableDropout
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.device import prepare_device
from medcap_tf.training.history import History
from medcap_tf.training.loop import Interrupted, Stage, run_stage
from medcap_tf.training.workers import WorkerLost, Workers, together

CONFIG = TrainingConfig(deterministic=True, warmup_epochs=0, seed=5, precision="float32")
ROWS, BATCH, STEPS, EPOCHS = 26, 8, 3, 3  # two rows are left over in each epoch


def build():
    """Batch normalization, whose averages each replica has for itself, and dropout."""
    image = keras.Input((6, 6, 3))
    hidden = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(hidden))
    return keras.Model(image, keras.layers.Dense(3)(ResumableDropout(0.25, 1)(pooled)))


def stage_of(device, run):
    """The stage: rows of noise, whose order and noise depend on epoch and batch alone."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(ROWS, 6, 6, 3)).astype(np.float32), rng.integers(0, 3, ROWS)
    with device.strategy.scope():
        model = build()
    predict = device.workers.local(tf.function(lambda values: model(values, training=False)))

    def batches(epoch, skip, replicas):
        order = np.random.default_rng([5, epoch]).permutation(ROWS)[: STEPS * BATCH].reshape(STEPS, BATCH)[skip:]
        share = BATCH // replicas[2]
        own = order[:, replicas[0] * share : replicas[1] * share].reshape(-1, share)
        return tf.data.Dataset.from_tensor_slices({"rows": own, "x": x[own], "y": y[own]})

    def loss(batch, step):
        logits = model(batch["x"], training=True)
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(batch["y"], logits, from_logits=True))

    def keep_best(folder):
        folder.mkdir(parents=True)
        np.savez(folder / "weights.npz", *model.get_weights())

    return Stage(
        name="tiny", epochs=EPOCHS, learning_rate=0.01, steps=STEPS, modules={"model": model},
        variables=model.trainable_variables, batches=batches, loss=loss,
        validate=lambda: {"f1": float(np.mean(predict(x).numpy().argmax(-1) == y))}, monitor="f1", keep_best=keep_best,
        row_ids=lambda rows: [str(row) for row in rows], ema_decay=0.9,
    )  # fmt: skip


def arm(name, step):
    """Send the signal when the question is asked for the `step`-th time."""
    asked, any_of = itertools.count(1), Workers.any

    def watched(self, happened):
        if next(asked) == step:
            os.kill(os.getpid(), getattr(signal, name))
        return any_of(self, happened)

    Workers.any = watched


def main(out):
    """Train; exits as `train.py` does."""
    shared, device = RunFolder(out), prepare_device(CONFIG)
    try:
        with together(device.workers, shared) as folder:
            run_stage(stage_of(device, folder), CONFIG, device, folder, History(folder), shared)
            device.workers.wait()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    except WorkerLost as lost:
        print(f"error: {lost}", file=sys.stderr, flush=True)
        os._exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        arm(sys.argv[2], int(sys.argv[3]))
    main(Path(sys.argv[1]))
