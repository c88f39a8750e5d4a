"""`training.batch_size=auto`: as many images a batch as fit, from the memory of two small batches.

Steps are measured in a process of their own, `python -m medcap_tf.training.batch_size`: what they take is given back
whole, and no weight, counter or generator of the training has moved.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf import gpu
from medcap_tf.config import Config, from_json
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.pipeline import Examples
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.memory import free_megabytes, peak_megabytes, reset_peak
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.models.visual import packed_size
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import END, Normalizer, Vocabulary
from medcap_tf.training.device import Device, prepare_device
from medcap_tf.training.loop import compiled_step
from medcap_tf.training.self_critical import caption_stages
from medcap_tf.training.stages import TrainingContext, VisualInput, semantic_stage, visual_stage

SHARE = 0.8  # of what is free: steps differ, and others use the machine
MOST = 256  # larger batches take fewer steps an epoch, and learn less in one
PROBES = (4, 12)  # images


class Cost(NamedTuple):
    """What a step of one stage takes."""

    megabytes: float  # at most
    seconds: float  # the fastest of the steps measured


class Probe(NamedTuple):
    """What steps of a batch size take."""

    stages: dict[str, Cost]  # by name, those that the settings train
    free: float  # MB, before anything was built
    device: str  # one line for people

    @property
    def megabytes(self) -> float:
        """Of the stage that takes most."""
        return max(cost.megabytes for cost in self.stages.values())


def find_batch_size(config: Config, words: int, concepts: int, has_images: bool, records: int, replicas: int) -> int:
    """How many images a batch fit into SHARE of the memory that is free, on every replica.

    Args:
        config: the run's settings.
        words: size of the vocabulary.
        concepts: how many are learned.
        has_images: whether the data does; from text alone one stage is trained.
        records: to train on; a batch takes no more.
        replicas: that share a batch.

    Raises:
        InputError: not even one image fits, or the probe failed.
    """
    small, large = (measure(config, words, concepts, has_images, size) for size in PROBES)
    each = max((large.megabytes - small.megabytes) / (PROBES[1] - PROBES[0]), 1e-3)
    fixed = small.megabytes - each * PROBES[0]
    fit = int((SHARE * small.free - fixed) // each)
    if fit < 1:
        raise InputError(
            f"training.batch_size=auto: a step takes {fixed:,.0f} MB and {each:,.0f} MB an image, and "
            f"{small.free:,.0f} MB are free; lower visual.image_size, set visual.trainable=none, or free some memory"
        )
    most = max(1, min(MOST, records) // replicas)
    return replicas * min(fit if fit < 8 else fit - fit % 8, most)


def settings_by_memory(config: Config, stage: str) -> list[str]:
    """What a step's memory depends on, the most telling first."""
    size, image = f"training.batch_size={config.training.batch_size}", f"visual.image_size={config.visual.image_size}"
    if stage == "small":
        return [size, f"visual.small_size={config.visual.image_size}"]
    if stage == "visual":
        return [size, image, f"visual.concept_trainable={config.visual.concept_trainable}"]
    if stage in ("caption", "self_critical") and config.visual.trainable != "none":
        return [size, f"visual.trainable={config.visual.trainable}", image]
    if stage == "self_critical":
        return [size, f"decoding.max_length={config.decoding.max_length}"]
    return [size, f"text.max_words={config.text.max_words}"]


def measure(config: Config, words: int, concepts: int, has_images: bool, size: int, steps: int = 2) -> Probe:
    """Steps of `size` images on every stage that the settings train, in a process of their own; arguments otherwise as
    of `find_batch_size`.

    Raises:
        InputError: a stage cannot be built, or a step takes more memory than there is.
    """
    given = {"config": config.to_json(), "words": words, "concepts": concepts, "has_images": has_images}
    given.update(size=size, steps=steps)
    command = [sys.executable, "-m", "medcap_tf.training.batch_size"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)
    if done.returncode:
        # Killed by the kernel, or out of a GPU's memory.
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(
            f"training.batch_size: a step of {size} images could not be measured ({last[0]}); lower visual.image_size, "
            "or give a number"
        )
    stages, *rest = json.loads(done.stdout.splitlines()[-1])
    return Probe({name: Cost(*values) for name, values in stages.items()}, *rest)


def _probe(config: Config, words: int, concepts: int, has_images: bool, size: int, steps: int) -> Probe:
    device = prepare_device(config.training)
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    free = _free_of_gpu() if on_gpu else free_megabytes()
    context, costs = _context(config, device, words, concepts, size), {}
    for stage in _stages(context, has_images):
        batch = next(iter(stage.batches(0, 0)))
        step = compiled_step(stage, config.training, device, tf.nest.map_structure(tf.type_spec_from_value, batch))
        if on_gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        reset_peak()
        seconds = []
        for _ in range(steps):  # the second has the optimizer's moments in memory from the beginning
            began = time.perf_counter()
            float(step(batch))
            seconds.append(time.perf_counter() - began)
        taken = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20 if on_gpu else peak_megabytes()
        costs[stage.name] = Cost(taken, min(seconds))
    return Probe(costs, free, device.description)


def _free_of_gpu() -> float:
    free = [card.free for card in gpu.read_driver().cards if card.free]
    return float(min(free)) if free else free_megabytes()


def _context(config: Config, device: Device, words: int, concepts: int, size: int) -> TrainingContext:
    """A batch of records with captions of the greatest length and concepts, and a network of the run's shapes."""
    codes = [str(code) for code in range(concepts)]
    records = [Record(str(row), None, "", tuple(codes[:1])) for row in range(size)]
    captions = [[END + 1 + place % max(1, words - END - 1) for place in range(config.text.max_words)]] * size
    examples = Examples(records, ConceptMatrix.of(records, codes), captions)
    model = CaptioningModel.build(
        config, words, concepts, precision=device.precision, encoder_precision=device.encoder_precision,
        with_weights=False,
    )  # fmt: skip
    vocabulary = Vocabulary({str(word): str(word) for word in range(words - END - 1)}, Normalizer())
    return TrainingContext(config, model, examples, examples, vocabulary, codes, RunFolder(Path()), device)


def _stages(context: TrainingContext, has_images: bool) -> list[Any]:
    config, stages = context.config, []
    pixels = (config.visual.image_size,) * 2 + (3,)
    if has_images and context.concepts and config.visual.concept_epochs:
        stages.append(visual_stage(context, _input(pixels, tf.uint8)))
    if context.concepts and config.semantic.epochs:
        stages.append(semantic_stage(context))
    if not has_images:
        return stages
    frozen = config.visual.trainable == "none"
    model = context.model
    shape = (packed_size(model.encoder, model.head),) if frozen else pixels
    return [*stages, *caption_stages(context, _input(shape, tf.float16 if frozen else tf.uint8))]


def _input(shape: tuple[int, ...], kind: tf.DType) -> VisualInput:
    def load(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((len(rows), *shape), kind.as_numpy_dtype)

    return VisualInput(load, load, shape, kind)


if __name__ == "__main__":
    values = json.load(sys.stdin)
    values["config"] = from_json(values["config"]).replace({"training.batch_size": values["size"]})
    print(json.dumps(_probe(**values)))
