"""A captioner on a split: predictions, scores, and the two baselines that every score stands beside."""

from __future__ import annotations

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
from medcap_tf.evaluation.baselines import nearest, popular_concepts, popular_words
from medcap_tf.evaluation.metrics import (
    SufficientStatistics,
    caption_parts,
    caption_statistics,
    concept_map,
    concept_parts,
    concept_scores,
    edition_concept_parts,
    intervals,
)
from medcap_tf.evaluation.neural import Captioned, EditionChoice, EditionScores, edition_scores
from medcap_tf.evaluation.notes import attention_statistics, notes_on_captions, notes_on_concepts
from medcap_tf.evaluation.score_files import write_predictions, write_scores
from medcap_tf.evaluation.subgroups import find_subgroups, score_subgroups, write_subgroups


def best_threshold(scores: np.ndarray, records: Sequence[Record], concepts: Sequence[str]) -> tuple[float, float]:
    """The threshold of float32 [N, K] concept scores with the highest official F1, and that F1.

    True concepts that are not among the learned ones count as missed.
    """
    learned = ConceptMatrix.of(records, concepts)
    right, rows = scores[learned.rows(), learned.columns], learned.rows()  # of the true concepts alone
    truth = np.array([len({concept.upper() for concept in record.concepts}) for record in records])
    counted = truth > 0
    if not counted.any():
        return 0.5, 0.0

    def f1(threshold: float) -> float:
        named = np.count_nonzero(scores >= threshold, axis=1)
        hits = np.bincount(rows[right >= threshold], minlength=len(scores))
        return float((2 * hits / np.maximum(named + truth, 1))[counted].mean())

    candidates = np.arange(0.02, 0.98, 0.02)
    values = [f1(threshold) for threshold in candidates]
    return float(candidates[int(np.argmax(values))]), max(values)


class Answers(NamedTuple):
    """What one method says of N images."""

    captions: list[str]
    concepts: Sequence[Sequence[str]]
    strength: np.ndarray  # float [N, K], how sure it is of each concept that the run learned


def evaluate(
    captioner: RunCaptioner,
    records: Sequence[Record],
    split: str,
    datastore: Datastore,
    folder: Path,
    concept_names: Mapping[str, str] | None = None,
    suffix: str = "",
    edition: EditionChoice | None = None,
) -> dict[str, Any] | None:
    """Caption a split; write `predictions.csv`, `concepts.csv`, `scores.json`, `groups.csv` and `groups.png` into
    `folder`, with `suffix` after each name.

    Images of a split that is part of the datastore do not have their own entries among their neighbors. With `edition`,
    the scores of that year's task stand beside the others; one that is None was not computed, and `notes` says why.

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
    answers = {
        "oracle" if oracle else "model": _answers(answered, captioner.concepts),
        **_baselines(answered, datastore, captioner.concepts, own[scored]),
    }
    truth, training = [records[i] for i in scored], [record.caption for record in datastore.records]
    results = {name: _parts(truth, answer, edition) for name, answer in answers.items()}
    parts = {name: own.parts for name, own in results.items()}
    left_out = {"own_entries_left_out": int((own >= 0).sum())} if (own >= 0).any() else {}
    scores = {
        "split": split,
        "images": len(truth),
        **left_out,
        **{
            name: {
                **_score(parts[name], truth, answers[name], captioner.concepts, training),
                **dict.fromkeys(results[name].absent),
            }
            for name in answers
        },
        "intervals": {name: intervals(one) for name, one in parts.items()},
        "attention": attention_statistics(answered),
        **notes_on_captions(
            parts,
            truth,
            answered,
            captioner.concepts,
            {name: {**own.notes, **own.absent} for name, own in results.items()},
        ),
    }
    groups = score_subgroups(find_subgroups(truth, training, concept_names), next(iter(parts.values())))
    # All of it, now that nothing can be refused any more.
    write_predictions(folder, records, captions, suffix)
    write_scores(folder, scores, suffix)
    write_subgroups(folder, groups, suffix)
    return scores


def _caption(
    captioner: RunCaptioner, records: Sequence[Record], split: str, own: np.ndarray, oracle: bool
) -> list[Caption]:
    references = [record.caption for record in records] if oracle else None
    generated = captioner.caption([record.image_file for record in records], references, own)
    bar = tqdm(generated, desc=f"caption {split}", total=len(records), unit="image", mininterval=1.0, leave=False)
    return list(bar)


def own_entries(records: Sequence[Record], split: str, train_split: str, datastore: Datastore) -> np.ndarray:
    """Each record's number in `Datastore.contents`, int32 [N]; all -1 where the split is no part of the datastore.

    A split is part of it by its name or where the datastore holds most of its images: one that holds a few of them by
    chance would answer anybody's question with them.
    """
    keys = content_digests(records) if datastore.images else [key_without_image(record) for record in records]
    numbers = datastore.numbers_of(keys)
    part = split == train_split or (numbers >= 0).mean() > 0.5
    return numbers if part else np.full(len(records), -1, np.int32)


def _answers(captions: Sequence[Caption], concepts: Sequence[str]) -> Answers:
    nothing = np.zeros(len(concepts))
    strength = [nothing if caption.concept_scores is None else caption.concept_scores for caption in captions]
    named = [[code for code, _ in caption.concepts] for caption in captions]
    return Answers([caption.text for caption in captions], named, np.stack(strength))


def _baselines(
    captions: Sequence[Caption], datastore: Datastore, concepts: Sequence[str], own: np.ndarray
) -> dict[str, Answers]:
    """Popular words without a look at the image, and the nearest training image's caption and concepts."""
    blind, usual = popular_words([r.caption for r in datastore.records]), popular_concepts(datastore.records)
    learned = ConceptMatrix.of(datastore.records, concepts)
    queries = np.stack([_pooled(caption, datastore) for caption in captions])
    rows = nearest(queries, datastore.features, own, datastore.contents())
    neighbors, count = [datastore.records[row] for row in rows], len(captions)
    return {
        "popular_words": Answers([blind] * count, [usual] * count, _repeated(learned.frequencies(), count)),
        "nearest_image": Answers(
            [r.caption for r in neighbors], [r.concepts for r in neighbors], learned.take(rows).dense()
        ),
    }


