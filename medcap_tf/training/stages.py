"""The three stages: concepts from images, concepts from words, captions.

Axes: B examples, T words, K concepts, N records, h x w regions of C channels.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.config import Config
from medcap_tf.data import Examples, Loader, batches
from medcap_tf.evaluation import best_threshold
from medcap_tf.metrics import caption_scores
from medcap_tf.models.visual import set_trainable
from medcap_tf.networks import Models, save_weights
from medcap_tf.text import Vocabulary
from medcap_tf.training.loop import Stage
from medcap_tf.training.losses import addons, caption_loss, concept_loss, scheduled_sampler
from medcap_tf.writing import teacher_forced, write_captions


class Source(NamedTuple):
    """The visual side of a split's batches."""

    train: Loader
    valid: Loader
    shape: tuple[int, ...]
    dtype: Any


class Task(NamedTuple):
    """What every stage is built from."""

    config: Config
    models: Models
    train: Examples
    valid: Examples
    vocabulary: Vocabulary
    concepts: list[str]
    replicas: int


def visual_stage(task: Task, source: Source) -> Stage:
    """The encoder and its head learn an image's concepts."""
    config, encoder, head = task.config, task.models.encoder, task.models.head
    set_trainable(encoder, config.visual.concept_trainable)
    loss = concept_loss(config.visual.concept_loss)

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        regions = encoder(tf.cast(batch["visual"], tf.float32), training=True)
        return loss(batch["concepts"], head(regions, training=True))

    predict = _concepts_of_images(task.models)
    return Stage(
        name="visual",
        epochs=config.visual.concept_epochs,
        learning_rate=config.visual.concept_learning_rate,
        modules={"encoder": encoder, "head": head},
        variables=[*encoder.trainable_variables, *head.trainable_variables],
        loss=batch_loss,
        validate=lambda: _concept_scores(task, _predict(predict, _validation(task, source), "visual")),
        monitor="concept_f1",
        keep_best=lambda folder: save_weights(task.models, folder, ["encoder", "concept_head"]),
        **_epochs(task.train.with_concepts(), task, 1, source),
    )


def semantic_stage(task: Task) -> Stage:
    """The semantic encoder learns the concepts of a caption from its words."""
    config, classifier = task.config, task.models.semantic.classifier  # type: ignore[union-attr]
    loss = concept_loss(config.semantic.loss)

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        return loss(batch["concepts"], classifier(batch["inputs"][:, 1:], training=True)["concept_logits"])

    predict = _concepts_of_words(task.models)
    return Stage(
        name="semantic",
        epochs=config.semantic.epochs,
        learning_rate=config.semantic.learning_rate,
        modules={"classifier": classifier},
        variables=classifier.trainable_variables,
        loss=batch_loss,
        validate=lambda: _concept_scores(task, _predict(predict, _validation(task, None), "inputs")),
        monitor="concept_f1",
        keep_best=lambda folder: save_weights(task.models, folder, ["semantic"]),
        **_epochs(task.train.with_words().with_concepts(), task, 2, None),
    )


