"""How much similar training images shall count, chosen on validation captions when the decoder has learned.

Axes: B images, h x w regions of C channels, N neighbours, Q concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from medcap_tf import images
from medcap_tf.captioner import Captioner
from medcap_tf.evaluation import best_threshold
from medcap_tf.library import Library
from medcap_tf.metrics import caption_scores
from medcap_tf.neighbours import Retriever, Strength
from medcap_tf.records import Record
from medcap_tf.writing import read_captions, write_captions

IMAGES = 500  # enough to choose among seven, and few enough for memory
_BATCH = 32
_TENTH = 9  # counted from 0
# In units of the distance between the nearest and the tenth neighbour, from the nearest upwards.
_LEVELS, _TEMPERATURES = (0.0, 0.75), (0.25, 0.5, 1.0)


class Tried(NamedTuple):
    """One choice and its validation scores; None: the decoder alone."""

    strength: Strength | None
    bleu_4: float
    cider: float

    @property
    def score(self) -> float:
        """What the choice goes by: BLEU-4 alone cannot tell choices apart that CIDEr-D, ten times as large, can."""
        return self.bleu_4 + self.cider / 10


def choose_strength(captioner: Captioner, library: Library, records: Sequence[Record], count: int) -> list[Tried]:
    """Caption validation images with the decoder alone and with similar images at several strengths.

    Args:
        captioner: a trained run without neighbours.
        library: its training images.
        records: validation records with images and captions; where there are more than IMAGES, as many are drawn.
        count: N.

    Returns:
        All that was tried, the decoder alone first; the best is worth keeping.
    """
    drawn = np.random.default_rng(0).permutation(len(records))[:IMAGES]  # tables may be sorted by case
    records = [records[row] for row in sorted(drawn)]
    regions = _regions(captioner, records)
    start = Strength(1.0, 1.0, 0.5)
    sizes = (count, captioner.config.text.max_words)
    retriever = Retriever(library, captioner.vocabulary, captioner.concepts, sizes, start)
    write = _writer(captioner, retriever)
    references = [record.caption for record in records]
    found = [_tried(None, references, write(regions, False)[0])]
    for level, temperature in _grid(retriever, regions):
        retriever.level.assign(level)
        retriever.temperature.assign(temperature)
        captions, scores = write(regions, True)
        threshold = best_threshold(scores, records, captioner.concepts)[0] if captioner.concepts else 0.5
        found.append(_tried(Strength(level, temperature, threshold), references, captions))
    return found


def _tried(strength: Strength | None, references: list[str], captions: list[str]) -> Tried:
    scores = caption_scores(references, captions)
    return Tried(strength, scores["bleu_4"], scores["cider"])


def _regions(captioner: Captioner, records: Sequence[Record]) -> list[np.ndarray]:
    """float16 [B, h, w, C], batch by batch."""
    encoder = captioner.models.encoder
    encode = tf.function(lambda pixels: encoder(tf.cast(pixels, tf.float32), training=False), reduce_retracing=True)
    starts = range(0, len(records), _BATCH)
    chunks = (records[start : start + _BATCH] for start in starts)
    pixels = (np.stack([captioner.prepare(images.read_image(r.image_path)) for r in chunk]) for chunk in chunks)  # type: ignore[arg-type]
    bar = tqdm(pixels, total=len(starts), desc="weigh similar images", unit="batch", mininterval=1.0, leave=False)
    return [encode(batch).numpy().astype(np.float16) for batch in bar]


def _grid(retriever: Retriever, regions: list[np.ndarray]) -> list[tuple[float, float]]:
    """Levels and temperatures in the unit of this encoder's similarities."""
    best = np.concatenate([retriever.nearest(tf.constant(x.astype(np.float32).mean((1, 2))))[0] for x in regions])
    nearest = float(np.median(best[:, 0]))
    unit = max(nearest - float(np.median(best[:, min(_TENTH, best.shape[1] - 1)])), 1e-3)
    return [(nearest + level * unit, temperature * unit) for level in _LEVELS for temperature in _TEMPERATURES]


def _writer(captioner: Captioner, retriever: Retriever):  # type: ignore[no-untyped-def]
    """(regions by batch, with neighbours) -> captions, and concept scores float32 [B, Q] where the run has concepts."""
    models, config = captioner.models, captioner.config

    @tf.function(reduce_retracing=True)
    def write(batch: tf.Tensor, together: bool) -> dict[str, tf.Tensor]:
        batch = tf.cast(batch, tf.float32)
        near = retriever.find(tf.reduce_mean(batch, axis=[1, 2])) if together else None
        found = write_captions(models, batch, config.decoding, config.decoder.semantic_source, near=near)
        out = {"tokens": found.tokens}
        if models.semantic is not None:
            out.update(read_captions(models, batch, found.tokens, captioner.names_from_image, near))
        return out

    def run(regions: list[np.ndarray], together: bool) -> tuple[list[str], np.ndarray]:
        rows = [{name: value.numpy() for name, value in write(batch, together).items()} for batch in regions]
        tokens = (ids for row in rows for ids in row["tokens"])
        captions = [" ".join(captioner.vocabulary.readable(captioner.vocabulary.decode(ids))) for ids in tokens]
        return captions, np.concatenate([row.get("concept_score", np.zeros((len(row["tokens"]), 0))) for row in rows])

    return run
