"""A training from a data folder to a scored run folder; every part of it can be resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medcap_tf.config import Config
from medcap_tf.data.feature_cache import FeatureCache, cache_folder, feature_loader, fingerprint, views
from medcap_tf.data.pipeline import Examples, image_loader
from medcap_tf.data.records import Record, read_dataset
from medcap_tf.data.splits import Splits, check_images, choose_splits, frequent_concepts
from medcap_tf.errors import InputError
from medcap_tf.evaluation.baselines import best_threshold
from medcap_tf.evaluation.evaluate import score_concepts
from medcap_tf.evaluation.score_files import write_scores
from medcap_tf.files import write_text
from medcap_tf.graphs import graph_function
from medcap_tf.memory import naming_settings
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.models.concept_head import build_concept_head
from medcap_tf.models.dropout import seed_dropout
from medcap_tf.models.visual import build_visual_encoder, check_pyramid, pack, packed_size
from medcap_tf.models.weights import load_weights, save_weights
from medcap_tf.run_folder import ConceptList, RunFolder
from medcap_tf.text import Normalizer, Vocabulary
from medcap_tf.training.batch_size import find_batch_size, settings_by_memory
from medcap_tf.training.begin import (
    check_data,
    check_files,
    claim_folder,
    list_problems,
    read_begun,
    usable_records,
    vocabulary_text,
)
from medcap_tf.training.device import Device, prepare_device
from medcap_tf.training.finish import score_run
from medcap_tf.training.history import History
from medcap_tf.training.identity import Identity
from medcap_tf.training.inspect import tf_explain_callback
from medcap_tf.training.loop import Stage, run_stage
from medcap_tf.training.messages import say
from medcap_tf.training.plot import plot_history
from medcap_tf.training.self_critical import caption_stages
from medcap_tf.training.stages import (
    TrainingContext,
    VisualInput,
    image_concept_scores,
    pixels_of,
    semantic_stage,
    small_stage,
    visual_stage,
    word_concept_scores,
)
from medcap_tf.training.workers import check_shares, check_whole_batch, together


def train(config: Config, data: Path, run: Path, resume: bool = False) -> dict[str, Any]:
    """Train a captioner on a data set and score it; returns what `scores.json` holds.

    Text-only data (captions and concepts without images) trains the semantic stage alone. Settings, data and what the
    run holds already are checked before anything is written.

    Raises:
        InputError: data that cannot be trained on, a run folder that is taken or was begun with other settings or
            data, weights that cannot be had.
        Interrupted: a signal arrived; the state is saved.
        WorkerLost: of several processes that train together, another one has gone.
    """
    data, shared = Path(data), RunFolder(run)
    written = read_begun(shared, config, resume)
    dataset = read_dataset(data, config.data.train_split if config.data.captions == "all" else None)
    all_splits = choose_splits(dataset, config.data, config.training.seed)
    files = [check_images(records, name) for name, records in zip(Splits._fields, all_splits)]
    identity = Identity.of(all_splits, files, dataset.concept_names)
    check_data(shared, written, data, identity)
    splits, problems = usable_records(all_splits, files)
    device = prepare_device(config.training)
    check_shares(device.workers, config.training.batch_size, splits)
    with together(device.workers, shared) as folder:
        has_images = splits.train[0].image_path is not None
        context = _prepare(config, splits, folder, device, has_images, written is None)._replace(shared=shared)
        check_files(shared, context.vocabulary, context.concepts)
        context = _with_batch_size(context, written, has_images)
        check_whole_batch(device.workers, context.config.training.batch_size, context.train, bool(context.concepts))
        if written is None and has_images and config.visual.trainable == "none":
            _region_cache(context, splits)  # whether it will fit, before hours are spent on concepts
        device.workers.wait()  # until all have looked at what the chief writes now
        claim_folder(folder, config, written, data, identity, context.config.training.batch_size)
        list_problems(folder, [*dataset.problems, *problems])
        write_text(folder.vocabulary, vocabulary_text(context.vocabulary))
        _describe(context, splits, data, len(dataset.problems) + len(problems))
        scores = _train_all(context, splits, dataset.concept_names, has_images)
        device.workers.wait()  # the chief has scored the run
        return scores


def _describe(context: TrainingContext, splits: Splits, data: Path, problems: int) -> None:
    device = context.device
    for line in (device.description, *device.gpus.lines):
        say(line)
    if device.gpus.remedy:
        say(f"warning: TensorFlow does not use the NVIDIA card of this machine: {device.gpus.remedy}")
    say(
        f"{data}: {len(splits.train)} / {len(splits.valid)} / {len(splits.test)} records to train, validate, test; "
        f"{len(context.vocabulary)} tokens, {len(context.concepts)} concepts, {problems} problems"
    )


def _train_all(
    context: TrainingContext, splits: Splits, concept_names: dict[str, str], has_images: bool
) -> dict[str, Any]:
    """All stages, then the scores; these by the chief alone."""
    config, folder = context.config, context.run
    history = History(folder)
    concepts = ConceptList.of(context.concepts, concept_names)
    concepts.thresholds.update(_train_concepts(context, splits, history, has_images))
    folder.write_concepts(concepts)
    if not has_images:
        return _finish_text_only(context, splits, concepts)
    visual = _caption_input(context, splits)
    trained = ["decoder"] if config.visual.trainable == "none" else ["encoder", "decoder"]
    for stage in caption_stages(context, visual):
        _train_stage(context, stage, trained, history)
    save_weights(context.model, folder.best)
    if config.visual.trainable != "none" and "image" in concepts.thresholds:
        scores = image_concept_scores(context, visual)
        concepts.thresholds["image"] = best_threshold(scores, splits.valid, context.concepts)[0]
        folder.write_concepts(concepts)
    return score_run(context, splits, concept_names) if context.device.workers.is_chief else {}


def _prepare(
    config: Config, splits: Splits, run: RunFolder, device: Device, has_images: bool, begins: bool
) -> TrainingContext:
    concepts = frequent_concepts(splits.train, config.data.min_concept_count)
    normalizer = Normalizer(config.text.stemmer, config.text.remove_stop_words, config.text.punctuation)
    vocabulary = Vocabulary.build((r.caption for r in splits.train), normalizer, config.text.min_count)
    if not has_images and not (concepts and config.semantic.epochs):
        raise InputError("no images and no concepts to learn: there is nothing to train")
    with device.strategy.scope():
        model = CaptioningModel.build(
            config,
            len(vocabulary),
            len(concepts),
            precision=device.precision,
            encoder_precision=device.encoder_precision,
            with_weights=has_images,
        )
    seed_dropout(model.parts().values(), config.training.seed)
    train, valid = (Examples.of(part, concepts, vocabulary, config.text.max_words) for part in splits[:2])
    context = TrainingContext(config, model, train, valid, vocabulary, concepts, run, device)
    if concepts and has_images and config.visual.weights_of_run:
        try:
            _take_concept_head(context, RunFolder(config.visual.weights))
        except InputError as error:
            if not config.visual.concept_epochs:
                raise
            if begins and device.workers.is_chief:
                say(f"the concept head begins anew: {error}")
    return context


def _with_batch_size(context: TrainingContext, written: dict[str, Any] | None, has_images: bool) -> TrainingContext:
    """The batch size found, where it was not given: the one that the run was begun with, or else what fits."""
    config = context.config
    if config.training.batch_size:
        return context
    size = (written or {}).get("batch_size")
    if not size:
        replicas = context.device.strategy.num_replicas_in_sync
        sizes = len(context.vocabulary), len(context.concepts)
        size = find_batch_size(config, *sizes, has_images, len(context.train.records), replicas)
        say(f"training.batch_size=auto: {size} images fit")
    return context._replace(config=config.replace({"training.batch_size": size}))


def _train_concepts(context: TrainingContext, splits: Splits, history: History, has_images: bool) -> dict[str, float]:
    """Both concept stages; returns the thresholds of what was trained."""
    config, thresholds = context.config, {}
    if context.concepts and config.visual.names_concepts and has_images:
        visual = _image_input(context, splits, augment=True)
        if config.visual.small_epochs:
            _train_on_small_images(context, splits, history)
        if config.visual.concept_epochs:
            _train_stage(context, visual_stage(context, visual), ["encoder", "concept_head"], history)
        thresholds["image"] = best_threshold(image_concept_scores(context, visual), splits.valid, context.concepts)[0]
    if context.concepts and config.semantic.epochs:
        _train_stage(context, semantic_stage(context), ["semantic"], history)
        scores = word_concept_scores(context, context.valid)
        thresholds["words"] = best_threshold(scores, splits.valid, context.concepts)[0]
    return thresholds


def _train_on_small_images(context: TrainingContext, splits: Splits, history: History) -> None:
    """An encoder of its own learns from smaller images, without a finer grid, and gives its weights to the run's."""
    config = context.config.replace({"visual.image_size": context.config.visual.small_size, "visual.grid": 0})
    with context.device.strategy.scope():
        encoder = build_visual_encoder(config.visual, precision=context.device.encoder_precision)
        head = build_concept_head(config.visual, encoder, len(context.concepts))
    seed_dropout([head], config.training.seed)
    small = context._replace(config=config, model=dataclasses.replace(context.model, encoder=encoder, head=head))
    _train_stage(small, small_stage(small, _image_input(small, splits, augment=True)), ["encoder"], history)
    for layer in encoder.layers:
        context.model.encoder.get_layer(layer.name).set_weights(layer.get_weights())


