"""A captioner on a split: predictions, scores, and the two baselines that every score stands beside."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from medcap_tf.caption import Caption
from medcap_tf.captioner import Captioner
from medcap_tf.data import concept_matrix
from medcap_tf.errors import InputError
from medcap_tf.files import write_text
from medcap_tf.metrics import caption_scores, concept_f1
from medcap_tf.records import Record
from medcap_tf.text import Normalizer

POPULAR_WORDS = 10
"""How many words the image-blind baseline says, close to the mean length of a normalised caption."""


def popular_words(captions: Sequence[str], count: int = POPULAR_WORDS) -> str:
    """The caption of the image-blind baseline: the most frequent words of the training captions, most frequent first.

    Stop words are not counted: the official score deletes them.
    """
    normalizer = Normalizer(stemmer="none")
    counts = Counter(word for caption in captions for word in normalizer.stems(caption))
    return " ".join(sorted(counts, key=lambda word: (-counts[word], word))[:count])


def popular_concepts(records: Sequence[Record]) -> tuple[str, ...]:
    """The image-blind concepts: as many of the most frequent ones as score best on the training records themselves."""
    truth = [record.concepts for record in records]
    counts = Counter(concept for concepts in truth for concept in concepts)
    ranked = sorted(counts, key=lambda concept: (-counts[concept], concept))[:20]
    if not ranked:
        return ()
    scores = [concept_f1(truth, [ranked[:k]] * len(truth)) for k in range(1, len(ranked) + 1)]
    return tuple(ranked[: 1 + int(np.argmax(scores))])


def nearest(queries: np.ndarray, library: np.ndarray) -> np.ndarray:
    """Row of the library most similar (cosine) to each query: float [N, C], float [M, C] -> int64 [N]."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (queries, library)]
    return np.argmax(unit[0] @ unit[1].T, axis=1)


def best_threshold(scores: np.ndarray, records: Sequence[Record], concepts: Sequence[str]) -> tuple[float, float]:
    """The threshold of float32 [N, K] concept scores with the highest official F1, and that F1.

    True concepts that are not among the learned ones count as missed.
    """
    learned = concept_matrix(records, concepts)
    truth = np.array([len({concept.upper() for concept in record.concepts}) for record in records])
    counted = truth > 0
    if not counted.any():
        return 0.5, 0.0

    def f1(threshold: float) -> float:
        named = scores >= threshold
        hits = (named * learned).sum(1)
        return float((2 * hits / np.maximum(named.sum(1) + truth, 1))[counted].mean())

    candidates = np.arange(0.02, 0.98, 0.02)
    values = [f1(threshold) for threshold in candidates]
    return float(candidates[int(np.argmax(values))]), max(values)


class Library(NamedTuple):
    """The training records that the baselines draw on, kept in the run folder."""

    records: list[Record]
    features: np.ndarray  # float16 [M, C], mean region of each image

    @classmethod
    def of(cls, records: Sequence[Record], captioner: Captioner) -> Library:
        """Compute the records' features with the captioner's encoder."""
        found = captioner.pooled_features([r.image_path for r in records])  # type: ignore[misc]
        bar = tqdm(found, total=len(records), desc="features for nearest images", unit="image", mininterval=1.0)
        return cls(list(records), np.stack(list(bar)).astype(np.float16))

    def save(self, run: Path) -> None:
        """Write `library.json` and `library.npy`."""
        values = [{"id": r.image_id, "caption": r.caption, "concepts": r.concepts} for r in self.records]
        write_text(run / "library.json", json.dumps(values, ensure_ascii=False, indent=0) + "\n")
        np.save(run / "library.npy", self.features)

    @classmethod
    def load(cls, run: Path) -> Library:
        """Read what `save` wrote; raises InputError where it is missing."""
        try:
            values = json.loads((run / "library.json").read_text(encoding="utf-8"))
            features = np.load(run / "library.npy")
        except (OSError, ValueError) as error:
            raise InputError(f"{run}: the run is not finished ({error}); train it with --resume") from error
        return cls([Record(v["id"], None, v["caption"], tuple(v["concepts"])) for v in values], features)


