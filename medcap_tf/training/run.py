"""A training from a data folder to a scored run folder; every part of it can be resumed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medcap_tf import images
from medcap_tf.captioner import Captioner
from medcap_tf.config import Config
from medcap_tf.data import (
    Examples,
    ImageFile,
    Splits,
    check_images,
    choose_splits,
    content_digests,
    frequent_concepts,
    image_loader,
    views,
)
from medcap_tf.errors import InputError
from medcap_tf.evaluation import best_threshold, evaluate, file_suffix, score_concepts, write_scores
from medcap_tf.feature_cache import FeatureCache, feature_loader, fingerprint
from medcap_tf.files import read_json, write_text
from medcap_tf.library import Library
from medcap_tf.models.dropout import seed_dropout
from medcap_tf.networks import build_models, load_weights, save_weights
from medcap_tf.records import Problem, Record, read_dataset
from medcap_tf.text import Normalizer, Vocabulary
from medcap_tf.training.begin import check_data, check_files, claim_folder, read_begun, vocabulary_text
from medcap_tf.training.device import Device, prepare_device
from medcap_tf.training.identity import Identity
from medcap_tf.training.inspect import tf_explain_callback
from medcap_tf.training.loop import History, Stage, run_stage
from medcap_tf.training.plot import plot_history
from medcap_tf.training.retrieval import choose_strength
from medcap_tf.training.stages import (
    Source,
    Task,
    caption_stage,
    image_concept_scores,
    semantic_stage,
    visual_stage,
    word_concept_scores,
)


def train(config: Config, data: Path, run: Path, resume: bool = False) -> dict[str, Any]:
    """Train a captioner on a data set and score it; returns what `scores.json` holds.

    Text-only data (captions and concepts without images) trains the semantic stage alone. Settings, data and what the
    run holds already are checked before anything is written.

    Raises:
        InputError: data that cannot be trained on, a run folder that is taken or was begun with other settings or
            data, weights that cannot be had.
        Interrupted: a signal arrived; the state is saved.
    """
    data, run = Path(data), Path(run)
    written = read_begun(run, config, resume)
    dataset = read_dataset(data, config.data.train_split if config.data.captions == "all" else None)
    chosen = choose_splits(dataset, config.data, config.training.seed)
    files = [check_images(records, name) for name, records in zip(Splits._fields, chosen)]
    identity = Identity.of(chosen, files, dataset.concept_names)
    check_data(run, written, data, identity)
    splits, problems = _usable(chosen, files)
    device = prepare_device(config.training)
    has_images = splits.train[0].image_path is not None
    task = _prepare(config, splits, device, has_images)
    check_files(run, task.vocabulary, task.concepts)
    claim_folder(run, config, written, data, identity)
    _list_problems(run, [*dataset.problems, *problems])
    write_text(run / "vocabulary.json", vocabulary_text(task.vocabulary))
    _say(device.description)
    count = len(dataset.problems) + len(problems)
    _say(
        f"{data}: {len(splits.train)} / {len(splits.valid)} / {len(splits.test)} records to train, validate, test; "
        f"{len(task.vocabulary)} tokens, {len(task.concepts)} concepts, {count} problems"
    )
    history = History(run)
    thresholds = _train_concepts(task, splits, device, run, history, has_images)
    _write_concepts(run, task.concepts, thresholds, dataset.concept_names)
    if not has_images:
        return _finish_text_only(task, splits, thresholds, run)
    source = _caption_source(task, splits, run)
    trained = ["decoder"] if config.visual.trainable == "none" else ["encoder", "decoder"]
    _train_stage(caption_stage(task, source), trained, config, device, run, history, task)
    save_weights(task.models, run / "checkpoints" / "best")
    if config.visual.trainable != "none" and "image" in thresholds:
        scores = image_concept_scores(task, source)
        thresholds["image"] = best_threshold(scores, splits.valid, task.concepts)[0]
        _write_concepts(run, task.concepts, thresholds, dataset.concept_names)
    return _score(task, splits, run, dataset.concept_names)


def _usable(splits: Splits, files: list[list[ImageFile]]) -> tuple[Splits, list[Problem]]:
    """The splits without records whose image cannot be read; raises InputError where nothing is left."""
    kept, problems = [], []
    for name, records, own in zip(Splits._fields, splits, files):
        good = [record for record, file in zip(records, own) if file.problem is None]
        bad = [file.problem for file in own if file.problem]
        if not good and name != "test":
            reason = f"; the first problem: {bad[0].problem}" if bad else ""
            raise InputError(f"split {name!r} has no usable record{reason}. `python -m medcap_tf records` tells more")
        kept.append(good)
        problems += bad
    return Splits(*kept), problems


def _list_problems(run: Path, problems: list[Problem]) -> None:
    if problems:
        _say(f"{len(problems)} problems in the data; the records concerned are skipped (see {run}/problems.json)")
    write_text(run / "problems.json", json.dumps([dataclasses.asdict(p) for p in problems], indent=2) + "\n")


def _prepare(config: Config, splits: Splits, device: Device, has_images: bool) -> Task:
    concepts = frequent_concepts(splits.train, config.data.min_concept_count)
    normalizer = Normalizer(config.text.stemmer, config.text.remove_stop_words)
    vocabulary = Vocabulary.build((r.caption for r in splits.train), normalizer, config.text.min_count)
    if not has_images and not (concepts and config.semantic.epochs):
        raise InputError("no images and no concepts to learn: there is nothing to train")
    with device.strategy.scope():
        models = build_models(
            config,
            len(vocabulary),
            len(concepts),
            precision=device.precision,
            encoder_precision=device.encoder_precision,
            with_weights=has_images,
        )
    seed_dropout(models.parts().values(), config.training.seed)
    train, valid = (Examples.of(part, concepts, vocabulary, config.text.max_words) for part in splits[:2])
    task = Task(config, models, train, valid, vocabulary, concepts, device.strategy.num_replicas_in_sync)
    if concepts and has_images and config.visual.weights_of_run and not config.visual.concept_epochs:
        _take_concept_head(task, Path(config.visual.weights))
    return task


def _train_concepts(
    task: Task, splits: Splits, device: Device, run: Path, history: History, has_images: bool
) -> dict[str, float]:
    """Both concept stages; returns the thresholds of what was trained."""
    config, thresholds = task.config, {}
    if task.concepts and config.visual.names_concepts and has_images:
        source = _image_source(task, splits, augment=True)
        if config.visual.concept_epochs:
            _train_stage(visual_stage(task, source), ["encoder", "concept_head"], config, device, run, history, task)
        thresholds["image"] = best_threshold(image_concept_scores(task, source), splits.valid, task.concepts)[0]
    if task.concepts and config.semantic.epochs:
        _train_stage(semantic_stage(task), ["semantic"], config, device, run, history, task)
        scores = word_concept_scores(task, task.valid)
        thresholds["words"] = best_threshold(scores, splits.valid, task.concepts)[0]
    return thresholds


def _write_concepts(run: Path, codes: list[str], thresholds: dict[str, float], names: dict[str, str]) -> None:
    known = {code: names[code] for code in codes if code in names}
    values = {"codes": codes, "thresholds": thresholds, "names": known}
    write_text(run / "concepts.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _take_concept_head(task: Task, run: Path) -> None:
    """The head that another run trained with the encoder; it has to name the concepts of this data."""
    known = read_json(run / "concepts.json")
    codes = known["codes"]
    if "image" not in known["thresholds"]:
        raise InputError(
            f"visual.weights: the run {run} has trained no concepts of images (visual.concept_epochs=0); give its "
            "checkpoints/best/encoder.h5 to take the encoder alone"
        )
    if codes != task.concepts:
        raise InputError(
            f"visual.weights: the run {run} learned {len(codes)} concepts, this data has {len(task.concepts)} frequent "
            f"ones, and they are not the same; give its checkpoints/best/encoder.h5 to take the encoder alone"
        )
    load_weights(task.models, run / "checkpoints" / "best", ["concept_head"])


def _train_stage(
    stage: Stage, parts: list[str], config: Config, device: Device, run: Path, history: History, task: Task
) -> None:
    """Train a stage; afterwards the `parts` that it trains are those of its best epoch."""
    stage.epoch_end.append(lambda epoch, values: plot_history(history.rows, run / "history.png"))
    if config.training.explain_every and task.concepts and stage.name != "semantic":
        records = [record for record in task.valid.records if record.image_path][: config.training.explain_images]
        pixels = np.stack([_pixels(record, "identity", config) for record in records])
        every = config.training.explain_every
        pictures = tf_explain_callback(task.models, config.visual, pixels, run / "logs", every, stage.name)
        stage.epoch_end.append(pictures)
    best = run_stage(stage, config.training, device, run, history)
    if best:
        load_weights(task.models, best, parts)


def _pixels(record: Record, view: str, config: Config) -> np.ndarray:
    image = images.view(images.read_image(record.image_path), view, config.data.crop)  # type: ignore[arg-type]
    return images.prepare(image, config.visual.image_size, config.data.equalize)


def _image_source(task: Task, splits: Splits, augment: bool) -> Source:
    size = task.config.visual.image_size
    load = [image_loader(part, size, task.config.data, augment and i == 0) for i, part in enumerate(splits[:2])]
    return Source(load[0], load[1], (size, size, 3), tf.uint8)


def _caption_source(task: Task, splits: Splits, run: Path) -> Source:
    """Cached features where the encoder is frozen, images where it learns along."""
    config, encoder = task.config, task.models.encoder
    if config.visual.trainable != "none":
        return _image_source(task, splits, augment=True)
    shape = encoder.output_shape[1:]
    name = fingerprint(encoder, config.visual.image_size, config.data.equalize)
    cache = FeatureCache(_cache_folder(config, run) / name, shape)
    compute = tf.function(lambda pixels: encoder(tf.cast(pixels, tf.float32), training=False), reduce_retracing=True)

    def fill(records: list[Record], view: str) -> np.ndarray:
        return cache.fill(records, view, compute, lambda record, view: _pixels(record, view, config))

    train = {view: fill(splits.train, view) for view in views(config.data)}
    valid = {"identity": fill(splits.valid, "identity")}
    return Source(feature_loader(cache, train), feature_loader(cache, valid), shape, tf.float16)


def _finish_text_only(task: Task, splits: Splits, thresholds: dict[str, float], run: Path) -> dict[str, Any]:
    _say("no images in this data: the semantic stage alone is trained")
    save_weights(task.models, run / "checkpoints" / "best", ["semantic"])
    records = splits.test or splits.valid
    split = task.config.data.test_split if splits.test else "valid"
    examples = Examples.of(records, task.concepts, task.vocabulary, task.config.text.max_words)
    scores = word_concept_scores(task, examples)
    result = score_concepts(split, records, scores, thresholds["words"], task.concepts, splits.train)
    write_scores(run, result)
    return result


def _score(task: Task, splits: Splits, run: Path, concept_names: dict[str, str]) -> dict[str, Any]:
    """Caption the test split with the best weights, loaded from the run as anybody would load them."""
    alone = Captioner.from_run(run, task.config.replace({"decoding.neighbours": 0}))
    library = _library(splits.train, alone, run)
    library.save(run)
    _weigh_neighbours(task, splits, alone, library, run)
    captioner = Captioner.from_run(run, task.config)
    data = task.config.data
    test = [record for record in splits.test if record.image_path]
    if task.config.decoder.semantic_source == "reference":  # which needs the answers
        test = [record for record in test if record.caption]
    scores = evaluate(captioner, test, data.test_split, library, run, concept_names) if test else None
    if scores is None:
        _say(f"split {data.test_split!r} has no captions to score against: scores are those of the validation split")
        suffix = file_suffix(data.valid_split, data.test_split) if test else ""
        scores = evaluate(captioner, splits.valid, data.valid_split, library, run, concept_names, suffix)
        write_scores(run, scores)  # type: ignore[arg-type]
    return scores  # type: ignore[return-value]


def _weigh_neighbours(task: Task, splits: Splits, alone: Captioner, library: Library, run: Path) -> None:
    """Keep the strength of similar images that writes the best validation captions, if any beats the decoder alone."""
    count = task.config.decoding.neighbours
    if not count or task.config.decoder.semantic_source == "reference":
        return
    tried = choose_strength(alone, library, splits.valid, count)
    best = max(tried, key=lambda one: one.score)
    if best.strength is None:
        _say(f"similar images do not help on validation (BLEU-4 {best.bleu_4:.4f} without): the decoder writes alone")
        (run / "neighbours.json").unlink(missing_ok=True)
        return
    best.strength.save(run)
    level, temperature, _ = best.strength
    _say(
        f"similar images raise validation BLEU-4 from {tried[0].bleu_4:.4f} to {best.bleu_4:.4f}, CIDEr-D from "
        f"{tried[0].cider:.3f} to {best.cider:.3f} (level {level:.4f}, temperature {temperature:.4f})"
    )


def _library(records: list[Record], captioner: Captioner, run: Path) -> Library:
    """The training images' mean regions as the finished captioner sees them, cached like all features."""
    config, encoder = captioner.config, captioner.models.encoder
    name = fingerprint(encoder, config.visual.image_size, config.data.equalize)
    cache = FeatureCache(_cache_folder(config, run) / f"{name}-mean", encoder.output_shape[-1:])
    rows = cache.fill(
        records, "identity", captioner.pooled_features, lambda record, view: _pixels(record, view, config)
    )
    return Library(list(records), np.asarray(cache.features("identity")[rows]), content_digests(records))


def _cache_folder(config: Config, run: Path) -> Path:
    return Path(config.data.feature_cache or run.parent / ".features")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
