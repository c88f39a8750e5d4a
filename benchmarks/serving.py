"""What serving costs beside the bare ResNet50 forward pass, as ratios inside one run: `python benchmarks/serving.py`.

Two SavedModels are written, the export of a captioner and its unfolded encoder alone, and both are loaded by
TensorFlow's C API in a new process, as TensorFlow Serving loads them. Every round measures all contenders in turn, and
medians are compared. Weights are random, so no caption ends before its --steps; or they are a run's (--run), with its
similar images, its image size and its way of decoding.
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
from typing import Any

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
    parser.add_argument("--run", type=Path, help="a trained run, in place of random weights")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.measure, chosen.image_size, chosen.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        size, steps = write_models(Path(folder), chosen)
        print(f"{size} pixels, {steps} steps, {chosen.precision}, medians of {chosen.rounds} rounds")
        sys.stdout.flush()
        again = [sys.executable, __file__, "--measure", folder, "--image-size", str(size)]
        subprocess.run([*again, "--rounds", str(chosen.rounds)], check=True)


def write_models(folder: Path, chosen: argparse.Namespace) -> tuple[int, int]:
    """`folder/images/`, `folder/served` and `folder/bare`; returns the image size and the longest caption's tokens."""
    import tensorflow as tf

    from medcap_tf.captioner import RunCaptioner
    from medcap_tf.phantoms import draw_dataset
    from medcap_tf.serving.module import ServedCaptioner

    draw_dataset(folder / "images", {"train": max(SIZES)}, seed=0)
    captioner = RunCaptioner.load(chosen.run) if chosen.run else untrained(folder, chosen)
    size, encoder = captioner.config.visual.image_size, captioner.model.encoder
    served = ServedCaptioner(captioner, folder, precision=chosen.precision)
    tf.saved_model.save(served, str(folder / "served"), signatures=served.signatures())
    bare = tf.Module()
    bare.weights = encoder.weights
    image = tf.TensorSpec([None, size, size, 3], tf.float32, "image")
    # Of an encoder with a finer grid the regions alone: that grid is no part of ResNet50.
    bare.run = tf.function(
        lambda image: {"regions": tf.nest.flatten(encoder(image, training=False))[0]}, input_signature=[image]
    )
    tf.saved_model.save(bare, str(folder / "bare"), signatures=bare.run)
    return size, captioner.config.decoding.max_length


def untrained(folder: Path, chosen: argparse.Namespace) -> Any:
    """A captioner of random weights, with the words and concepts of the images in `folder`."""
    from medcap_tf.captioner import RunCaptioner
    from medcap_tf.config import Config
    from medcap_tf.data.records import read_dataset
    from medcap_tf.data.splits import frequent_concepts
    from medcap_tf.models.captioning import CaptioningModel
    from medcap_tf.run_folder import ConceptList
    from medcap_tf.text import Normalizer, Vocabulary

    records = read_dataset(folder / "images").splits["train"]
    settings = {"visual.weights": "none", "visual.image_size": chosen.image_size, "data.min_concept_count": 1}
    config = Config().replace({**settings, "decoding.max_length": chosen.steps})
    concepts = frequent_concepts(records, 1)
    vocabulary = Vocabulary.build((record.caption for record in records), Normalizer(), 1)
    model = CaptioningModel.build(config, len(vocabulary), len(concepts))
    return RunCaptioner(config, model, vocabulary, ConceptList(tuple(concepts)))


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
