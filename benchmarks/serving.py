"""What serving costs beside the bare ResNet50 forward pass, as ratios inside one run: `python benchmarks/serving.py`.

Two SavedModels are written, the export of a captioner and its unfolded encoder alone, and both are loaded by
TensorFlow's C API in a new process, as TensorFlow Serving loads them. Every round measures all contenders in turn, and
medians are compared. Weights are random, so no caption ends before its --steps.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from medcap_tf.serving.capi import ServedModel

ROUNDS = 9
SIZES = (1, 8, 32)


def main() -> None:
    """Print cold start, memory, and a line a batch size and contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=20, help="tokens of every caption")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.measure, chosen.image_size, chosen.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder), chosen.image_size, chosen.steps, chosen.precision)
        print(
            f"{chosen.image_size} pixels, {chosen.steps} steps, {chosen.precision}, medians of {chosen.rounds} rounds"
        )
        sys.stdout.flush()
        again = [sys.executable, __file__, "--measure", folder, "--image-size", str(chosen.image_size)]
        subprocess.run([*again, "--rounds", str(chosen.rounds)], check=True)


def write_models(folder: Path, size: int, steps: int, precision: str) -> None:
    """`folder/images/`, `folder/served` and `folder/bare`."""
    import tensorflow as tf

    from medcap_tf.captioner import RunCaptioner
    from medcap_tf.config import Config
    from medcap_tf.data.records import read_dataset
    from medcap_tf.data.splits import frequent_concepts
    from medcap_tf.models.captioning import CaptioningModel
    from medcap_tf.phantoms import draw_dataset
    from medcap_tf.run_folder import ConceptList
    from medcap_tf.serving.module import ServedCaptioner
    from medcap_tf.text import Normalizer, Vocabulary

    draw_dataset(folder / "images", {"train": max(SIZES)}, seed=0)
    records = read_dataset(folder / "images").splits["train"]
    config = Config().replace(
        {"visual.weights": "none", "visual.image_size": size, "decoding.max_length": steps, "data.min_concept_count": 1}
    )
    concepts, vocabulary = (
        frequent_concepts(records, 1),
        Vocabulary.build((r.caption for r in records), Normalizer(), 1),
    )
    model = CaptioningModel.build(config, len(vocabulary), len(concepts))
    captioner = RunCaptioner(config, model, vocabulary, ConceptList(tuple(concepts)))
    served = ServedCaptioner(captioner, folder, precision=precision)
    tf.saved_model.save(served, str(folder / "served"), signatures=served.signatures())
    bare = tf.Module()
    bare.weights = model.encoder.weights
    image = tf.TensorSpec([None, size, size, 3], tf.float32, "image")
    bare.run = tf.function(lambda image: {"regions": model.encoder(image, training=False)}, input_signature=[image])
    tf.saved_model.save(bare, str(folder / "bare"), signatures=bare.run)


def measure(folder: Path, size: int, rounds: int) -> None:
    """In a process without Python's TensorFlow: load both, and time them in turn."""
    began = time.perf_counter()
    served = ServedModel(folder / "served")
    loaded = time.perf_counter()
    paths = sorted(path for path in folder.glob("images/train/images/*"))
    files = np.array([path.read_bytes() for path in paths], object)
    served.run("serving_default", {"image_bytes": files[:1]})
    print(f"cold start: {loaded - began:.1f} s to load, {time.perf_counter() - loaded:.1f} s to the first answer")
    pixels = np.random.default_rng(0).uniform(0, 255, (max(SIZES), size, size, 3)).astype(np.float32)
    inputs = {"serving_default": ("image_bytes", files), "explain": ("image_bytes", files), "image": ("image", pixels)}
    for signature, (name, rows) in inputs.items():
        served.run(signature, {name: rows})
    print(f"peak memory after three signatures at batch {max(SIZES)}: {peak_memory()} MiB")
    bare = ServedModel(folder / "bare")
    contenders = {"bare forward pass": (bare, "serving_default", "image", pixels)}
    contenders |= {signature: (served, signature, *given) for signature, given in inputs.items()}
    for batch in SIZES:
        compare(contenders, batch, rounds)


def compare(contenders: dict, batch: int, rounds: int) -> None:
    """Images a second of each contender, and as a share of the first's."""
    seconds: dict[str, list[float]] = {title: [] for title in contenders}
    for turn in range(rounds + 1):
        for title, (model, signature, name, rows) in contenders.items():
            began = time.perf_counter()
            model.run(signature, {name: rows[:batch]})
            if turn:  # the first round optimizes the graphs
                seconds[title].append(time.perf_counter() - began)
    bare = statistics.median(next(iter(seconds.values())))
    for title, values in seconds.items():
        median = statistics.median(values)
        print(f"batch {batch:3}  {title:20}{batch / median:8.1f} images/s{bare / median:8.0%} of the forward pass")
    sys.stdout.flush()


def peak_memory() -> int:
    """MiB that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
