"""What one of many processes does: it loads the model once, and captions part after part."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.cluster.engine import Resources
from medcap_tf.cluster.reading import chunks_of
from medcap_tf.cluster.rows import COLUMNS, EXPLAINED, explained, to_row, to_table
from medcap_tf.cluster.sources import Unit
from medcap_tf.cluster.storage import Folder

_CHUNK = 256  # encoded images in memory at a time; the captioner makes its own batches of them


class Part(NamedTuple):
    """What is captioned and written at a time."""

    number: int
    units: list[Unit]

    @property
    def file(self) -> str:
        """Where its captions go, below the job's folder."""
        return f"captions/part-{self.number:06d}.parquet"

    def __str__(self) -> str:
        """For messages: its first and last files."""
        names = list(dict.fromkeys([self.units[0].path, self.units[-1].path]))
        return f"part {self.number} ({' to '.join(names)})"


@dataclass(frozen=True)
class Model:
    """A run or an export as every worker loads it."""

    path: Path
    settings: Mapping[str, Any]
    explain: bool = False  # with the maps and boxes of each word


def prepare_process(resources: Resources) -> str:
    """As many threads as the worker has processors, and no GPU that it was not given; returns the worker's name."""
    # By TensorFlow's variables, not its Python: an export does without that, whose import takes seconds.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threads = str(resources.cpus_per_worker)
    os.environ |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    if resources.gpus_per_worker:
        os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # several workers may share one
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    return f"{socket.gethostname()}:{os.getpid()}"


class CaptionWorker:
    """Captions parts of a job and writes them."""

    def __init__(self, model: Model, resources: Resources, out: Folder):
        """Nothing is loaded yet: what goes wrong then has to come out as an answer."""
        self._model, self._resources, self._out = model, resources, out
        self._name, self._began = "", time.perf_counter()
        self._captioner: Any = None

    def load(self) -> None:
        """Load the model; raises InputError where this machine does not have it."""
        self._name = prepare_process(self._resources)
        from medcap_tf.api import load

        self._captioner = load(self._model.path, self._model.settings)
        self._captioner.caption(np.zeros((8, 8, 3), np.uint8))  # its graph is traced with the first image

    def run(self, part: Part) -> dict[str, Any]:
        """Caption and write a part; returns what its file's footer says of it."""
        began = time.perf_counter()
        rows = []
        for chunk in chunks_of(part.units, _CHUNK):
            captions = self._captioner.caption([item.image for item in chunk])
            rows += [self._row(item.name, caption) for item, caption in zip(chunk, captions)]
        seconds = time.perf_counter() - began
        facts = {"worker": self._name, "seconds": round(seconds, 3), "started": round(began - self._began, 3)}
        table = to_table(rows, EXPLAINED if self._model.explain else COLUMNS, facts)
        self._out.write_table(part.file, table)
        return {**facts, "images": len(rows)}

    def _row(self, name: str, caption: Caption) -> dict[str, Any]:
        return {**to_row(name, caption), **(explained(caption) if self._model.explain else {})}
