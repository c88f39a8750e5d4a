"""The training images nearest to an image, and what their captions would say next: retrieval beside the decoder.

Axes: M training images, B images, N neighbours of each, K beams, L places of a neighbour's caption (`<start>`, words,
`<end>`, padding), C channels, V vocabulary, Q concepts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.data import concept_matrix
from medcap_tf.errors import InputError
from medcap_tf.files import write_text
from medcap_tf.library import Library
from medcap_tf.text import END, PAD, START, UNK, Vocabulary

_NEVER = -1e9  # a similarity whose weight is 0 at any temperature


class Neighbours(NamedTuple):
    """What the training images nearest to each image say, and how much that counts beside the decoder."""

    rows: tf.Tensor  # int32 [B, N], among the training images, nearest first
    weight: tf.Tensor  # float32 [B, N]; sums to less than 1: the rest is the decoder's
    tokens: tf.Tensor  # int32 [B, N, L]
    concepts: tf.Tensor  # float32 [B, N, Q], 0 or 1


class Strength(NamedTuple):
    """How much similar images count, as it was chosen on validation captions; `neighbours.json` of a run."""

    level: float  # similarity at which a neighbour counts as much as the decoder
    temperature: float  # the lower, the more the nearest alone count
    concept_threshold: float  # from this score on a concept is named by the image and its neighbours together

    def save(self, run: Path) -> None:
        """Write `neighbours.json`."""
        write_text(run / "neighbours.json", json.dumps(self._asdict(), indent=2) + "\n")

    @classmethod
    def load(cls, run: Path) -> Strength | None:
        """What `save` wrote; None in a run where similar images have no say."""
        path = run / "neighbours.json"
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); finish the run again by train.py --resume") from error


class Retriever(tf.Module):
    """Nearest neighbours by the mean regions, weighed against the decoder.

    Similarity is the cosine of the activations' square roots (Hellinger's kernel; Perronnin et al. 2010), which a few
    strong channels do not rule. The decoder stands among the neighbours as one of similarity `level`: weights are the
    softmax over all of them of similarity / temperature. So an image that training has shown nearly as it is follows
    its twin, and one unlike all of them is left to the decoder.
    """

    def __init__(
        self,
        library: Library,
        vocabulary: Vocabulary,
        concepts: Sequence[str],
        sizes: tuple[int, int],
        strength: Strength,
    ):
        """Build over a run's training images; words and concepts that the run does not know are left out.

        Args:
            library: the training images.
            vocabulary: the run's words.
            concepts: the run's codes.
            sizes: N, and the words after which a caption is cut.
            strength: how much the neighbours count.
        """
        super().__init__()
        count, longest = sizes
        words = [vocabulary.encode(record.caption) for record in library.records]
        self.count, self.strength = min(count, len(words)), strength
        self.record = library.records.__getitem__  # row -> Record; a list of them would be taken for variables
        # Weights, so that a search for the best ones traces one graph.
        self.level = tf.Variable(strength.level, trainable=False, dtype=tf.float32, name="level")
        self.temperature = tf.Variable(strength.temperature, trainable=False, dtype=tf.float32, name="temperature")
        tokens = np.full((len(words), 2 + min(longest, max(map(len, words)))), PAD, np.int32)
        for row, ids in enumerate(words):
            whole = [START, *ids, END][: tokens.shape[1]]
            tokens[row, : len(whole)] = whole
        # Variables, not constants: a SavedModel's graph may not hold 2 GB.
        self._features = tf.Variable(_unit(tf.constant(library.features, tf.float32)), trainable=False, name="features")
        self._tokens = tf.Variable(tokens, trainable=False, name="tokens")
        matrix = concept_matrix(library.records, concepts).astype(np.uint8)
        self._concepts = tf.Variable(matrix, trainable=False, name="concepts")
        self._contents = library.contents()

    def nearest(self, pooled: tf.Tensor, own: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean regions float [B, C] -> similarities float32 and rows int32 [B, N], the most similar first.

        `own` int32 [B] are numbers of `Library.contents`, whose images are no neighbours of the row; -1: of none.
        """
        similarity = tf.matmul(_unit(tf.cast(pooled, tf.float32)), self._features, transpose_b=True)
        if own is not None:
            similarity = tf.where(own[:, None] == self._contents[None], _NEVER, similarity)
        return tf.math.top_k(similarity, self.count)

    def find(self, pooled: tf.Tensor, own: tf.Tensor | None = None) -> Neighbours:
        """Mean regions float [B, C] -> their neighbours; `own` as for `nearest`."""
        best, rows = self.nearest(pooled, own)
        decoder = tf.fill([tf.shape(best)[0], 1], tf.convert_to_tensor(self.level))
        weight = tf.nn.softmax(tf.concat([best, decoder], 1) / self.temperature)[:, :-1]
        concepts = tf.cast(tf.gather(self._concepts, rows), tf.float32)
        return Neighbours(rows, weight, tf.gather(self._tokens, rows), concepts)