def _repeated(row: np.ndarray, count: int) -> np.ndarray:
    """The row [K] for each of N images, without a copy."""
    return np.broadcast_to(row, (count, len(row)))


def _pooled(caption: Caption, datastore: Datastore) -> np.ndarray:
    return np.zeros(datastore.features.shape[1], np.float32) if caption.pooled is None else caption.pooled


def _parts(records: Sequence[Record], answers: Answers, edition: EditionChoice | None) -> EditionScores:
    """All scores by image; of an edition those that were not computed, and what there is to say of its means."""
    references, truth = [record.caption for record in records], [record.concepts for record in records]
    parts = caption_parts(references, answers.captions)
    if any(truth):
        parts.update(concept_parts(truth, answers.concepts))
    if edition is None:
        return EditionScores(parts, {}, {})
    images = [record.image_path for record in records]
    written = [record.written or record.caption for record in records]
    own = edition_scores(Captioned(edition.year, written, answers.captions, images), edition.weights)
    manual = [record.manual or () for record in records] if any(record.manual for record in records) else None
    of_concepts = edition_concept_parts(edition.year, truth, answers.concepts, manual) if any(truth) else {}
    return EditionScores({**parts, **own.parts, **of_concepts}, own.absent, own.notes)


def _score(
    parts: Mapping[str, SufficientStatistics],
    records: Sequence[Record],
    answers: Answers,
    concepts: Sequence[str],
    training: Sequence[str],
) -> dict[str, float]:
    scores = {name: part.score() for name, part in parts.items()}
    if "concept_f1" in parts:
        scores.update(_concept_scores(records, answers.concepts, answers.strength, concepts))
    return {**scores, **caption_statistics(answers.captions, training)}


def _concept_scores(
    records: Sequence[Record], named: Sequence[Sequence[str]], strength: np.ndarray, concepts: Sequence[str]
) -> dict[str, float]:
    truth = [record.concepts for record in records]
    precision = concept_map(truth, strength, concepts)
    return {**concept_scores(truth, named), **({} if precision is None else {"concept_map": precision})}


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
    frequencies = _repeated(ConceptMatrix.of(train, concepts).frequencies(), count)
    named: dict[str, tuple[list[Sequence[str]], np.ndarray]] = {
        "model": ([[concepts[i] for i in np.flatnonzero(row >= threshold)] for row in strength], strength),
        "popular_words": ([popular_concepts(train)] * count, frequencies),
    }
    parts = {name: concept_parts(truth, codes) for name, (codes, _) in named.items()}
    return {
        "split": split,
        "images": 0,
        "captions": count,
        **{name: _concept_scores(records, *answer, concepts) for name, answer in named.items()},
        "intervals": {name: intervals(own) for name, own in parts.items()},
        **notes_on_concepts(parts, records, concepts),
    }
