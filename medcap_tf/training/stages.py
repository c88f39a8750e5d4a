"""The stages but the last: concepts from images, concepts from words, captions.

Axes: B examples, T words, K concepts, N records, h x w regions of C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.caption import as_text
from medcap_tf.config import Config
from medcap_tf.data import images
from medcap_tf.data.pipeline import WHOLE, Examples, Loader, batches
from medcap_tf.data.records import Record
from medcap_tf.evaluation.baselines import best_threshold
from medcap_tf.evaluation.metrics import caption_scores
from medcap_tf.graphs import graph_function
from medcap_tf.models.captioning import CaptioningModel, Seen
from medcap_tf.models.visual import set_trainable
from medcap_tf.models.weights import save_weights
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import Vocabulary
from medcap_tf.training.device import Device
from medcap_tf.training.loop import Stage
from medcap_tf.training.losses import addons, caption_loss, concept_loss, scheduled_sampler

_ROWS = 1024  # records whose concepts are a dense matrix at a time


class VisualInput(NamedTuple):
    """The visual side of a split's batches."""

    train: Loader
    valid: Loader
    shape: tuple[int, ...]
    dtype: Any


class TrainingContext(NamedTuple):
    """What every stage is built from."""

    config: Config
    model: CaptioningModel
    train: Examples
    valid: Examples
    vocabulary: Vocabulary
    concepts: list[str]
    run: RunFolder  # that this process writes into
    device: Device
    shared: RunFolder | None = None  # where the others of several processes find what the chief wrote


def pixels_of(record: Record, view: str, config: Config) -> np.ndarray:
    """A view of a record's image as the encoder sees it, uint8 [S, S, 3]."""
    image = images.view(images.read_image(record.image_file), view, config.data.crop)
    return images.prepare(image, config.visual.image_size, config.data.equalize)


def small_stage(context: TrainingContext, source: VisualInput) -> Stage:
    """`visual_stage` on smaller images, before it: progressive resizing (Tan & Le 2021, section 4)."""
    epochs = context.config.visual.small_epochs
    return dataclasses.replace(visual_stage(context, source, number=5), name="small", epochs=epochs)


def visual_stage(context: TrainingContext, source: VisualInput, number: int = 1) -> Stage:
    """The encoder and its head learn an image's concepts; the order of their batches depends on the `number`."""
    config, encoder, head = context.config, context.model.encoder, context.model.head
    assert head is not None  # this stage is for data with concepts
    set_trainable(encoder, config.visual.concept_trainable, pyramid=True)
    loss = concept_loss(config.visual.concept_loss)

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        return loss(batch["concepts"], context.model.see(batch["visual"], training=True).concept_logits)

    predict = _concepts_of_images(context.model)
    return Stage(
        name="visual",
        epochs=config.visual.concept_epochs,
        learning_rate=config.visual.concept_learning_rate,
        modules={"encoder": encoder, "head": head},
        variables=[*encoder.trainable_variables, *head.trainable_variables],
        loss=batch_loss,
        validate=lambda: _concept_scores(context, _predict(context, predict, _validation(context, source), "visual")),
        monitor="concept_f1",
        keep_best=lambda folder: save_weights(context.model, folder, ["encoder", "concept_head"]),
        ema_decay=config.visual.ema_decay,
        **data_of(context.train.with_concepts(), context, number, source, words=False, xla=config.training.xla),
    )


def semantic_stage(context: TrainingContext) -> Stage:
    """The semantic encoder learns the concepts of a caption from its words."""
    config, semantic = context.config, context.model.semantic
    assert semantic is not None  # this stage is for data with concepts
    classifier = semantic.classifier
    loss = concept_loss(config.semantic.loss)

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        return loss(batch["concepts"], classifier(batch["inputs"][:, 1:], training=True)["concept_logits"])

    predict = _concepts_of_words(context.model)
    return Stage(
        name="semantic",
        epochs=config.semantic.epochs,
        learning_rate=config.semantic.learning_rate,
        modules={"classifier": classifier},
        variables=classifier.trainable_variables,
        loss=batch_loss,
        validate=lambda: _concept_scores(context, _predict(context, predict, _validation(context, None), "inputs")),
        monitor="concept_f1",
        keep_best=lambda folder: save_weights(context.model, folder, ["semantic"]),
        **data_of(context.train.with_words().with_concepts(), context, 2, None),
    )


