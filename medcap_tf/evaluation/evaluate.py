"""A captioner on a split: predictions, scores, and the baselines that every score stands beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from medcap_tf.caption import Caption
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.datastore import Datastore, key_without_image
from medcap_tf.data.records import Record
from medcap_tf.data.splits import content_digests
from medcap_tf.errors import InputError
from medcap_tf.evaluation.answers import baseline_answers, model_answers
from medcap_tf.evaluation.baselines import popular_concepts
from medcap_tf.evaluation.calibration import calibration_scores, judge
from medcap_tf.evaluation.metrics import concept_parts, intervals
from medcap_tf.evaluation.neighbors import Tuned
from medcap_tf.evaluation.neural import EditionChoice
from medcap_tf.evaluation.notes import attention_statistics, notes_on_captions, notes_on_concepts
from medcap_tf.evaluation.reliability import write_reliability
from medcap_tf.evaluation.score_files import write_predictions, write_scores
from medcap_tf.evaluation.scoring import Yardstick, concept_scores_of, score_answers
from medcap_tf.evaluation.subgroups import find_subgroups, score_subgroups, write_subgroups


class EvaluationOptions(NamedTuple):
    """What is scored besides the standard metrics."""

    edition: EditionChoice | None = None  # a year of ImageCLEFmed Caption
    tuned: Tuned | None = None  # what validation images have chosen for the baselines; None leaves the tuned ones out


STANDARD = EvaluationOptions()


def evaluate(
    captioner: RunCaptioner,
    records: Sequence[Record],
    split: str,
    datastore: Datastore,
    folder: Path,
    concept_names: Mapping[str, str] | None = None,
    suffix: str = "",
    options: EvaluationOptions = STANDARD,
) -> dict[str, Any] | None:
    """Caption a split; write `predictions.csv`, `concepts.csv`, `scores.json`, `groups.csv` and `groups.png` into
    `folder`, with `suffix` after each name, and `calibration.png` where captions have a confidence.

    Images of a split that is part of the datastore do not have their own entries among their neighbors. A score that
    is None was not computed, and `notes` says why.

    Returns:
        The scores; None for a split without reference captions, of which the two tables alone are written.

    Raises:
        InputError: records without images.
    """
    if not records or any(record.image_path is None for record in records):
        raise InputError(f"split {split!r} has no images to caption")
    oracle = captioner.config.decoder.semantic_source == "reference"
    own = own_entries(records, split, captioner.config.data.train_split, datastore)
    captions = _caption(captioner, records, split, own, oracle)
    scored = [i for i, record in enumerate(records) if record.caption]
    if not scored:
        write_predictions(folder, records, captions, suffix)
        return None
    answered = [captions[i] for i in scored]
    truth, training = [records[i] for i in scored], [record.caption for record in datastore.records]
    names = {**(concept_names or {}), **captioner.concept_names}
    yardstick = Yardstick.of(datastore.records, captioner.concepts, names, options.edition)
    method = "oracle" if oracle else "model"
    results = {method: score_answers(truth, model_answers(answered, captioner.concepts), yardstick)}
    for name, answers in baseline_answers(answered, datastore, captioner.concepts, own[scored], options.tuned):
        results[name] = score_answers(truth, answers, yardstick)
    parts = {name: result.parts for name, result in results.items()}
    judged = judge(answered, truth, captioner.concepts, names)
    calibration = calibration_scores(answered, judged, next(iter(parts.values())))
    left_out = {"own_entries_left_out": int((own >= 0).sum())} if (own >= 0).any() else {}
    scores = {
        "split": split,
        "images": len(truth),
        **left_out,
        **{name: result.scores for name, result in results.items()},
        "intervals": {name: intervals(one) for name, one in parts.items()},
        "attention": attention_statistics(answered),
        **({"calibration": calibration} if calibration else {}),
        **notes_on_captions(
            parts, truth, answered, captioner.concepts, {name: result.notes for name, result in results.items()}
        ),
    }
    groups = score_subgroups(find_subgroups(truth, training, concept_names), next(iter(parts.values())))
    # All of it, now that nothing can be refused any more.
    write_predictions(folder, records, captions, suffix)
    write_scores(folder, scores, suffix)
    write_subgroups(folder, groups, suffix)
    if judged is not None:
        write_reliability(folder / f"calibration{suffix}.png", judged)
    return scores


def _caption(
    captioner: RunCaptioner, records: Sequence[Record], split: str, own: np.ndarray, oracle: bool
) -> list[Caption]:
    references = [record.caption for record in records] if oracle else None
    generated = captioner.caption([record.image_file for record in records], references, own)
    bar = tqdm(generated, desc=f"caption {split}", total=len(records), unit="image", mininterval=1.0, leave=False)
    # No score is of these, and of thousands of images they are hundreds of MB.
    return [dataclasses.replace(caption, evidence=None, word_scores=None) for caption in bar]


def own_entries(records: Sequence[Record], split: str, train_split: str, datastore: Datastore) -> np.ndarray:
    """Each record's number in `Datastore.contents`, int32 [N]; all -1 where the split is no part of the datastore.

    A split is part of it by its name or where the datastore holds most of its images: one that holds a few of them by
    chance would answer anybody's question with them.
    """
    keys = content_digests(records) if datastore.images else [key_without_image(record) for record in records]
    numbers = datastore.numbers_of(keys)
    part = split == train_split or (numbers >= 0).mean() > 0.5
    return numbers if part else np.full(len(records), -1, np.int32)


def score_concepts(
    split: str,
    records: Sequence[Record],
    strength: np.ndarray,
    threshold: float,
    concepts: Sequence[str],
    train: Sequence[Record],
) -> dict[str, Any]:
    """Scores of concepts alone, for data without images: the content of `scores.json`.

    Args:
        split: its name.
        records: of the split.
        strength: float32 [N, K], the semantic classifier's scores of their captions.
        threshold: from which score on a concept is named.
        concepts: the K codes.
        train: the training records, for the baseline.
    """
    truth, count = [record.concepts for record in records], len(records)
    frequencies = np.broadcast_to(ConceptMatrix.of(train, concepts).frequencies(), (count, len(concepts)))
    named: dict[str, tuple[list[Sequence[str]], np.ndarray]] = {
        "model": ([[concepts[i] for i in np.flatnonzero(row >= threshold)] for row in strength], strength),
        "popular_words": ([popular_concepts(train)] * count, frequencies),
    }
    parts = {name: concept_parts(truth, codes) for name, (codes, _) in named.items()}
    return {
        "split": split,
        "images": 0,
        "captions": count,
        **{name: concept_scores_of(records, *answer, concepts) for name, answer in named.items()},
        "intervals": {name: intervals(own) for name, own in parts.items()},
        **notes_on_concepts(parts, records, concepts),
    }
