"""What a captioner's network gave each word: maps over the regions, shares of similar images, words of a concept.

Axes: B images, S pixels a side, n words of one caption, h x w regions of C channels, Q concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.models.captioning import Scored
from medcap_tf.models.visual import activations


class WordMaps(NamedTuple):
    """What one caption's words came from."""

    attention: np.ndarray  # float32 [n, h, w], each map with sum 1
    grad_cam: np.ndarray  # float32 [n, h, w], each map with sum 1; zeros where no region speaks for the word
    retrieval_share: np.ndarray  # float32 [n] in 0..1; zeros in a run without retrieval


class Attributor:
    """Explains the words of given captions. Its graphs are traced once and take captions of any length."""

    def __init__(self, captioner: RunCaptioner, folded: bool = True):
        """`folded`: by the encoder that captions are generated with, whose weights are fixed; else by the one whose
        weights can be changed."""
        self._model = captioner.fast_model if folded else captioner.model
        self._concepts = captioner.concepts
        size = captioner.config.visual.image_size
        pixels, tokens = tf.TensorSpec([None, size, size, 3], tf.uint8), tf.TensorSpec([None], tf.int32)
        # Signatures, so that captions of all lengths share one graph: tracing takes seconds.
        self._log_probs = tf.function(self._word_log_probs, input_signature=[pixels, tokens])
        self._words = tf.function(self._word_maps, input_signature=[pixels, tokens, tokens])
        self._gradients = tf.function(self._concept_gradients, input_signature=[tokens, tokens])

    def words(self, pixels: np.ndarray, tokens: np.ndarray, targets: np.ndarray | None = None) -> WordMaps:
        """Every word's maps, by one forward and one backward pass.

        Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) is that of each word's log-probability over the regions.

        Args:
            pixels: uint8 [S, S, 3].
            tokens: int32 [n], the caption.
            targets: int32 [n], the words to explain at each step in place of the caption's own.
        """
        targets = tokens if targets is None else targets
        attention, grad_cam, share = (value.numpy() for value in self._words(pixels[None], tokens, targets))
        return WordMaps(attention, grad_cam / np.maximum(grad_cam.sum((1, 2), keepdims=True), 1e-12), share)

    def word_log_probs(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Log-probability, in nats, of one caption's words under each of several images.

        Args:
            pixels: uint8 [B, S, S, 3].
            tokens: int32 [n], the caption.

        Returns:
            float32 [B, n].
        """
        return self._log_probs(pixels, tokens).numpy()

    def image_concepts(self, pixels: np.ndarray) -> np.ndarray:
        """The concept head on uint8 [B, S, S, 3]: scores float32 [B, Q] in 0..1."""
        return tf.sigmoid(self._model.head(self._model.encode(pixels).regions)).numpy()  # type: ignore[misc]

    def concept_contributions(self, tokens: np.ndarray, codes: Sequence[str]) -> np.ndarray:
        """What each word gives to each concept of the semantic classifier: gradient of the concept's logit with
        respect to the word's embedding, times the embedding; float32 [len(codes), n], in logits."""
        rows = np.array([self._concepts.index(code) for code in codes], np.int32)
        return self._gradients(tokens, rows).numpy()

    def predict_concepts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The semantic classifier on captions int32 [B, n]: concept scores float32 [B, Q] in 0..1, and word importance
        float32 [B, n]."""
        reading = self._model.read(tokens)
        return reading.concept_scores.numpy(), reading.word_importance.numpy()

    def _word_log_probs(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        return self._score(self._model.encode(pixels).regions, tokens, tokens).log_probs

    def _score(self, regions: tf.Tensor, tokens: tf.Tensor, targets: tf.Tensor) -> Scored:
        """One caption int32 [n] under each image of regions [B, h, w, C]."""
        tokens, targets = (tf.tile(row[None], [tf.shape(regions)[0], 1]) for row in (tokens, targets))
        return self._model.score(self._model.encode_regions(regions), tokens, targets)

    def _word_maps(
        self, pixels: tf.Tensor, tokens: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # One copy of the regions for each word: one backward pass then gives each word its own gradient.
        regions = tf.repeat(self._model.encode(pixels).regions, tf.shape(tokens)[0], axis=0)
        with tf.GradientTape() as tape:
            tape.watch(regions)
            scored = self._score(regions, tokens, targets)
            own = tf.linalg.diag_part(scored.log_probs)
        weights = tf.reduce_mean(tape.gradient(own, regions), axis=[1, 2], keepdims=True)
        grad_cam = tf.nn.relu(tf.reduce_sum(weights * regions, -1))
        return scored.attention[0], grad_cam, scored.retrieval_share[0]

    def _concept_gradients(self, tokens: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        semantic = self._model.semantic
        assert semantic is not None  # codes were given, so the data has concepts
        words = tf.tile(tokens[None], [tf.shape(rows)[0], 1])
        embedded = semantic.embed(words)
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            logits = semantic.from_embedded([words, embedded])["concept_logits"]
            own = tf.gather(logits, rows, batch_dims=1)
        return tf.reduce_sum(tape.gradient(own, embedded) * embedded, -1)


class LayerReader:
    """The outputs of chosen layers of the encoder, by a model that is built once."""

    def __init__(self, captioner: RunCaptioner, layers: Sequence[str]):
        """`layers`: Keras' names; raises InputError on one that gives no grid."""
        model = activations(captioner.model.encoder, list(layers)) if layers else None
        self._read = model and tf.function(lambda pixels: model(tf.cast(pixels, tf.float32), training=False))

    def read(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 [S, S, 3] -> by layer, float32 [h, w, C]."""
        if self._read is None:
            return {}
        return {name: value.numpy()[0] for name, value in self._read(pixels[None]).items()}
