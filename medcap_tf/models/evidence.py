"""What gave each word of a caption its logit: places of the image, the image as a whole, the words before.

Axes: B images, T tokens, h x w = P regions, g x g places of the finest grid, N concepts that are places, R = P + N + 1
places of the decoder, E embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from medcap_tf.models.concept_head import concept_shares
from medcap_tf.models.visual import Seen


class Evidence(NamedTuple):
    """What gave each word of a caption its logit, counted from the mean of all words' logits; zeros at padding.

    The three add up to that logit exactly.
    """

    maps: tf.Tensor  # float32 [B, T, g, g], what each place of the image gave
    whole: tf.Tensor  # float32 [B, T], what the image gave as a whole, by concepts that have no place
    words: tf.Tensor  # float32 [B, T], what the words before it gave


def word_evidence(
    project: keras.layers.Dense,
    forced: dict[str, tf.Tensor],
    words: tf.Tensor,
    present: tf.Tensor,
    seen: Seen,
    head: keras.Model | None,
    grid: tuple[int, int],
) -> Evidence:
    """Take the words' logits apart.

    A region's summand is spread over its part of the grid, a concept's over the concept's own map: to each place, and
    to the image as a whole, in proportion to its share of what speaks for the concept.

    Args:
        project: makes words' logits of sums over places.
        forced: of the decoder's `teacher`, along the captions.
        words: int32 [B, T], what is explained at each step.
        present: float32 [B, T], 0 at padding.
        seen: the images.
        head: names their concepts, where the decoder reads some.
        grid: height and width of the maps.
    """
    values, spoken = (tf.cast(x, tf.float32) for x in (forced["values"], forced["spoken"]))
    kernel, bias = (w - tf.reduce_mean(w, -1, keepdims=True) for w in project.weights)
    vectors = tf.gather(tf.transpose(kernel), words) * present[:, :, None]
    given = tf.einsum("btd,brd->btr", vectors, values) * forced["places"]
    by_words = tf.reduce_sum(vectors * spoken, -1) + tf.gather(bias, words) * present
    height, width = seen.regions.shape[1:3]
    by_regions = tf.reshape(given[..., : height * width], [*tf.unstack(tf.shape(given)[:2]), height, width])
    maps, whole = _spread(by_regions, grid), tf.zeros_like(by_words)
    if "which" in forced:
        shares = concept_shares(head, seen.regions, seen.fine)
        of_whole = tf.gather(shares.whole, forced["which"], batch_dims=1)
        of_places = tf.gather(tf.transpose(shares.places, [0, 3, 1, 2]), forced["which"], batch_dims=1)
        by_concepts = given[..., height * width : -1]
        maps += tf.einsum("btn,bnyx->btyx", by_concepts, of_places)
        whole = tf.einsum("btn,bn->bt", by_concepts, of_whole)
    return Evidence(maps, whole, by_words)


def _spread(maps: tf.Tensor, grid: tuple[int, int]) -> tf.Tensor:
    """Maps float32 [B, T, h, w] over a finer grid, bilinear, each place's sum kept."""
    rows, columns = (tf.constant(_spreading(*sizes)) for sizes in zip(maps.shape[2:], grid))
    return tf.einsum("yh,bthw,xw->btyx", rows, maps, columns)


def _spreading(size: int, finer: int) -> np.ndarray:
    """float32 [finer, size], columns of sum 1."""
    places = (np.arange(finer) + 0.5) * size / finer - 0.5
    weights = np.maximum(0, 1 - np.abs(np.clip(places, 0, size - 1)[:, None] - np.arange(size)))
    return (weights / weights.sum(0)).astype(np.float32)