def caption_stage(context: TrainingContext, source: VisualInput) -> Stage:
    """The decoder learns to generate captions, over cached regions or with the encoder learning along."""
    config, model = context.config, context.model
    trains_encoder = config.visual.trainable != "none"
    set_trainable(model.encoder, config.visual.trainable)
    loss = caption_loss(config.training.label_smoothing)
    probability = tf.Variable(0.0, trainable=False)
    sampler = scheduled_sampler(probability, config.training.seed) if config.training.scheduled_sampling else None
    see = seer(context)

    def logits(seen: Seen, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        return model.teacher_forced(seen, inputs, training)["logits"]

    replicas = context.device.strategy.num_replicas_in_sync

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        seen, inputs = see(batch["visual"], True), batch["inputs"]
        if sampler is not None:
            inputs = sampler(inputs, tf.stop_gradient(logits(seen, inputs, True)), step)
        return loss(batch["targets"], logits(seen, inputs, True)) * token_share(batch, replicas)

    @graph_function(reduce_retracing=True)
    def generate(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        encoded = model.encode_seen(see(batch["visual"], False))
        greedy = dataclasses.replace(config.decoding, beam_width=1)
        generated = model.generate(encoded, greedy, reference=batch["inputs"][:, 1:])
        return generated.tokens, loss(batch["targets"], logits(encoded.seen, batch["inputs"], False))

    def epoch_start(epoch: int) -> None:
        last = max(1, config.training.epochs - 1)
        probability.assign(config.training.scheduled_sampling * epoch / last)

    trained = {"decoder": model.decoder.teacher, **({"encoder": model.encoder} if trains_encoder else {})}
    return Stage(
        name="caption",
        epochs=config.training.epochs,
        learning_rate=config.training.learning_rate,
        modules=trained,
        variables=[variable for part in trained.values() for variable in part.trainable_variables],
        loss=batch_loss,
        validate=lambda: _caption_scores(context, *_generated(context, generate, source)),
        monitor="bleu_4",
        keep_best=lambda folder: save_weights(model, folder, trained),
        epoch_start=epoch_start,
        **data_of(context.train.with_words(), context, 3, source, xla=config.training.xla),
    )


def seer(context: TrainingContext) -> Callable[[tf.Tensor, bool], Seen]:
    """(the visual side of a batch, whether it trains) -> what the captions are learned from."""
    model = context.model

    def see(visual: tf.Tensor, training: bool) -> Seen:
        if context.config.visual.trainable == "none":
            return model.unpack(visual)
        # The head has learned what it will: it names concepts as it does for a new image, without dropout.
        return model.seen_of(model.encoder(tf.cast(visual, tf.float32), training=training))

    return see


def token_share(batch: dict[str, tf.Tensor], replicas: int) -> tf.Tensor | float:
    """float32 []: by what the mean over a replica's tokens counts, so that the mean over the replicas is that of all
    tokens of the batch."""
    if replicas == 1:
        return 1.0
    own = tf.math.count_nonzero(batch["targets"])
    return tf.cast(own * replicas, tf.float32) / tf.cast(batch["batch_tokens"][0], tf.float32)


def image_concept_scores(context: TrainingContext, source: VisualInput) -> np.ndarray:
    """The head's concept scores of the validation images, float32 [N, K]."""
    return _predict(context, _concepts_of_images(context.model), _validation(context, source), "visual")


def word_concept_scores(context: TrainingContext, examples: Examples) -> np.ndarray:
    """The semantic classifier's concept scores of captions, float32 [N, K]."""
    return _predict(context, _concepts_of_words(context.model), _shared_out(context, examples, None), "inputs")


def _concepts_of_images(model: CaptioningModel) -> Callable[[tf.Tensor], tf.Tensor]:
    @graph_function(reduce_retracing=True)
    def predict(pixels: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(model.see(pixels).concept_logits)

    return predict


def _concepts_of_words(model: CaptioningModel) -> Callable[[tf.Tensor], tf.Tensor]:
    @graph_function(reduce_retracing=True)
    def predict(inputs: tf.Tensor) -> tf.Tensor:
        return model.read(inputs[:, 1:]).concept_scores

    return predict


def data_of(
    examples: Examples,
    context: TrainingContext,
    number: int,
    source: VisualInput | None,
    words: bool = True,
    xla: bool = False,
) -> dict[str, Any]:
    """The data half of a stage: epochs in an order that depends on (seed, stage, epoch) alone."""
    size, count = context.config.training.batch_size, len(examples.records)
    # Every replica gets the same share, and batches of one shape are compiled once.
    whole = context.device.strategy.num_replicas_in_sync > 1 or (xla and count >= size)
    longest = 1 + max(map(len, examples.words), default=0) if xla else None

    # Loaders know rows of the context's training records; a stage may leave some out.
    rows = {id(record): i for i, record in enumerate(context.train.records)}
    original = np.array([rows[id(record)] for record in examples.records], np.int64)

    def load_from(loader: Loader) -> Loader:
        return lambda rows, rng, *own: loader(original[rows], rng, *own)

    def epoch_batches(epoch: int, skip: int, replicas: tuple[int, int, int] = WHOLE) -> tf.data.Dataset:
        seed = (context.config.training.seed, number, epoch)
        order = np.random.default_rng(seed).permutation(count)
        visual = None if source is None else (load_from(source.train), source.shape, source.dtype)
        return batches(
            examples, size, order=order, seed=seed, skip=skip, visual=visual, drop_remainder=whole, words=words,
            longest=longest, replicas=replicas,
        )  # fmt: skip

    return {
        "steps": max(1, count // size if whole else -(-count // size)),
        "batches": epoch_batches,
        "row_ids": lambda batch_rows: [examples.records[row].image_id for row in batch_rows],
        "xla": xla,
    }


def _validation(context: TrainingContext, source: VisualInput | None) -> tf.data.Dataset:
    return _shared_out(context, context.valid, source)


def _shared_out(context: TrainingContext, examples: Examples, source: VisualInput | None) -> tf.data.Dataset:
    """Batches of the rows that this process has to look at."""
    visual = None if source is None else (source.valid, source.shape, source.dtype)
    own = np.array_split(np.arange(len(examples.records)), context.device.processes)[context.device.process]
    return batches(examples, context.config.training.batch_size, order=own, visual=visual)


def _predict(
    context: TrainingContext, predict: Callable[[tf.Tensor], tf.Tensor], dataset: tf.data.Dataset, name: str
) -> np.ndarray:
    """float32 [N, K] of all rows, whoever looked at them."""
    workers = context.device.workers
    local = workers.local(predict)
    parts = [(batch["rows"].numpy(), local(batch[name]).numpy()) for batch in dataset]
    return _joined(context, parts)


def _joined(context: TrainingContext, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Rows and their values, of this process -> the values of all rows."""
    rows, values = map(np.concatenate, zip(*parts))
    workers = context.device.workers
    if workers.count == 1:
        return values
    whole = np.zeros((int(workers.total(np.array(len(rows)))), *values.shape[1:]), values.dtype)
    whole[rows] = values
    return workers.total(whole)


def _generated(
    context: TrainingContext, generate: Callable[..., Any], source: VisualInput
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [N, T] of all validation images, and the loss of each one's batch, float32 [N]."""
    local = context.device.workers.local(generate)
    parts = [
        (batch["rows"].numpy(), *(value.numpy() for value in local(batch))) for batch in _validation(context, source)
    ]
    tokens = _joined(context, [(rows, tokens) for rows, tokens, _ in parts])
    losses = _joined(context, [(rows, np.full(len(rows), loss, np.float32)) for rows, _, loss in parts])
    return tokens, losses


def _concept_scores(context: TrainingContext, scores: np.ndarray) -> dict[str, float]:
    """Official concept F1 at its best threshold, and micro-averaged F1 at the same."""
    threshold, f1 = best_threshold(scores, context.valid.records, context.concepts)
    micro = addons().metrics.F1Score(len(context.concepts), average="micro", threshold=threshold)
    for start in range(0, len(scores), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(scores)))
        micro.update_state(context.valid.concepts.take(rows).dense(), scores[rows])
    return {"concept_f1": f1, "micro_f1": float(micro.result()), "threshold": threshold}


def _caption_scores(context: TrainingContext, tokens: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """Scores of the captions generated for the validation images, int32 [N, T], and the mean of the batches' losses,
    float32 [N] by image."""
    captions = [as_text(context.vocabulary.readable(context.vocabulary.decode(row))) for row in tokens]
    scores = caption_scores([record.caption for record in context.valid.records], captions)
    reported = {name: scores[name] for name in ("bleu_1", "bleu_4", "cider")}
    if context.device.processes == 1:
        losses = losses[:: context.config.training.batch_size]  # a last short batch counts as the others do
    return {"loss": float(np.mean(losses)), **reported}
