"""Which scores of an evaluation cannot mean anything, or little, and why; whether the attention moves at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.data.records import Record
from medcap_tf.evaluation.metrics import SufficientStatistics, concept_map_note, notes_on, notes_on_intervals


def notes_on_captions(
    parts: Mapping[str, Any],
    records: Sequence[Record],
    captions: Sequence[Caption],
    concepts: Sequence[str],
    of_editions: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """`notes` of `scores.json`, by method and score: what cannot mean anything, or little, and why; empty for none.

    `of_editions` are those on an edition's scores, by method: not computed, or of how many parts.
    """
    further = of_editions or {}
    notes = {name: {**_notes(one, records, concepts), **further.get(name, {})} for name, one in parts.items()}
    return _under_notes({**notes, "attention": _attention_notes(captions), "all": _notes_on_images(captions)})


def notes_on_concepts(parts: Mapping[str, Any], records: Sequence[Record], concepts: Sequence[str]) -> dict[str, Any]:
    """`notes_on_captions` for scores of concepts without images."""
    notes = {name: _notes(one, records, concepts) for name, one in parts.items()}
    return _under_notes({**notes, "all": notes_on_intervals(len(records))})


def attention_statistics(captions: Sequence[Caption]) -> dict[str, float]:
    """Whether the attention tells anything: a captioner that has collapsed looks at the same place for every word, or
    in every image.

    Returns:
        `between_words`, the mean total variation distance (0..1) between the maps of two words of one caption, and
        `between_images`, that between the mean maps of two images, each over neighboring pairs.
    """
    maps = [caption.attention.reshape(len(caption.attention), -1) for caption in captions if len(caption.words)]
    words = [_variation(x) for x in maps if len(x) > 1]
    images = _variation(np.stack([x.mean(0) for x in maps])) if len(maps) > 1 else 0.0
    return {"between_words": float(np.mean(words)) if words else 0.0, "between_images": images}


def _notes(
    parts: Mapping[str, SufficientStatistics], records: Sequence[Record], concepts: Sequence[str]
) -> dict[str, str]:
    """The scores of one method that cannot mean anything, and why."""
    notes = notes_on(parts)
    if "concept_f1" not in parts:
        return {**notes, "concept_f1": "not scored: no image has a true concept"}
    if not concepts:
        notes["concept_f1"] = "the run has learned no concepts"
    note = concept_map_note([record.concepts for record in records], concepts)
    return {**notes, "concept_map": note} if note else notes


def _notes_on_images(captions: Sequence[Caption]) -> dict[str, str]:
    unread, count = sum(bool(caption.error) for caption in captions), len(captions)
    notes = {"unreadable": f"{unread} of {count} images, which count as empty captions"} if unread else {}
    return {**notes_on_intervals(count), **notes}


def _attention_notes(captions: Sequence[Caption]) -> dict[str, str]:
    """Which of `attention_statistics` are 0 for want of anything to compare."""
    lengths = [len(caption.words) for caption in captions]
    notes = {}
    if max(lengths, default=0) < 2:
        notes["between_words"] = "0 for want of a caption with two words"
    if sum(map(bool, lengths)) < 2:
        notes["between_images"] = "0 for want of two captions with words"
    return notes


def _under_notes(notes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """`notes` by method and score, without those that have none."""
    by_method = {method: dict(own) for method, own in notes.items() if own}
    return {"notes": by_method} if by_method else {}


def _variation(rows: np.ndarray) -> float:
    return float(np.abs(np.diff(rows, axis=0)).sum(1).mean() / 2)
