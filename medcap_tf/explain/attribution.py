"""What a captioner's network gave each word: maps over the regions, shares of similar images, words of a concept.

Axes: B images, S pixels a side, n words of one caption, h x w regions of C channels, Q concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from medcap_tf.caption import shares_of
from medcap_tf.captioner import RunCaptioner
from medcap_tf.graphs import graph_function
from medcap_tf.models.captioning import Scored, Seen, shift_right
from medcap_tf.models.visual import activations


class WordMaps(NamedTuple):
    """What one caption's words came from."""

    attention: np.ndarray  # float32 [n, h, w], each map with sum 1
    grad_cam: np.ndarray  # float32 [n, h, w], each map with sum 1; zeros where no region speaks for the word
    hires_cam: np.ndarray  # float32 [n, h, w], the same
    retrieval_share: np.ndarray  # float32 [n] in 0..1; zeros in a run without retrieval
    evidence: WordEvidence | None  # of a run whose words have evidence

    def compared(self) -> dict[str, np.ndarray]:
        """By name, the maps that are held against each other, float32 [n, ., .]: what spoke for a word, sum 1 or 0."""
        maps = {name: getattr(self, name) for name in ("attention", "hires_cam", "grad_cam")}
        return maps if self.evidence is None else {"evidence": shares_of(self.evidence.maps), **maps}


class WordEvidence(NamedTuple):
    """Summands of the words' logits, counted from the mean of all words' logits."""

    maps: np.ndarray  # float32 [n, g, g], what each place of the image gave
    whole: np.ndarray  # float32 [n], what the image gave as a whole
    words: np.ndarray  # float32 [n], what the words before gave


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
        self._log_probs = graph_function(self._word_log_probs, input_signature=[pixels, tokens])
        self._words = graph_function(self._word_maps, input_signature=[pixels, tokens, tokens])
        self._logits = graph_function(self._word_logits, input_signature=[pixels, tokens])
        self._gradients = graph_function(self._concept_gradients, input_signature=[tokens, tokens])

    def words(self, pixels: np.ndarray, tokens: np.ndarray, targets: np.ndarray | None = None) -> WordMaps:
        """Every word's maps, by one forward and one backward pass.

        Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) and HiResCAM (Draelos and Carin 2020, equation 5), which
        multiplies gradient and activation place by place, are those of each word's log-probability over the regions.

        Args:
            pixels: uint8 [S, S, 3].
            tokens: int32 [n], the caption.
            targets: int32 [n], the words to explain at each step in place of the caption's own.
        """
        targets = tokens if targets is None else targets
        *maps, share, evidence = self._words(pixels[None], tokens, targets)
        attention, grad_cam, hires_cam = (value.numpy() for value in maps)
        parts = WordEvidence(*(part.numpy() for part in evidence)) if evidence else None
        return WordMaps(attention, shares_of(grad_cam), shares_of(hires_cam), share.numpy(), parts)

    def word_log_probs(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Log-probability, in nats, of one caption's words under each of several images.

        Args:
            pixels: uint8 [B, S, S, 3].
            tokens: int32 [n], the caption.

        Returns:
            float32 [B, n].
        """
        return self._log_probs(pixels, tokens).numpy()

    def logits(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Logits float32 [n] of one caption's words under an image uint8 [S, S, 3], less the mean of all words'."""
        return self._logits(pixels[None], tokens).numpy()

    def image_concepts(self, pixels: np.ndarray) -> np.ndarray:
        """The concept head on uint8 [B, S, S, 3]: scores float32 [B, Q] in 0..1."""
        return tf.sigmoid(self._model.see(pixels).concept_logits).numpy()

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
        return self._score(self._model.see(pixels), tokens, tokens).log_probs

    def _word_logits(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        logits = self._model.teacher_forced(self._model.see(pixels), shift_right(tokens[None]))["logits"][0]
        return tf.gather(logits - tf.reduce_mean(logits, -1, keepdims=True), tokens, batch_dims=1)

    def _score(self, seen: Seen, tokens: tf.Tensor, targets: tf.Tensor) -> Scored:
        """One caption int32 [n] under each image."""
        tokens, targets = (tf.tile(row[None], [tf.shape(seen.regions)[0], 1]) for row in (tokens, targets))
        return self._model.score(self._model.encode_seen(seen), tokens, targets)

    def _word_maps(self, pixels: tf.Tensor, tokens: tf.Tensor, targets: tf.Tensor) -> tuple[Any, ...]:
        seen = self._model.see(pixels)
        scored = self._score(seen, tokens, targets)
        # One copy of the image for each word: one backward pass then gives each word its own gradient.
        own_copies = [x if x is None else tf.repeat(x, tf.shape(tokens)[0], axis=0) for x in seen._replace(fine=None)]
        regions = own_copies[0]
        with tf.GradientTape() as tape:
            tape.watch(regions)
            own = tf.linalg.diag_part(self._score(Seen(*own_copies), tokens, targets).log_probs)
        gradient = tape.gradient(own, regions)
        grad_cam = tf.nn.relu(tf.reduce_sum(tf.reduce_mean(gradient, axis=[1, 2], keepdims=True) * regions, -1))
        hires_cam = tf.nn.relu(tf.reduce_sum(gradient * regions, -1))
        evidence = scored.evidence and tuple(part[0] for part in scored.evidence)
        return scored.attention[0], grad_cam, hires_cam, scored.retrieval_share[0], evidence

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
        self._read = model and graph_function(lambda pixels: model(tf.cast(pixels, tf.float32), training=False))

    def read(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 [S, S, 3] -> by layer, float32 [h, w, C]."""
        if self._read is None:
            return {}
        return {name: value.numpy()[0] for name, value in self._read(pixels[None]).items()}