def evaluate(
    captioner: Captioner, records: Sequence[Record], split: str, library: Library, folder: Path
) -> dict[str, Any]:
    """Caption a split, write `predictions.csv`, `concepts.csv` and `scores.json` into `folder`; returns the scores.

    Raises:
        InputError: records without images, or a split without reference captions (its predictions are written).
    """
    paths = [record.image_path for record in records]
    if not records or any(path is None for path in paths):
        raise InputError(f"split {split!r} has no images to caption")
    oracle = captioner.config.decoder.semantic_source == "reference"
    found = captioner.caption(paths, [record.caption for record in records] if oracle else None)  # type: ignore[arg-type]
    captions = list(tqdm(found, total=len(paths), desc=f"caption {split}", unit="image", mininterval=1.0, leave=False))
    write_predictions(folder, records, captions)
    scores = _score_split(split, records, captions, library, "oracle" if oracle else "model")
    write_scores(folder, scores)
    return scores


def _score_split(
    split: str, records: Sequence[Record], captions: Sequence[Caption], library: Library, method: str
) -> dict[str, Any]:
    scored = [i for i, record in enumerate(records) if record.caption]
    if not scored:
        raise InputError(f"split {split!r} has no reference captions to score against; its predictions are written")
    references, truth = [records[i].caption for i in scored], [records[i].concepts for i in scored]

    def scores(candidates: list[str], predicted: list[Sequence[str]]) -> dict[str, float]:
        result = caption_scores(references, candidates)
        return {**result, "concept_f1": concept_f1(truth, predicted)} if any(truth) else result

    blind, usual = popular_words([r.caption for r in library.records]), popular_concepts(library.records)
    queries = np.stack([_pooled(captions[i], library) for i in scored])
    near = [library.records[row] for row in nearest(queries, library.features.astype(np.float32))]
    return {
        "split": split,
        "images": len(scored),
        method: scores(
            [captions[i].text for i in scored], [[code for code, _ in captions[i].concepts] for i in scored]
        ),
        "popular_words": scores([blind] * len(scored), [usual] * len(scored)),
        "nearest_image": scores([r.caption for r in near], [r.concepts for r in near]),
    }


def _pooled(caption: Caption, library: Library) -> np.ndarray:
    return np.zeros(library.features.shape[1], np.float32) if caption.pooled is None else caption.pooled


def score_concepts(
    split: str, records: Sequence[Record], named: Sequence[Sequence[str]], train: Sequence[Record]
) -> dict[str, Any]:
    """Scores of concepts alone, for data without images: the content of `scores.json`."""
    truth, usual = [record.concepts for record in records], popular_concepts(train)
    return {
        "split": split,
        "images": 0,
        "captions": len(records),
        "model": {"concept_f1": concept_f1(truth, named)},
        "popular_words": {"concept_f1": concept_f1(truth, [usual] * len(records))},
    }


def write_predictions(folder: Path, records: Sequence[Record], captions: Sequence[Caption]) -> None:
    """`predictions.csv` (ID,Caption) and `concepts.csv` (ID,CUIs)."""
    ids = [record.image_id for record in records]
    _write_table(folder / "predictions.csv", "Caption", zip(ids, (caption.text for caption in captions)))
    codes = (";".join(code for code, _ in caption.concepts) for caption in captions)
    _write_table(folder / "concepts.csv", "CUIs", zip(ids, codes))


def write_scores(folder: Path, scores: dict[str, Any]) -> None:
    """`scores.json`, by rename."""
    write_text(folder / "scores.json", json.dumps(scores, indent=2) + "\n")


def _write_table(path: Path, column: str, rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ID", column])
    writer.writerows(rows)
    write_text(path, text.getvalue())


def format_scores(scores: dict[str, Any]) -> str:
    """`scores.json` as a table for people: a row a metric, a column a method."""
    methods = [name for name in ("model", "oracle", "popular_words", "nearest_image") if name in scores]
    lines = [f"{scores['split']}: {scores['images']} images".ljust(22) + "".join(m.rjust(15) for m in methods)]
    for metric in scores[methods[0]]:
        lines.append(metric.ljust(22) + "".join(f"{scores[m][metric]:15.4f}" for m in methods))
    return "\n".join(lines)
