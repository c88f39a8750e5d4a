"""Harm images of every kind at random and read them with a run's reader and an export's graph, alone and in batches.

    python benchmarks/fuzz_images.py --cases 10000

Asked for: no crash, no hang, no neighbor in a batch harmed, the same pixels from both readers, memory bounded. The work
is done in a process of its own, so that a crash is counted and the rest goes on. A case that fails is printed with its
seed, and `--seed N --cases 1` repeats it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.data.image_files import KINDS, draw
from tests.data.image_mutations import SIZE, check_batch, mutate

_BATCH = 16
_COLUMNS = ("both", "run alone", "graph alone", "neither", "differ", "failed")


def main() -> None:
    """Run the cases, print a table by kind; exit code 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first case; the next has the next")
    parser.add_argument("--limit", type=int, default=60, metavar="SECONDS", help="for a batch of 16: longer is a hang")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work(args.seed, args.cases, args.limit)
        return
    begun, counts, failed = time.perf_counter(), Counter(), 0
    slowest, memory = 0.0, []
    with tqdm(total=args.cases, unit="image", disable=None) as bar:
        for report in supervise(args.seed, args.cases, args.limit):
            bar.update(report["cases"])
            counts.update((kind, outcome) for kind, outcome in report["outcomes"])
            slowest = max(slowest, report["seconds"])
            memory.append(report["memory"])
            for failure in report["failures"]:
                failed += 1
                tqdm.write(failure)
    print(table(counts))
    print(
        f"\n{args.cases} images in {time.perf_counter() - begun:.0f} s; the slowest batch of {_BATCH}: {slowest:.1f} s"
    )
    early = memory[min(len(memory) - 1, 6)]
    print(f"peak memory: {early:.0f} MiB after the first batches, {max(memory):.0f} MiB at the end")
    sys.exit(bool(failed))


def supervise(seed: int, cases: int, limit: int) -> Iterator[dict[str, Any]]:
    """The reports of working processes, one a batch; where one dies, its batch is reported and the next takes over."""
    end = seed + cases
    while seed < end:
        command = [sys.executable, __file__, "--child", *map(str, ("--seed", seed, "--cases", end - seed))]
        child = subprocess.Popen(
            [*command, "--limit", str(limit)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in child.stdout or ():
            if line.startswith("{"):
                report = json.loads(line)
                seed += report["cases"]
                yield report
        if child.wait() and seed < end:
            lost = min(_BATCH, end - seed)
            text = f"seeds {seed} to {seed + lost - 1}: the process ended with {child.returncode}"
            yield {"cases": lost, "outcomes": [], "failures": [text], "seconds": 0.0, "memory": 0.0}
            seed += lost


def work(seed: int, cases: int, limit: int) -> None:
    """Check batches and print a report of each, as JSON."""
    import tensorflow as tf

    from medcap_tf.serving.pixels import read_images

    files = tf.TensorSpec([None], tf.string)
    graph = tf.function(lambda files: read_images(files, SIZE), input_signature=[files])

    def read(files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        pixels, valid = graph(tf.constant(files, tf.string, [len(files)]))
        return pixels.numpy(), valid.numpy()

    good = draw("PNG", np.random.default_rng(0)).data
    for start in range(seed, seed + cases, _BATCH):
        faulthandler.dump_traceback_later(limit, exit=True)
        begun = time.perf_counter()
        seeds = range(start, min(start + _BATCH, seed + cases))
        outcomes, failures = check(list(seeds), read, good)
        report = {"cases": len(seeds), "outcomes": outcomes, "failures": failures}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**report, "seconds": time.perf_counter() - begun, "memory": peak}), flush=True)


def check(seeds: list[int], read: Any, good: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """The outcomes of a batch by kind, and what failed; a batch that fails is gone through one by one."""
    batch = [mutate(seed) for seed in seeds]
    try:
        found = check_batch(batch, read, good, seeds[0] % (len(batch) + 1))
        return [(item.kind, _named(item)) for item in found], []
    except Exception as error:  # whatever it is, it is what is looked for
        if len(seeds) == 1:
            text = str(error) if isinstance(error, AssertionError) else "".join(traceback.format_exception(error)[-3:])
            return [(batch[0][0], "failed")], [f"seed {seeds[0]}: {text[:2000]}"]
    parts = [check([seed], read, good) for seed in seeds]
    failures = [failure for _, failed in parts for failure in failed]
    return [pair for pairs, _ in parts for pair in pairs], failures or [f"seeds {seeds}: fail together, not alone"]


def _named(outcome: Any) -> str:
    if outcome.by_run and outcome.by_graph:
        return "both" if outcome.same else "differ"
    return "run alone" if outcome.by_run else "graph alone" if outcome.by_graph else "neither"


def table(counts: Counter[tuple[str, str]]) -> str:
    """How many files of each kind which reader reads."""
    rows = [["", "files", *_COLUMNS]]
    for kind in KINDS:
        numbers = [counts[kind, column] for column in _COLUMNS]
        rows.append([kind, *map(str, (sum(numbers), *numbers))])
    totals = [sum(int(row[column]) for row in rows[1:]) for column in range(1, len(rows[0]))]
    rows.append(["all", *map(str, totals)])
    return "\n".join("  ".join([row[0].ljust(18), *(cell.rjust(11) for cell in row[1:])]) for row in rows)


if __name__ == "__main__":
    main()
