"""What one caption costs in a fresh process, as a multiple of TensorFlow's own import.

    python benchmarks/cold_start.py --run runs/demo --export served/medcap --image scan.png

Seconds are the processor's, of the process and all its threads; every round measures all contenders in turn, and
medians are compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Print a line a contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--export", type=Path, required=True, help="of that run")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    caption = ["-m", "medcap_tf", "caption"]
    contenders = {
        "import tensorflow": ["-c", "import tensorflow"],
        "a caption by the run": [*caption, chosen.run, chosen.image],
        # What its graph was not saved for: an option of decoding, even the run's own.
        "a caption by its weights": [*caption, chosen.run, chosen.image, "--beam-width", "3"],
        "a caption by the export": [*caption, chosen.export, chosen.image],
    }
    seconds: dict[str, list[float]] = {title: [] for title in contenders}
    for _ in range(chosen.rounds):
        for title, arguments in contenders.items():
            seconds[title].append(processor_seconds(arguments))
    bare = statistics.median(seconds["import tensorflow"])
    for title, values in seconds.items():
        print(f"{title:25}{statistics.median(values):6.1f} s{statistics.median(values) / bare:6.2f} x the import")


def processor_seconds(arguments: list[str | Path]) -> float:
    """Of one Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True, env=quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
