"""Harm tables at random and have the data doctor examine them: no crash, no hang, no neighbor harmed, memory bounded.

    python benchmarks/fuzz_tables.py --cases 10000

A case that fails is printed with its seed, and `--seed N --cases 1` repeats it alone.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.data.table_mutations import check, mutate


def main() -> None:
    """Run the cases, print the figures; exit code 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first case; the next has the next")
    parser.add_argument("--limit", type=int, default=10, metavar="SECONDS", help="for one case: longer is a hang")
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, _hang)
    outcomes: Counter[str] = Counter()
    slowest, start = 0.0, time.perf_counter()
    memory = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in tqdm(range(args.cases), unit="table", disable=None):
            began = time.perf_counter()
            outcomes[_outcome(args.seed + case, Path(folder), args.limit)] += 1
            slowest = max(slowest, time.perf_counter() - began)
            if case == min(100, args.cases - 1):
                memory = _peak()
    print(", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))
    print(f"{args.cases} tables in {time.perf_counter() - start:.0f} s, the slowest {slowest:.2f} s")
    print(f"peak memory {memory / 1024:.0f} MiB after the first 100 tables, {_peak() / 1024:.0f} MiB at the end")
    sys.exit(bool(set(outcomes) - {"read", "refused"}))


def _outcome(seed: int, folder: Path, limit: int) -> str:
    signal.alarm(limit)
    try:
        return check(mutate(random.Random(seed)), folder)
    except Exception as error:  # whatever it is, it is what is looked for
        tqdm.write(f"seed {seed}: {traceback.format_exc()[-2000:]}")
        return {AssertionError: "harmed", TimeoutError: "hung"}.get(type(error), "crashed")
    finally:
        signal.alarm(0)


def _hang(*_: Any) -> None:
    raise TimeoutError("hung")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