def _take_concept_head(context: TrainingContext, run: RunFolder) -> None:
    """The head that another run trained with the encoder; it has to name the concepts of this data."""
    known = run.read_concepts()
    if "image" not in known.thresholds:
        raise InputError(
            f"visual.weights: the run {run.path} has trained no concepts of images (visual.concept_epochs=0); give its "
            f"{run.best / 'encoder.h5'} to take the encoder alone"
        )
    if list(known.codes) != context.concepts:
        raise InputError(
            f"visual.weights: the run {run.path} learned {len(known.codes)} concepts, this data has "
            f"{len(context.concepts)} frequent ones, and they are not the same; give its {run.best / 'encoder.h5'} to "
            "take the encoder alone"
        )
    check_pyramid(context.model.encoder, run.best / "encoder.h5")
    load_weights(context.model, run.best, ["concept_head"])


def _train_stage(context: TrainingContext, stage: Stage, parts: list[str], history: History) -> None:
    """Train a stage; afterwards the `parts` that it trains are those of its best epoch."""
    config, run = context.config, context.run
    if context.device.workers.is_chief:
        stage.epoch_end.append(lambda epoch, values: plot_history(history.rows, run.history_plot))
    if config.training.explain_every and context.model.head and stage.name != "semantic":
        records = [record for record in context.valid.records if record.image_path][: config.training.explain_images]
        pixels = np.stack([pixels_of(record, "identity", config) for record in records])
        every = config.training.explain_every
        pictures = tf_explain_callback(context.model, config.visual, pixels, run.logs, every, stage.name)
        stage.epoch_end.append(pictures)
    with naming_settings(f"stage {stage.name}", settings_by_memory(config, stage.name)):
        best = run_stage(stage, config.training, context.device, run, history, context.shared)
    if best:
        load_weights(context.model, best, parts)


