"""Where the time of `medcap explain` goes, and that its memory stays flat: `python benchmarks/explain.py`.

One run of the command's own steps: captions, explanations (Grad-CAM, what each word gives, three layers), six
pictures an image, and the report. After every image the bare ResNet50 forward pass of one image is measured too, so
that a machine that slows down slows all of them. Seconds are of processor time, all threads together; drawing has one
thread. Weights are random: no caption ends before its --steps, and concepts are named.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.config import Config
from medcap_tf.data.records import Record, read_dataset
from medcap_tf.data.splits import frequent_concepts
from medcap_tf.explain.clock import Clock
from medcap_tf.explain.explainer import Explainer
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.pictures import write_pictures
from medcap_tf.explain.report import write_report
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.phantoms import draw_dataset
from medcap_tf.run_folder import ConceptList
from medcap_tf.text import Normalizer, Vocabulary

LAYERS = ("conv1_relu", "conv2_block3_out", "conv3_block4_out")
BARE = "bare forward pass"


def main() -> None:
    """Print start-up, the seconds of each part an image, and memory on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set to take images from (default: phantoms drawn for this)")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=12, help="tokens of every caption")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        imported = time.process_time()
        if not chosen.data:
            draw_dataset(Path(folder) / "phantoms", {"train": chosen.images + 1}, seed=0)
        records = read_dataset(chosen.data or Path(folder) / "phantoms").splits["train"]
        began = time.process_time()
        captioner = random_captioner(records, chosen.image_size, chosen.steps)
        built = time.process_time() - began
        print(f"start-up, in processor time: {imported:.1f} s to import, {built:.1f} s to build the models")
        measure(captioner, [record.image_path for record in records[: chosen.images + 1]], Path(folder))


def random_captioner(records: list[Record], size: int, steps: int) -> RunCaptioner:
    """An untrained captioner of the data's words and concepts."""
    config = Config().replace(
        {"visual.weights": "none", "visual.image_size": size, "decoding.max_length": steps, "data.min_concept_count": 1}
    )
    concepts = frequent_concepts(records, 1)
    vocabulary = Vocabulary.build((record.caption for record in records), Normalizer(), 1)
    model = CaptioningModel.build(config, len(vocabulary), len(concepts))
    return RunCaptioner(config, model, vocabulary, ConceptList(tuple(concepts)))


def measure(captioner: RunCaptioner, paths: list[Path], folder: Path) -> None:
    """Explain all images; the first traces the graphs and is told apart."""
    forward = tf.function(lambda x: captioner.model.encoder(tf.cast(x, tf.float32), training=False))
    size = captioner.config.visual.image_size
    pixels = np.zeros((1, size, size, 3), np.uint8)
    forward(pixels)
    began = time.process_time()
    explainer = Explainer(captioner, LAYERS)
    draw(explainer.explain(next(captioner.caption(paths[:1]))), folder)
    print(f"first image: {time.process_time() - began:.1f} s with the tracing of the graphs")
    clock, count = Clock(time.process_time), len(paths) - 1

    def each():  # type: ignore[no-untyped-def]
        captions = clock.each("captions", captioner.caption(paths[1:]))
        explanations = clock.each("explanations", map(explainer.explain, captions))
        for number, explanation in enumerate(explanations, start=1):
            with clock.part("pictures"):
                draw(explanation, folder)
            with clock.part(BARE):
                forward(pixels).numpy()
            if number in (20, count):
                print(f"peak memory after {number} images: {peak_memory()} MiB")
            yield explanation

    with clock.part("report"):
        write_report(folder / "report.html", each())
    bare = clock.seconds[BARE]
    for name, seconds in clock.seconds.items():
        print(f"{name:20}{seconds / count:8.3f} s an image{seconds / bare:8.2f} x the forward pass")
    beyond = clock.seconds["pictures"] + clock.seconds["report"]
    print(f"pictures and report: {count / beyond:.1f} images a second beyond the model's own time")


def draw(explanation: Explanation, folder: Path) -> None:
    """The pictures of one image; not kept."""
    for path in write_pictures(explanation, folder):
        path.unlink()


def peak_memory() -> int:
    """MiB that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