def first_match(near: Neighbours, width: int) -> tf.Tensor:
    """int32 [B, K, N, L] of zeros: nothing has been written yet."""
    batch, count, length = tf.shape(near.tokens)[0], near.tokens.shape[1], near.tokens.shape[2]
    return tf.zeros([batch, width, count, length], tf.int32)


def follow(match: tf.Tensor, words: tf.Tensor, near: Neighbours) -> tf.Tensor:
    """How many of the last words of each sentence stand, in this order, up to each place of each neighbour's caption.

    Args:
        match: int32 [B, K, N, L], before `words`.
        words: int32 [B, K], the words just written.
        near: the neighbours.
    """
    before = tf.pad(match[..., :-1], [[0, 0], [0, 0], [0, 0], [1, 0]])
    return tf.where(near.tokens[:, None] == words[:, :, None, None], before + 1, 0)


def vote(match: tf.Tensor, near: Neighbours, vocabulary: int) -> tf.Tensor:
    """What the neighbours would say next: float32 [B, K, V].

    Each neighbour says what follows, in its caption, the longest run of the sentence's last words; with no such run,
    or an unknown word there, it says nothing. So the values sum to the weight of those that speak.
    """
    after = tf.pad(near.tokens[..., 1:], [[0, 0], [0, 0], [0, 1]], constant_values=PAD)[:, None]
    longest = tf.reduce_max(match, -1, keepdims=True)
    known = (after != PAD) & (after != UNK)
    chosen = tf.cast((match == longest) & (longest > 0) & known, tf.float32)
    share = tf.math.divide_no_nan(chosen, tf.reduce_sum(chosen, -1, keepdims=True)) * near.weight[:, None, :, None]
    # Summed by word: a segment for each (image, beam, word).
    shape = tf.shape(match)
    sentences = tf.reshape(tf.range(shape[0] * shape[1]), [shape[0], shape[1], 1, 1])
    segments = sentences * vocabulary + after
    summed = tf.math.unsorted_segment_sum(share, segments, shape[0] * shape[1] * vocabulary)
    summed = tf.reshape(summed, [shape[0], shape[1], vocabulary])
    return tf.ensure_shape(summed, [None, match.shape[1], vocabulary])


def votes_along(near: Neighbours, inputs: tf.Tensor, vocabulary: int) -> tf.Tensor:
    """What the neighbours would say at every step of given sentences.

    Args:
        near: the neighbours.
        inputs: int32 [B, T], `<start>` and words.
        vocabulary: V.

    Returns:
        float32 [B, T, V], at step t the votes after inputs 0..t.
    """

    def read(match: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        return follow(match, words[:, None], near)

    matches = tf.scan(read, tf.transpose(inputs), first_match(near, 1))
    return vote(tf.transpose(matches[:, :, 0], [1, 0, 2, 3]), near, vocabulary)


def with_concepts(score: tf.Tensor, near: Neighbours) -> tf.Tensor:
    """An image's own concept scores float32 [B, Q] and its neighbours' concepts, mixed by the same weights as words."""
    own = tf.maximum(1 - tf.reduce_sum(near.weight, 1, keepdims=True), 0)
    return own * score + tf.reduce_sum(near.weight[..., None] * near.concepts, 1)


def _unit(rows: tf.Tensor) -> tf.Tensor:
    # Activations after a ReLU are not negative; a layer cut elsewhere loses what is.
    return tf.math.l2_normalize(tf.sqrt(tf.maximum(rows, 1e-12)), axis=-1)