def _image_input(context: TrainingContext, splits: Splits, augment: bool) -> VisualInput:
    size = context.config.visual.image_size
    load = [image_loader(part, size, context.config.data, augment and i == 0) for i, part in enumerate(splits[:2])]
    return VisualInput(load[0], load[1], (size, size, 3), tf.uint8)


def _region_cache(context: TrainingContext, splits: Splits) -> FeatureCache:
    """The cache of a frozen encoder's regions; says what it will write, and refuses what does not fit."""
    config, model = context.config, context.model
    name = fingerprint([model.encoder, model.head], config.visual.image_size, config.data.equalize)
    cache = FeatureCache(cache_folder(config.data, context.run.path) / name, (packed_size(model.encoder, model.head),))
    wanted = dict.fromkeys(views(config.data), splits.train)
    if size := cache.reserve({**wanted, "identity": [*splits.train, *splits.valid]}):
        say(size)
    return cache


def _caption_input(context: TrainingContext, splits: Splits) -> VisualInput:
    """Cached features where the encoder is frozen, images where it learns along."""
    config, model = context.config, context.model
    if config.visual.trainable != "none":
        return _image_input(context, splits, augment=True)
    cache = _region_cache(context, splits)
    compute = graph_function(lambda pixels: pack(model.see(pixels)), reduce_retracing=True)
    compute = context.device.workers.local(compute)

    def fill(records: list[Record], view: str) -> np.ndarray:
        return cache.fill(records, view, compute, lambda record, view: pixels_of(record, view, config))

    train = {view: fill(splits.train, view) for view in views(config.data)}
    valid = {"identity": fill(splits.valid, "identity")}
    return VisualInput(feature_loader(cache, train), feature_loader(cache, valid), cache.region_shape, tf.float16)


def _finish_text_only(context: TrainingContext, splits: Splits, concepts: ConceptList) -> dict[str, Any]:
    say("no images in this data: the semantic stage alone is trained")
    save_weights(context.model, context.run.best, ["semantic"])
    records = splits.test or splits.valid
    split = context.config.data.test_split if splits.test else "valid"
    examples = Examples.of(records, context.concepts, context.vocabulary, context.config.text.max_words)
    scores = word_concept_scores(context, examples)
    result = score_concepts(split, records, scores, concepts.thresholds["words"], context.concepts, splits.train)
    write_scores(context.run.path, result)
    return result
