"""What captioning costs on this machine, as ratios inside one run: `python benchmarks/speed.py`.

Every round measures all contenders in turn, and the medians are compared, so that a machine that slows down slows all
of them. Weights are random: speed does not depend on them, but for the length of the captions, which random weights
never end; every search here runs its full --steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.config import Config
from medcap_tf.data import images
from medcap_tf.data.pipeline import Examples, batches
from medcap_tf.data.records import Record, read_dataset
from medcap_tf.data.splits import frequent_concepts
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.phantoms import draw_dataset
from medcap_tf.run_folder import ConceptList
from medcap_tf.text import Normalizer, Vocabulary
from medcap_tf.training.losses import caption_loss

ROUNDS = 9


def main() -> None:
    """Print a line a contender: images a second, and the cost beside the bare forward pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set to take images from (default: phantoms drawn for this)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=20, help="tokens of every caption")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not chosen.data:
            draw_dataset(Path(folder) / "phantoms", {"train": 64}, seed=0)
        records = read_dataset(chosen.data or Path(folder) / "phantoms").splits["train"]
        measure(records, chosen.batch_size, chosen.image_size, chosen.steps)


def measure(records: list[Record], batch_size: int, size: int, steps: int) -> None:
    """Time all contenders on the first `batch_size` images."""
    config = Config().replace(
        {"visual.weights": "none", "visual.image_size": size, "decoding.max_length": steps, "text.min_count": 1,
         "data.min_concept_count": 1, "decoding.batch_size": batch_size}
    )  # fmt: skip
    concepts = frequent_concepts(records, 1)
    vocabulary = Vocabulary.build((r.caption for r in records), Normalizer(), 1)
    model = CaptioningModel.build(config, len(vocabulary), len(concepts))
    paths = [record.image_path for record in records[:batch_size]]
    pixels = np.stack([images.prepare(images.read_image(path), size, False) for path in paths])
    forward = tf.function(lambda x: model.encoder(tf.cast(x, tf.float32), training=False))
    seen = model.see(pixels)

    def caption(width: int) -> RunCaptioner:
        chosen = config.replace({"decoding.beam_width": width})
        return RunCaptioner(chosen, model, vocabulary, ConceptList(tuple(concepts)))

    greedy, beam = caption(1), caption(3)
    contenders = {
        "bare ResNet50 forward pass": lambda: forward(pixels).numpy(),
        "captions from files, greedy": lambda: list(greedy.caption(paths)),
        "captions from files, beam 3": lambda: list(beam.caption(paths)),
        "training step, cached features": training_step(model, config, records, vocabulary, concepts, seen),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if turn:  # the first round traces the graphs
                seconds[name].append(time.perf_counter() - began)
    bare = statistics.median(seconds["bare ResNet50 forward pass"])
    print(f"{batch_size} images of {size} pixels, {steps} steps, medians of {ROUNDS} rounds")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:32}{batch_size / median:9.1f} images/s{median / bare:8.2f} x the forward pass")


def training_step(model, config, records, vocabulary, concepts, seen):  # type: ignore[no-untyped-def]
    """A teacher-forced step with gradients and AdamW on one batch."""
    examples = Examples.of(records[: len(seen.regions)], concepts, vocabulary, config.text.max_words)
    batch = next(iter(batches(examples, len(seen.regions))))
    loss, variables = caption_loss(0.0), model.decoder.teacher.trainable_variables
    optimizer = tf.keras.optimizers.AdamW()
    optimizer.build(variables)

    @tf.function
    def step():  # type: ignore[no-untyped-def]
        with tf.GradientTape() as tape:
            value = loss(batch["targets"], model.teacher_forced(seen, batch["inputs"], training=True)["logits"])
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return value

    return lambda: step().numpy()


if __name__ == "__main__":
    main()
