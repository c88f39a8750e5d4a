"""kill -9 at random moments of a small training: are the final weights those of one that was left alone?

    python benchmarks/kills.py --kills 50 --seed 0 [--set visual.trainable=last_stage]

Trains once in peace, then again and again with `--resume` under kill -9, each at a moment drawn uniformly from the time
that the first one took. A run that reaches its end is compared and another is begun, until as many processes were
killed as asked for; the last run is then let go to its end. Prints one line a run; exits with 1 if any differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "visual": {"weights": "none", "image_size": 32, "layer": "conv2_block3_out", "concept_epochs": 1},
    "semantic": {"embedding_size": 16, "units": 24, "attention_units": 16, "epochs": 1},
    "decoder": {"embedding_size": 24, "units": 32, "attention_units": 16},
    "training": {"epochs": 2, "batch_size": 8, "precision": "float32", "deterministic": True},
    "data": {"min_concept_count": 2, "horizontal_flip": False},
    "decoding": {"max_length": 12},
}


class Trainer:
    """One data set and one configuration, trained into folders under `place`."""

    def __init__(self, place: Path, settings: list[str]):
        self.place, self.data, config = place, place / "data", place / "config.json"
        config.write_text(json.dumps(SETTINGS))
        phantoms = ("-m", "medcap_tf", "phantoms", self.data, "--train", 48, "--valid", 12, "--test", 12)
        subprocess.run([sys.executable, *map(str, phantoms)], cwd=ROOT, check=True, capture_output=True)
        self.more = ["--data", self.data, "--config", config, "--resume", *(["--set", *settings] if settings else [])]

    def train(self, name: str, limit: float | None = None) -> bool:
        """Train, or go on, in a folder of its own; False where `limit` seconds were over and it was killed."""
        # Each with its own cache, or the first would fill it for all.
        command = ["train.py", "--out", self.place / name / "run", *self.more]
        with subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                errors = process.communicate(timeout=limit)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return False
        if process.returncode:
            raise SystemExit(f"a training failed:\n{errors[-3000:]}")
        return True

    def stage(self, name: str) -> str:
        """How far a run has come, for people."""
        run = self.place / name / "run"
        reached = [stage for stage in ("visual", "semantic", "caption") if (run / "checkpoints" / stage).is_dir()]
        if not (run / "config.json").exists():
            return "before the first file"
        if (run / "checkpoints" / "caption" / "done.json").exists():
            return "after the last stage"
        return f"stage {reached[-1]}" if reached else "before the first stage"

    def digest(self, name: str) -> str:
        """Of every array of the final weights."""
        found = hashlib.sha256()
        for path in sorted((self.place / name / "run" / "checkpoints" / "best").glob("*.h5")):
            with h5py.File(path) as file:
                file.visititems(
                    lambda key, item, stem=path.stem: (
                        found.update(f"{stem}/{key}".encode() + item[()].tobytes())
                        if isinstance(item, h5py.Dataset)
                        else None
                    )
                )
        return found.hexdigest()


def main() -> None:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", nargs="+", default=[], metavar="section.field=value", dest="settings")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        differing = kill(Trainer(Path(place), args.settings), args.kills, random.Random(args.seed))
    sys.exit(1 if differing else 0)


def kill(trainer: Trainer, kills: int, moments: random.Random) -> int:
    """Returns how many of the runs ended with other weights."""
    began = time.monotonic()
    trainer.train("whole")
    span, wanted = time.monotonic() - began, trainer.digest("whole")
    print(f"left alone: {span:.0f} s, weights {wanted[:12]}", flush=True)
    killed, differing, runs, where = 0, 0, 0, Counter[str]()
    while killed < kills:
        runs, here = runs + 1, 0
        while not trainer.train(f"run{runs}", moments.uniform(0, span) if killed < kills else None):
            killed, here = killed + 1, here + 1
            where[trainer.stage(f"run{runs}")] += 1
        same = trainer.digest(f"run{runs}") == wanted
        differing += not same
        print(f"run {runs}: killed {here} times, {'the same weights' if same else 'OTHER WEIGHTS'}", flush=True)
    reached = ", ".join(f"{count} {stage}" for stage, count in where.most_common())
    print(f"{killed} kills ({reached}) in {runs} runs; {runs - differing} of {runs} end with the same weights")
    return differing


if __name__ == "__main__":
    main()