def caption_stage(task: Task, source: Source) -> Stage:
    """The decoder learns to write captions, over cached regions or with the encoder learning along."""
    config, models = task.config, task.models
    trains_encoder = config.visual.trainable != "none"
    set_trainable(models.encoder, config.visual.trainable)
    teacher, told = models.decoder.teacher, config.decoder.semantic_source
    loss = caption_loss(config.training.label_smoothing)
    probability = tf.Variable(0.0, trainable=False)
    sampler = scheduled_sampler(probability, config.training.seed) if config.training.scheduled_sampling else None

    def regions(visual: tf.Tensor, training: bool) -> tf.Tensor:
        if trains_encoder:
            return models.encoder(tf.cast(visual, tf.float32), training=training)
        return tf.cast(visual, tf.float32)

    def forced(seen: tf.Tensor, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        return teacher_forced(models, seen, inputs, told, training)["logits"]

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        seen, inputs = regions(batch["visual"], True), batch["inputs"]
        if sampler is not None:
            inputs = sampler(inputs, tf.stop_gradient(forced(seen, inputs, True)), step)
        return loss(batch["targets"], forced(seen, inputs, True))

    @tf.function(reduce_retracing=True)
    def write(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        seen = regions(batch["visual"], False)
        greedy = dataclasses.replace(config.decoding, beam_width=1)
        found = write_captions(models, seen, greedy, told, reference=batch["inputs"][:, 1:])
        return found.tokens, loss(batch["targets"], forced(seen, batch["inputs"], False))

    def epoch_start(epoch: int) -> None:
        last = max(1, config.training.epochs - 1)
        probability.assign(config.training.scheduled_sampling * epoch / last)

    # The concept head may sit inside the decoder, but it has learned what it will.
    fixed = {id(variable) for variable in (models.head.weights if models.head else [])}
    trained = {"decoder": teacher, **({"encoder": models.encoder} if trains_encoder else {})}
    return Stage(
        name="caption",
        epochs=config.training.epochs,
        learning_rate=config.training.learning_rate,
        modules=trained,
        variables=[v for model in trained.values() for v in model.trainable_variables if id(v) not in fixed],
        loss=batch_loss,
        validate=lambda: _caption_scores(task, [write(batch) for batch in _validation(task, source)]),
        monitor="bleu_4",
        keep_best=lambda folder: save_weights(models, folder, trained),
        epoch_start=epoch_start,
        **_epochs(task.train.with_words(), task, 3, source),
    )


def image_concept_scores(task: Task, source: Source) -> np.ndarray:
    """The head's concept scores of the validation images, float32 [N, K]."""
    return _predict(_concepts_of_images(task.models), _validation(task, source), "visual")


def word_concept_scores(task: Task, examples: Examples) -> np.ndarray:
    """The semantic classifier's concept scores of captions, float32 [N, K]."""
    return _predict(_concepts_of_words(task.models), batches(examples, task.config.training.batch_size), "inputs")


def _concepts_of_images(models: Models) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(reduce_retracing=True)
    def predict(pixels: tf.Tensor) -> tf.Tensor:
        regions = models.encoder(tf.cast(pixels, tf.float32), training=False)
        return tf.sigmoid(models.head(regions, training=False))  # type: ignore[misc]

    return predict


def _concepts_of_words(models: Models) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(reduce_retracing=True)
    def predict(inputs: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(models.semantic.classifier(inputs[:, 1:], training=False)["concept_logits"])  # type: ignore[union-attr]

    return predict


def _epochs(examples: Examples, task: Task, number: int, source: Source | None) -> dict[str, Any]:
    """The data half of a stage: epochs in an order that depends on (seed, stage, epoch) alone."""
    size, count = task.config.training.batch_size, len(examples.records)
    whole = task.replicas > 1  # every replica gets the same share
    loader = None if source is None else source.train

    # Loaders know rows of the task's training records; a stage may leave some out.
    rows = {id(record): i for i, record in enumerate(task.train.records)}
    original = np.array([rows[id(record)] for record in examples.records], np.int64)

    def load(chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return loader(original[chosen], rng)  # type: ignore[misc]

    def epoch_batches(epoch: int, skip: int) -> tf.data.Dataset:
        seed = (task.config.training.seed, number, epoch)
        order = np.random.default_rng(seed).permutation(count)
        visual = None if source is None else (load, source.shape, source.dtype)
        return batches(examples, size, order=order, seed=seed, skip=skip, visual=visual, drop_remainder=whole)

    return {
        "steps": max(1, count // size if whole else -(-count // size)),
        "batches": epoch_batches,
        "row_ids": lambda chosen: [examples.records[row].image_id for row in chosen],
    }


def _validation(task: Task, source: Source | None) -> tf.data.Dataset:
    visual = None if source is None else (source.valid, source.shape, source.dtype)
    return batches(task.valid, task.config.training.batch_size, visual=visual)


def _predict(predict: Callable[[tf.Tensor], tf.Tensor], found: tf.data.Dataset, name: str) -> np.ndarray:
    return np.concatenate([predict(batch[name]).numpy() for batch in found])


def _concept_scores(task: Task, scores: np.ndarray) -> dict[str, float]:
    """Official concept F1 at its best threshold, and micro-averaged F1 at the same."""
    threshold, f1 = best_threshold(scores, task.valid.records, task.concepts)
    micro = addons().metrics.F1Score(len(task.concepts), average="micro", threshold=threshold)
    micro.update_state(task.valid.concepts, scores)
    return {"concept_f1": f1, "micro_f1": float(micro.result()), "threshold": threshold}


def _caption_scores(task: Task, results: list[tuple[tf.Tensor, tf.Tensor]]) -> dict[str, float]:
    """Scores of the captions written for the validation batches, and their mean loss, from (tokens, loss) of each."""
    rows = [row for tokens, _ in results for row in tokens.numpy()]
    captions = [" ".join(task.vocabulary.readable(task.vocabulary.decode(row))) for row in rows]
    scores = caption_scores([record.caption for record in task.valid.records], captions)
    chosen = {name: scores[name] for name in ("bleu_1", "bleu_4", "cider")}
    return {"loss": float(np.mean([loss for _, loss in results])), **chosen}
