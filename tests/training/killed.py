"""`train.py` in a process that ends itself by SIGKILL at a chosen point: `python -m tests.training.killed POINT ...`.

POINT is one of

    STAGE.begin        nothing of the stage is done
    STAGE.validation   captions or concepts are scored, nothing of that is written
    STAGE.best         one file of the best weights is written, the others are not
    STAGE.uncommitted  all of them are, the checkpoint that counts them is not
    STAGE.done         the stage is over, what follows has not begun
    features           rows are in the feature cache that its index does not know
    FILE               a file of this name is written beside its place, and not renamed
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import sys
import types
import zlib

import tensorflow as tf

from medcap_tf.cli.main import main
from medcap_tf.data import feature_cache
from medcap_tf.training import run as training

_LATER = 40  # of the rows written to the cache: the first chunk is whole by then, and its index too


def arm(point: str) -> None:
    """Wrap what stands at the points."""
    stage, rows = [""], itertools.count(1)
    run_stage, replace, save, crc32 = training.run_stage, os.replace, tf.train.CheckpointManager.save, zlib.crc32

    def reach(*names: str) -> None:
        if point in names:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_stage(one, *arguments):
        stage[0] = one.name

        def validate():
            scores = one.validate()
            reach(f"{one.name}.validation")
            return scores

        reach(f"{one.name}.begin")
        found = run_stage(dataclasses.replace(one, validate=validate), *arguments)
        reach(f"{one.name}.done")
        return found

    def watched_replace(source, target):
        reach(os.path.basename(target))
        replace(source, target)
        if str(target).endswith(".h5"):
            reach(f"{stage[0]}.best")

    def watched_save(*arguments, **options):
        reach(f"{stage[0]}.uncommitted")
        return save(*arguments, **options)

    def watched_crc32(row):
        if next(rows) >= _LATER:
            reach("features")
        return crc32(row)

    training.run_stage, os.replace, tf.train.CheckpointManager.save = watched_stage, watched_replace, watched_save
    feature_cache.zlib = types.SimpleNamespace(crc32=watched_crc32)


if __name__ == "__main__":
    arm(sys.argv[1])
    main(["train", *sys.argv[2:]])
