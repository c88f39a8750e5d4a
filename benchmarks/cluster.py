"""Bulk captioning on Ray beside one process, and its pipeline without a model.

    python benchmarks/cluster.py throughput RUN_OR_EXPORT IMAGES [--workers 2] [--rounds 3]
    python benchmarks/cluster.py simulate [--rows 1000000] [--workers 2]

`throughput` captions a folder by workers of one processor each and by one process with as many threads, in turns, each
in a process of its own, and tells the images a second after the start, the start, and the ratio of the medians.
`simulate` lists, plans, hands out, writes and sums up paths
that nobody opens, captioned by a worker that knows one caption: what is left is the cost of the pipeline.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.cluster.bulk import PART_SIZE, caption_all
from medcap_tf.cluster.engine import Resources
from medcap_tf.cluster.worker import CaptionWorker, Model
from medcap_tf.data.folders import find_files

CAPTION = Caption(
    words=("there", "is", "a", "mass", "in", "the", "left", "upper", "lobe"),
    stems=("mass", "left", "upper", "lobe"),
    score=-0.7,
    concepts=(("C0577559", 0.9), ("C0040405", 0.8)),
)


class OneCaption(CaptionWorker):
    """Says the same of every image, and opens none."""

    def load(self) -> None:
        """No model."""
        self._name, self._captioner = str(np.random.default_rng().integers(1 << 30)), self

    def caption(self, sources: list[Any]) -> list[Caption]:
        """One caption for all."""
        return [CAPTION] * len(sources)


def alone(model: Path, images: list[Path], threads: int) -> dict[str, float]:
    """One process: its start with the first image, then the others."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    began = time.perf_counter()
    import medcap_tf

    captioner = medcap_tf.load(model)
    captioner.caption(images[:16])
    started = time.perf_counter()
    captioner.caption(images)
    return {"start_seconds": started - began, "images_per_second": len(images) / (time.perf_counter() - started)}


def together(model: Path, images: Path, workers: int) -> dict[str, float]:
    """Workers of one processor each; of each the seconds that it captioned for."""
    out = tempfile.mkdtemp()
    try:
        summary = caption_all(Model(model.resolve(), {}), str(images), out, Resources(workers=workers), 50)
    finally:
        shutil.rmtree(out)
    own = summary["workers"].values()
    busy = max(one["seconds"] for one in own)  # the work ends with the worker that is busy longest
    return {
        "start_seconds": max(one["start_seconds"] for one in own),
        "images_per_second": summary["images"] / busy,
        "all_seconds": summary["seconds"],
    }


def in_turns(model: Path, images: Path, workers: int, rounds: int) -> dict[str, Any]:
    """Both arms one after the other, so that what else the machine does falls on both alike."""
    taken: dict[str, list[dict[str, float]]] = {"together": [], "alone": []}
    for _ in range(rounds):
        for arm, results in taken.items():
            command = [sys.executable, __file__, "throughput", str(model), str(images), "--workers", str(workers)]
            done = subprocess.run([*command, "--arm", arm], stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    rates = {arm: statistics.median(one["images_per_second"] for one in results) for arm, results in taken.items()}
    return {**taken, "median": rates, "ratio": rates["together"] / rates["alone"]}


def simulate(rows: int, workers: int) -> dict[str, float]:
    """Rows through the whole pipeline but the model and the files."""
    folder = Path(tempfile.mkdtemp())
    try:
        table = folder / "list.csv"
        table.write_text("path\n" + "".join(f"/images/{i // 1000:05d}/{i:09d}.png\n" for i in range(rows)))
        job = str(folder / "out")
        summary = caption_all(
            Model(empty_run(folder), {}), str(table), job, Resources(workers=workers), worker=OneCaption
        )
        size = sum(path.stat().st_size for path in (folder / "out" / "captions").iterdir())
        assert summary["images"] == rows
        return {
            "rows": rows,
            "seconds": summary["seconds"],
            "rows_per_second": rows / summary["seconds"],
            "workers_busy_seconds": sum(one["seconds"] for one in summary["workers"].values()),
            "driver_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "parts": -(-rows // PART_SIZE),
            "output_bytes_a_row": size / rows,
        }
    finally:
        shutil.rmtree(folder)


def empty_run(folder: Path) -> Path:
    """What is taken for a run, as long as nobody loads it."""
    from medcap_tf.config import Config

    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text(json.dumps({"config": Config().to_json()}))
    return folder / "run"


def main() -> None:
    """Print a line of JSON a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    throughput = kinds.add_parser("throughput")
    throughput.add_argument("model", type=Path)
    throughput.add_argument("images", type=Path)
    throughput.add_argument("--rounds", type=int, default=3)
    throughput.add_argument("--arm", choices=("together", "alone"), help="one of the two, once")
    simulation = kinds.add_parser("simulate")
    simulation.add_argument("--rows", type=int, default=1_000_000)
    for one in (throughput, simulation):
        one.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.kind == "simulate":
        print(json.dumps(simulate(args.rows, args.workers)))
    elif args.arm == "alone":
        print(json.dumps(alone(args.model, find_files([args.images]), args.workers)))
    elif args.arm == "together":
        print(json.dumps(together(args.model, args.images, args.workers)))
    else:
        print(json.dumps(in_turns(args.model, args.images, args.workers, args.rounds), indent=1))


if __name__ == "__main__":
    main()
