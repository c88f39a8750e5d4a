"""What every step costs at 1,000, 10,000 and 80,000 records: time and peak memory, as a table in Markdown.

    python benchmarks/scale.py --captions DIR [--images DIR] [--records 1000 10000] [--steps 20] [--keep FOLDER]

DIR are data sets of yours: the first gives captions and concepts, the second images. From them a set in the layout of
ImageCLEFmed Caption 2025 is made, 80% of it to train, 10% to validate, 10% to test: each caption is the first half of
one and the second half of another, so are its concepts, and its image is a hard link. One small training of all stages
runs on it, `--steps` batches an epoch, then an export and a caption from either. Each command is a process of its own;
the peak is that of the step, not of the process, where the kernel can tell (Linux). Seconds are the processor's, all
cores together, so that others on the machine do not count.

Features are computed once for each different image, and there are only as many as the second data set has: they stand
in the table by the image.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from medcap_tf.data.records import Record, read_dataset
from medcap_tf.memory import peak_megabytes, reset_peak

ROOT = Path(__file__).resolve().parents[1]
BATCH = 64
SETTINGS = {
    "visual": {"weights": "none", "image_size": 64, "layer": "conv3_block4_out", "concept_epochs": 1},
    "semantic": {"epochs": 1},
    "training": {"epochs": 1, "batch_size": BATCH, "precision": "float32"},
    "decoding": {"batch_size": BATCH},
}
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def main() -> None:
    """Print a table with a row a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="a data set with captions and concepts")
    parser.add_argument("--images", type=Path, help="a data set with images (without: text alone, and what it trains)")
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000, 80_000])
    parser.add_argument("--steps", type=int, default=20, help="batches of an epoch that are trained")
    parser.add_argument("--keep", type=Path, help="where to leave data, runs and figures (default: nowhere)")
    parser.add_argument("--train", nargs=2, type=Path, metavar=("DATA", "RUN"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        print(json.dumps(train(*args.train, args.steps)))
        return
    if not args.captions:
        parser.error("--captions is needed")
    with tempfile.TemporaryDirectory() as temporary:
        place = args.keep or Path(temporary)
        columns = {}
        for count in args.records:
            columns[count] = measure(args, count, place / str(count))
            (place / f"{count}.json").write_text(json.dumps(columns[count], indent=2) + "\n")
            print(table(columns), flush=True)


def measure(args: argparse.Namespace, count: int, place: Path) -> dict[str, list[float]]:
    """[seconds, MB] by step, at one number of records."""
    shutil.rmtree(place, ignore_errors=True)
    draw(args.captions, args.images, count, place / "data")
    rows = {"data doctor, without images": command("-m", "medcap_tf", "records", place / "data", "--skip-images")}
    child = ("benchmarks/scale.py", "--train", place / "data", place / "run", "--steps", str(args.steps))
    rows.update(json.loads(subprocess.run(python(*child), cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout))
    if not args.images:
        return rows
    image = next((place / "data" / "test" / "images").iterdir())
    rows["one caption from the run"] = command("-m", "medcap_tf", "caption", place / "run", image)
    rows["export"] = command("-m", "medcap_tf", "export", place / "run", "--out", place / "served")
    size = sum(path.stat().st_size for path in (place / "served").rglob("*") if path.is_file())
    rows["size of the export"] = [0, size / 1e6]
    return rows


def draw(captions: Path, images: Path | None, count: int, out: Path) -> None:
    """A data set of `count` records in the layout of ImageCLEFmed Caption 2025; the same for the same arguments."""
    texts = [r for split in read_dataset(captions).splits.values() for r in split if r.caption and r.concepts]
    sets = read_dataset(images).splits.values() if images else ()
    files = [record.image_path for split in sets for record in split if record.image_path]
    draws = random.Random(0)
    for split, share in SHARES.items():
        folder = out / split / "images" if files else out / split
        folder.mkdir(parents=True)
        with open(out / split / "captions.csv", "w") as one, open(out / split / "concepts.csv", "w") as other:
            write_caption, write_concepts = csv.writer(one).writerow, csv.writer(other).writerow
            write_caption(["ID", "Caption"])
            write_concepts(["ID", "CUIs"])
            for number in range(round(count * share)):
                name = f"ImageCLEFmedical_Caption_2025_{split}_{number}"
                if files:
                    file = draws.choice(files)
                    link(file, folder / f"{name}{file.suffix}")
                caption, concepts = splice(*draws.choices(texts, k=2))
                write_caption([name, caption])
                write_concepts([name, ";".join(concepts)])


def splice(first: Record, second: Record) -> tuple[str, list[str]]:
    """The first half of one and the second half of the other, of words and of concepts."""
    words, others = first.caption.split(), second.caption.split()
    codes = [*first.concepts[: (len(first.concepts) + 1) // 2], *second.concepts[len(second.concepts) // 2 :]]
    return " ".join([*words[: (len(words) + 1) // 2], *others[len(others) // 2 :]]), list(dict.fromkeys(codes))


def link(source: Path, target: Path) -> None:
    """A hard link, or a symbolic one to another file system."""
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source.resolve())


def python(*arguments: object) -> list[str]:
    """A command line of this interpreter."""
    return [sys.executable, *map(str, arguments)]


def command(*arguments: object) -> list[float]:
    """Run it; [seconds, peak MB]."""
    with subprocess.Popen(python(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        errors = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed:\n{errors.decode()[-3000:]}")
    return [usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]


class Ledger:
    """[seconds, peak MB] by step; a step within a step is taken from it."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}
        self._open = [[0.0, 0.0]]  # of each step that has begun: seconds of steps within it, and its peak before them

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a block under this name."""
        self._open[-1][1] = max(self._open[-1][1], peak_megabytes())
        self._open.append([0.0, 0.0])
        reset_peak()
        began = time.process_time()
        yield
        seconds = time.process_time() - began
        within, before = self._open.pop()
        self.add(name, seconds - within, max(before, peak_megabytes()))
        self._open[-1][0] += seconds
        reset_peak()

    def add(self, name: str, seconds: float, megabytes: float) -> None:
        """Add the seconds, and keep the higher peak."""
        before = self.rows.get(name, [0.0, 0.0])
        self.rows[name] = [before[0] + seconds, max(before[1], megabytes)]

    def watch(self, module: Any, function: str, name: str) -> None:
        """Measure every call of a module's function."""
        original = getattr(module, function)

        @functools.wraps(original)
        def measured(*arguments: Any, **options: Any) -> Any:
            with self.step(name):
                return original(*arguments, **options)

        setattr(module, function, measured)


def train(data: Path, run: Path, steps: int) -> dict[str, list[float]]:
    """A training in which every step is measured."""
    from medcap_tf.config import from_json
    from medcap_tf.data import feature_cache
    from medcap_tf.training import finish
    from medcap_tf.training import run as training

    ledger, settings = Ledger(), from_json(SETTINGS)
    for function, name in {
        "read_dataset": "read the tables", "choose_splits": "read the tables",
        "check_images": "decode and hash every image", "_prepare": "vocabulary, network, batches' constants",
        "_caption_input": "feature cache: find, compute", "_datastore": "datastore",
        "_choose_retrieval": "choose the retrieval's strength", "_by_validation": "calibrate, tune the baselines",
        "evaluate": "caption the test split and score it",
    }.items():  # fmt: skip
        ledger.watch(training if hasattr(training, function) else finish, function, name)
    original, computed = training.run_stage, [0]

    def run_stage(stage: Any, *arguments: Any) -> Any:
        whole, batches, validate = stage.steps, stage.batches, stage.validate
        began: list[float] = []
        ended: list[float] = []

        def epoch_start(epoch: int) -> None:
            stage.epoch_start(epoch)
            began.append(time.process_time())

        def validated() -> dict[str, float]:
            ended.append(time.process_time())
            if len(ended) == 1:
                return {stage.monitor: 0.0}
            with ledger.step(f"{stage.name}: validation"):
                return validate()

        # Two epochs: the first traces the graphs, the second is measured.
        short = dataclasses.replace(
            stage,
            epochs=2,
            steps=min(steps, whole),
            validate=validated,
            epoch_start=epoch_start,
            batches=lambda *a: batches(*a).take(steps),
        )
        name = f"{stage.name}: an epoch"
        with ledger.step(name):
            result = original(short, *arguments)
        ledger.rows[name][0] = (ended[1] - began[1]) / min(steps, whole) * whole
        return result

    training.run_stage = run_stage
    append = feature_cache.FeatureCache._append

    def counted(self: Any, view: str, missing: Any, *arguments: Any) -> None:
        began = time.process_time()
        append(self, view, missing, *arguments)
        computed[0] += len(missing)
        ledger.add("features of 1,000 images", (time.process_time() - began) * 1000, 0)

    feature_cache.FeatureCache._append = counted  # type: ignore[method-assign]
    with ledger.step("everything else"):
        training.train(settings, data, run)
    if computed[0]:
        ledger.rows["features of 1,000 images"][0] /= computed[0]
    return ledger.rows


def table(columns: dict[int, dict[str, list[float]]]) -> str:
    """Markdown: a row a step, seconds and MB under each number of records."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))

    def cell(values: Sequence[float] | None) -> str:
        if values is None:
            return ""
        seconds, megabytes = values
        parts = [f"{seconds:,.3g} s"] * bool(seconds) + [f"{megabytes:,.0f} MB"] * bool(megabytes)
        return ", ".join(parts)

    head = f"| | {' | '.join(f'{count:,} records' for count in columns)} |\n|---|{'---|' * len(columns)}"
    return "\n".join(
        [head, *(f"| {name} | {' | '.join(cell(column.get(name)) for column in columns.values())} |" for name in names)]
    )


if __name__ == "__main__":
    main()
