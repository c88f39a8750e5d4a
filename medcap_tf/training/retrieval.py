"""How much similar training images shall count, chosen on validation captions when the decoder has learned.

Axes: B images, h x w regions of C channels, N neighbors, Q concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from medcap_tf.caption import as_text
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data import images
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.evaluation.baselines import best_threshold
from medcap_tf.evaluation.metrics import caption_scores
from medcap_tf.graphs import graph_function
from medcap_tf.models.inverted_lists import EXACT, Lists, build_lists, save_lists
from medcap_tf.models.retrieval import RetrievalParameters, Retriever, unit_rows
from medcap_tf.models.visual import pack
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.messages import say

IMAGES = 500  # enough to choose among ten, and few enough for memory
_BATCH = 32
_TENTH = 9  # counted from 0
# In units of the distance between the nearest and the tenth neighbor, from the nearest upwards.
_LEVELS, _TEMPERATURES = (-0.5, 0.0, 0.75), (0.25, 0.5, 1.0)


class Trial(NamedTuple):
    """One choice and its validation scores; None: the decoder alone."""

    parameters: RetrievalParameters | None
    bleu_4: float
    cider: float

    @property
    def score(self) -> float:
        """What the choice goes by: BLEU-4 alone cannot tell choices apart that CIDEr-D, ten times as large, can."""
        return self.bleu_4 + self.cider / 10


def choose_retrieval(
    captioner: RunCaptioner, datastore: Datastore, records: Sequence[Record], count: int, lists: Lists | None = None
) -> list[Trial]:
    """Caption validation images with the decoder alone and with similar images that count differently.

    Args:
        captioner: a trained run without retrieval.
        datastore: its training images.
        records: validation records with images and captions; where there are more than IMAGES, as many are drawn.
        count: N.
        lists: of a datastore too large to be compared whole.

    Returns:
        All trials, the decoder alone first; the best is worth keeping.
    """
    drawn = np.random.default_rng(0).permutation(len(records))[:IMAGES]  # tables may be sorted by case
    records = [records[row] for row in sorted(drawn)]
    seen = _seen(captioner, records)
    together = captioner.with_retrieval(datastore, RetrievalParameters(1.0, 1.0, 0.5), count, lists)
    retriever = together.model.retriever
    assert retriever is not None  # with_retrieval has just given it one
    references = [record.caption for record in records]
    captions, _ = _generator(captioner)(seen)
    trials, generate = [_trial(None, references, captions)], _generator(together)
    for similarity, temperature in _grid(together, retriever, seen):
        retriever.decoder_similarity.assign(similarity)
        retriever.temperature.assign(temperature)
        captions, scores = generate(seen)
        threshold = best_threshold(scores, records, captioner.concepts)[0] if captioner.concepts else 0.5
        trials.append(_trial(RetrievalParameters(similarity, temperature, threshold), references, captions))
    return trials


def group_large(run: RunFolder, datastore: Datastore) -> Lists | None:
    """Of a datastore too large to be compared whole: where to look, kept in the run; None for all others."""
    count = len(datastore.records)
    if count <= EXACT:
        return None
    lists = build_lists(unit_rows(datastore.features, np.float16))
    save_lists(lists, run.datastore_lists)
    say(
        f"{count:,} images to compare with: {lists.probes} of {len(lists.centroids):,} lists are searched, which hold "
        f"{lists.recall:.1%} of the nearest"
    )
    return lists


def _trial(parameters: RetrievalParameters | None, references: list[str], captions: list[str]) -> Trial:
    scores = caption_scores(references, captions)
    return Trial(parameters, scores["bleu_4"], scores["cider"])


def _seen(captioner: RunCaptioner, records: Sequence[Record]) -> list[np.ndarray]:
    """The images as `visual.pack` keeps them, float16 [B, D], batch by batch."""
    model = captioner.model
    see = graph_function(lambda pixels: pack(model.see(pixels)), reduce_retracing=True)
    starts = range(0, len(records), _BATCH)
    chunks = (records[start : start + _BATCH] for start in starts)
    pixels = (np.stack([captioner.prepare(images.read_image(r.image_file)) for r in chunk]) for chunk in chunks)
    bar = tqdm(pixels, total=len(starts), desc="weigh similar images", unit="batch", mininterval=1.0, leave=False)
    return [see(batch).numpy().astype(np.float16) for batch in bar]


def _grid(captioner: RunCaptioner, retriever: Retriever, seen: list[np.ndarray]) -> list[tuple[float, float]]:
    """Similarities of the decoder, and temperatures, in the unit of this encoder's similarities."""
    pooled = (tf.reduce_mean(captioner.model.unpack(batch).regions, [1, 2]) for batch in seen)
    best = np.concatenate([retriever.nearest(features)[0] for features in pooled])
    nearest = float(np.median(best[:, 0]))
    unit = max(nearest - float(np.median(best[:, min(_TENTH, best.shape[1] - 1)])), 1e-3)
    return [(nearest + level * unit, temperature * unit) for level in _LEVELS for temperature in _TEMPERATURES]


def _generator(captioner: RunCaptioner) -> Callable[[list[np.ndarray]], tuple[list[str], np.ndarray]]:
    """Packed images by batch -> captions, and concept scores float32 [B, Q] where the run has concepts."""
    model, options = captioner.model, captioner.config.decoding

    @graph_function(reduce_retracing=True)
    def generate(packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        encoded = model.encode_seen(model.unpack(packed))
        tokens = model.generate(encoded, options).tokens
        if model.semantic is None:
            return tokens, tf.zeros([tf.shape(tokens)[0], 0])
        return tokens, model.concept_scores(encoded, model.read(tokens))

    def run(batches: list[np.ndarray]) -> tuple[list[str], np.ndarray]:
        tokens, scores = zip(*(generate(batch) for batch in batches))
        stems = (captioner.vocabulary.decode(row) for batch in tokens for row in batch.numpy())
        return [as_text(captioner.vocabulary.readable(words)) for words in stems], np.concatenate(scores)

    return run
