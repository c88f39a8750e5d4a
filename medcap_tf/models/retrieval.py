"""Retrieval: what the captions of similar training images say next, interpolated with the decoder.

Axes: B images, K beams, N neighbors, L tokens of their captions, T tokens of a given caption, C channels, V vocabulary,
Q concepts, E concepts of the training image that has most, M training images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.models.inverted_lists import Lists, ListSearch
from medcap_tf.text import PAD, UNK

_BLOCK = 8192  # training images at a time, while the retriever is built
_NEVER = -1e9  # a similarity whose weight is 0 at any temperature


class Neighbors(NamedTuple):
    """The training images nearest to each image, and how much each counts beside the decoder."""

    rows: tf.Tensor  # int32 [B, N], among the training images, nearest first
    weight: tf.Tensor  # float32 [B, N]; sums to less than 1: the rest is the decoder's
    tokens: tf.Tensor  # int32 [B, N, L], `<start>`, words, `<end>`, padded
    concepts: tf.Tensor  # float32 [B, N, Q], 0 or 1
    similarity: tf.Tensor  # float32 [B, N], up to 1


class RetrievalParameters(NamedTuple):
    """How much similar images count, chosen on validation captions."""

    decoder_similarity: float  # a neighbor of this similarity counts as much as the decoder
    temperature: float  # the lower, the more the nearest alone count
    concept_threshold: float  # from this score on a concept is named by the image and its neighbors together


class Retriever(tf.Module):
    """Nearest neighbors by mean regions, weighed against the decoder.

    Similarity is the cosine of the activations' square roots (Hellinger's kernel; Perronnin et al. 2010), which a few
    strong channels do not rule. The decoder stands among the neighbors as one of `decoder_similarity`: weights are the
    softmax over all of them of similarity / temperature. So an image that training has shown nearly as it is follows
    its twin, and one unlike all of them is left to the decoder.
    """

    def __init__(
        self,
        features: np.ndarray,
        tokens: np.ndarray,
        concepts: np.ndarray,
        num_concepts: int,
        contents: np.ndarray,
        count: int,
        parameters: RetrievalParameters,
        lists: Lists | None = None,
    ):
        """Build over the training images.

        Args:
            features: float [M, C], mean regions.
            tokens: int32 [M, L], their captions, `<start>` and `<end>` included, padded.
            concepts: int32 [M, E], columns of the concepts that each has, padded with -1.
            num_concepts: Q.
            contents: int32 [M], a number for what each image shows: equal for equal files.
            count: N; at most M are taken.
            parameters: how much the neighbors count.
            lists: of `unit_rows`, to look into some of them; None: all training images are compared.
        """
        super().__init__()
        self.count, self.parameters = min(count, len(tokens)), parameters
        # Weights, so that a search for the best ones traces one graph.
        self.decoder_similarity = _scalar(parameters.decoder_similarity, "decoder_similarity")
        self.temperature = _scalar(parameters.temperature, "temperature")
        # Variables, not constants: a SavedModel's graph may not hold 2 GB.
        self._lists = ListSearch(unit_rows(features, np.float16), lists, contents) if lists else None
        self._features = None if lists else tf.Variable(unit_rows(features), trainable=False, name="features")
        self._tokens = tf.Variable(tokens.astype(np.int32), trainable=False, name="tokens")
        self._concepts = tf.Variable(concepts.astype(np.int32), trainable=False, name="concepts")
        self._num_concepts = num_concepts
        self._contents = contents

    def nearest(self, pooled: tf.Tensor, own: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean regions float [B, C] -> similarities float32 and rows int32 [B, N], the most similar first.

        `own` int32 [B] are numbers of `contents` whose images are no neighbors of the row; -1: of none.
        """
        queries = _unit(tf.cast(pooled, tf.float32))
        if self._lists is not None:
            return self._lists.nearest(queries, self.count, own, _NEVER)
        similarity = tf.matmul(queries, self._features, transpose_b=True)
        if own is not None:
            similarity = tf.where(own[:, None] == self._contents[None], _NEVER, similarity)
        return tf.math.top_k(similarity, self.count)

    def retrieve(self, pooled: tf.Tensor, own: tf.Tensor | None = None) -> Neighbors:
        """Mean regions float [B, C] -> their neighbors; `own` as for `nearest`."""
        similarity, rows = self.nearest(pooled, own)
        decoder = tf.fill([tf.shape(similarity)[0], 1], tf.convert_to_tensor(self.decoder_similarity))
        # Once a loader has optimized the graph nothing else tells the shape of a variable, which it then warns of.
        temperature = tf.ensure_shape(self.temperature, [])
        weight = tf.nn.softmax(tf.concat([similarity, decoder], 1) / temperature)[:, :-1]
        return Neighbors(rows, weight, tf.gather(self._tokens, rows), self._dense_concepts(rows), similarity)

    def _dense_concepts(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 [B, N] -> float32 [B, N, Q], 0 or 1."""
        columns = tf.gather(self._concepts, rows)
        present = tf.where(columns >= 0)  # int64 [ones, 3]
        places = tf.concat([present[:, :2], tf.cast(tf.gather_nd(columns, present), tf.int64)[:, None]], 1)
        shape = tf.concat([tf.shape(rows, tf.int64), [self._num_concepts]], 0)
        dense = tf.scatter_nd(places, tf.ones(tf.shape(present)[:1]), shape)
        return tf.ensure_shape(dense, [None, self.count, self._num_concepts])


def initial_matches(neighbors: Neighbors, width: int) -> tf.Tensor:
    """int32 [B, K, N, L] of zeros: nothing has been generated yet."""
    batch, count, length = tf.shape(neighbors.tokens)[0], neighbors.tokens.shape[1], neighbors.tokens.shape[2]
    return tf.zeros([batch, width, count, length], tf.int32)


def update_matches(matches: tf.Tensor, words: tf.Tensor, neighbors: Neighbors) -> tf.Tensor:
    """How many of the last words of each caption stand, in this order, up to each place of each neighbor's caption.

    Args:
        matches: int32 [B, K, N, L], before `words`.
        words: int32 [B, K], the words just generated.
        neighbors: the neighbors.

    Returns:
        int32 [B, K, N, L], after `words`.
    """
    before = tf.pad(matches[..., :-1], [[0, 0], [0, 0], [0, 0], [1, 0]])
    return tf.where(neighbors.tokens[:, None] == words[:, :, None, None], before + 1, 0)


def next_token_distribution(matches: tf.Tensor, neighbors: Neighbors, vocabulary: int) -> tf.Tensor:
    """The probability mass that the neighbors give to each next token: float32 [B, K, V].

    Each neighbor proposes what follows, in its caption, the longest run of the caption's last words; with no such run,
    or an unknown word there, it proposes nothing. So the mass sums to the weight of the neighbors that propose.
    """
    following, mass = _proposals(matches, neighbors)
    # Summed by token: a segment for each (image, beam, token).
    shape = tf.shape(matches)
    captions = tf.reshape(tf.range(shape[0] * shape[1]), [shape[0], shape[1], 1, 1])
    segments = captions * vocabulary + following
    summed = tf.math.unsorted_segment_sum(mass, segments, shape[0] * shape[1] * vocabulary)
    summed = tf.reshape(summed, [shape[0], shape[1], vocabulary])
    return tf.ensure_shape(summed, [None, matches.shape[1], vocabulary])


def _proposals(matches: tf.Tensor, neighbors: Neighbors) -> tuple[tf.Tensor, tf.Tensor]:
    """What follows each place of the neighbors' captions, int32 [B, 1, N, L], and its probability mass [B, K, N, L]."""
    following = tf.pad(neighbors.tokens[..., 1:], [[0, 0], [0, 0], [0, 1]], constant_values=PAD)[:, None]
    longest = tf.reduce_max(matches, -1, keepdims=True)
    known = (following != PAD) & (following != UNK)
    proposed = tf.cast((matches == longest) & (longest > 0) & known, tf.float32)
    share = tf.math.divide_no_nan(proposed, tf.reduce_sum(proposed, -1, keepdims=True))
    return following, share * neighbors.weight[:, None, :, None]


def next_token_distributions(neighbors: Neighbors, inputs: tf.Tensor, vocabulary: int) -> tf.Tensor:
    """`next_token_distribution` at every step of given captions.

    Args:
        neighbors: the neighbors.
        inputs: int32 [B, T], `<start>` and words.
        vocabulary: V.

    Returns:
        float32 [B, T, V], at step t the mass after inputs 0..t.
    """
    return next_token_distribution(_all_matches(neighbors, inputs), neighbors, vocabulary)


def copied_from(neighbors: Neighbors, inputs: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """From which places of the neighbors' captions given words come.

    Args:
        neighbors: the neighbors.
        inputs: int32 [B, T], `<start>` and words.
        words: int32 [B, T], at step t the word after inputs 0..t.

    Returns:
        float32 [B, T, N, L], the probability mass that each place gave to the word. Over neighbors and places it sums
        to the word's part of `next_token_distributions`.
    """
    following, mass = _proposals(_all_matches(neighbors, inputs), neighbors)
    given = tf.where(following == words[:, :, None, None], mass, 0.0)
    return tf.pad(given[..., :-1], [[0, 0], [0, 0], [0, 0], [1, 0]])  # from the place before to the word's own


def _all_matches(neighbors: Neighbors, inputs: tf.Tensor) -> tf.Tensor:
    """Matches at every step of given captions, int32 [B, T, N, L], after inputs [B, T] 0..t."""

    def advance(matches: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        return update_matches(matches, words[:, None], neighbors)

    matches = tf.scan(advance, tf.transpose(inputs), initial_matches(neighbors, 1))
    return tf.transpose(matches[:, :, 0], [1, 0, 2, 3])


def interpolate(logits: tf.Tensor, retrieved: tf.Tensor) -> tf.Tensor:
    """The decoder's distribution and the neighbors' together: log-probabilities float32 [..., V].

    A mixture as in kNN language models (Khandelwal et al. 2020, equation 3), whose weight is what `retrieved` sums to.

    Args:
        logits: float32 [..., V], the decoder's.
        retrieved: float32 [..., V], of `next_token_distribution`.
    """
    # Rounding may bring the sum a little above 1.
    own = tf.maximum(1 - tf.reduce_sum(retrieved, -1, keepdims=True), 0)
    return tf.math.log(own * tf.nn.softmax(logits) + retrieved + 1e-20)


def interpolate_concepts(scores: tf.Tensor, neighbors: Neighbors) -> tf.Tensor:
    """An image's own concept scores float32 [B, Q] and its neighbors' concepts, by the same weights as words."""
    own = tf.maximum(1 - tf.reduce_sum(neighbors.weight, 1, keepdims=True), 0)
    return own * scores + tf.reduce_sum(neighbors.weight[..., None] * neighbors.concepts, 1)


def unit_rows(features: np.ndarray, kind: type = np.float32) -> np.ndarray:
    """Mean regions float [M, C] as they are compared: unit vectors [M, C]."""
    rows: np.ndarray = np.empty(features.shape, kind)
    for start in range(0, len(features), _BLOCK):  # whose copies are small
        rows[start : start + _BLOCK] = _unit(tf.constant(features[start : start + _BLOCK], tf.float32)).numpy()
    return rows


def mean_unit_row(features: np.ndarray) -> np.ndarray:
    """The mean of `unit_rows` [C], of which no more than a block is held at a time."""
    blocks = (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))
    return sum(unit_rows(block).sum(0) for block in blocks) / len(features)


def _scalar(value: float, name: str) -> tf.Variable:
    return tf.Variable(value, trainable=False, dtype=tf.float32, name=name)


def _unit(rows: tf.Tensor) -> tf.Tensor:
    # Activations after a ReLU are not negative; a layer cut elsewhere loses what is.
    return tf.math.l2_normalize(tf.sqrt(tf.maximum(rows, 1e-12)), axis=-1)
