"""What follows the stages: the datastore, what validation images choose, the scores."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.feature_cache import FeatureCache, cache_folder, fingerprint
from medcap_tf.data.records import Record
from medcap_tf.data.splits import Splits, content_digests
from medcap_tf.evaluation.calibration import calibrate, recalibrated
from medcap_tf.evaluation.evaluate import EvaluationOptions, evaluate
from medcap_tf.evaluation.neighbors import TUNED_BY, Tuned, tune
from medcap_tf.evaluation.score_files import file_suffix, write_scores
from medcap_tf.models.inverted_lists import Lists
from medcap_tf.models.visual import region_shape
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.messages import say
from medcap_tf.training.retrieval import choose_retrieval, group_large
from medcap_tf.training.stages import TrainingContext, pixels_of


def score_run(context: TrainingContext, splits: Splits, concept_names: dict[str, str]) -> dict[str, Any]:
    """Caption the test split with the best weights, loaded from the run as anybody would load them."""
    run, data = context.run, context.config.data
    run.write_calibration(None)  # of a run that is finished once more
    alone = RunCaptioner.from_run(run, context.config.replace({"decoding.neighbors": 0}))
    datastore = _datastore(context, splits.train, alone)
    datastore.save(run)
    _choose_retrieval(context, splits, alone, datastore, group_large(run, datastore))
    captioner, tuned = _by_validation(context, splits, alone.with_retrieval_of(run, context.config), datastore)
    test = [record for record in splits.test if record.image_path]
    if context.config.decoder.semantic_source == "reference":  # which needs the answers
        test = [record for record in test if record.caption]
    else:
        _save_graph(captioner, run)
    options = EvaluationOptions(tuned=tuned)
    scores = None
    if test:
        scores = evaluate(captioner, test, data.test_split, datastore, run.path, concept_names, options=options)
    if scores is None:
        say(f"split {data.test_split!r} has no captions to score against: scores are those of the validation split")
        suffix = file_suffix(data.valid_split, data.test_split) if test else ""
        valid = splits.valid, data.valid_split
        scores = evaluate(captioner, *valid, datastore, run.path, concept_names, suffix, options)
        assert scores is not None  # a split to train or validate on holds captioned records alone
        write_scores(run.path, scores)
    return scores


def _save_graph(captioner: RunCaptioner, run: RunFolder) -> None:
    """Captions start sooner with it, and are the same without: a full disk costs no scores."""
    try:
        captioner.save_graph(run)
    except (OSError, tf.errors.OpError) as error:
        say(f"{run.graph}: cannot be written ({error}); a first caption will take a few seconds longer")


def _by_validation(
    context: TrainingContext, splits: Splits, captioner: RunCaptioner, datastore: Datastore
) -> tuple[RunCaptioner, Tuned | None]:
    """Let validation images choose what makes probabilities of scores, then what the baselines have to choose; nothing
    where captions need the answer."""
    if context.config.decoder.semantic_source == "reference":
        return captioner, None
    valid = splits.valid[:: math.ceil(len(splits.valid) / TUNED_BY)]
    captions = list(captioner.caption([record.image_file for record in valid]))
    names, retrieval = captioner.concept_names, captioner.model.retriever is not None
    calibration = calibrate(captions, valid, context.concepts, names, retrieval)
    context.run.write_calibration(calibration._asdict())
    tuned = tune([recalibrated(caption, calibration) for caption in captions], valid, datastore, context.concepts)
    context.run.write_baselines(tuned._asdict())
    return captioner.with_calibration(calibration), tuned


def _choose_retrieval(
    context: TrainingContext, splits: Splits, alone: RunCaptioner, datastore: Datastore, lists: Lists | None
) -> None:
    """Keep the parameters that give the best validation captions, if any beat the decoder alone."""
    count = context.config.decoding.neighbors
    if not count or context.config.decoder.semantic_source == "reference":
        return
    trials = choose_retrieval(alone, datastore, splits.valid, count, lists)
    best = max(trials, key=lambda trial: trial.score)
    context.run.write_retrieval(best.parameters and best.parameters._asdict())
    if best.parameters is None:
        say(f"similar images do not help on validation (BLEU-4 {best.bleu_4:.4f} without): the decoder is left alone")
        return
    say(
        f"similar images raise validation BLEU-4 from {trials[0].bleu_4:.4f} to {best.bleu_4:.4f}, CIDEr-D from "
        f"{trials[0].cider:.3f} to {best.cider:.3f} (decoder's similarity {best.parameters.decoder_similarity:.4f}, "
        f"temperature {best.parameters.temperature:.4f})"
    )


def _datastore(context: TrainingContext, records: list[Record], captioner: RunCaptioner) -> Datastore:
    """The training images' mean regions as the finished captioner sees them, cached like all features."""
    config, encoder = captioner.config, captioner.model.encoder
    name = fingerprint([encoder], config.visual.image_size, config.data.equalize)
    cache = FeatureCache(
        cache_folder(context.config.data, context.run.path) / f"{name}-mean", region_shape(encoder)[-1:]
    )
    rows = cache.fill(
        records, "identity", captioner.pooled_features, lambda record, view: pixels_of(record, view, config)
    )
    return Datastore(list(records), cache.features("identity")[rows], content_digests(records))
