"""The semantic encoder: what the caption so far says, which of its words carry that, and which concepts it names.

Axes: B captions, K beams of an image, T words, E embedding, G GRU units (also the width of an encoding), A attention
units, Q concepts, L places of the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from medcap_tf.config import SemanticConfig
from medcap_tf.models.attention import BahdanauAttention
from medcap_tf.models.dropout import ResumableDropout


class SemanticEncoder(NamedTuple):
    """Five forms over the same weights."""

    reader: keras.Model  # words int32 [B, T] -> encoding [B, T, G], weights float32 [B, T, T]; row t sees words 0..t
    classifier: keras.Model  # words int32 [B, T] -> concept_logits float32 [B, Q], word_importance float32 [B, T]
    embed: keras.Model  # words int32 [B, T] -> float [B, T, E]
    from_embedded: keras.Model  # words, float [B, T, E] -> as the classifier; for gradients with respect to words
    # word and place int32 [B], gru float [B, G], keys [B, L, A], states [B, L, G] -> the encoding of the words so far
    # [B, G] and the cache (gru, keys, states) with this word in it, at its place.
    step: keras.Model

    def prefix_encodings(self, words: tf.Tensor, whole: bool = False) -> tf.Tensor:
        """What the decoder reads at each step of teacher forcing.

        Args:
            words: int32 [B, T], the caption's words without `<start>`, padded.
            whole: at every step the encoding of the whole caption, the oracle's peek, instead of that of the words
                before the step (zeros at step 0).

        Returns:
            float [B, T + 1, G]: the steps of T words and `<end>`.
        """
        encodings = self.reader(words)["encoding"]
        if not whole:
            return tf.pad(encodings, [[0, 0], [1, 0], [0, 0]])
        last = tf.maximum(tf.math.count_nonzero(words, axis=1, dtype=tf.int32) - 1, 0)
        encodings = tf.pad(encodings, [[0, 0], [0, 1], [0, 0]])  # a caption may have no word at all
        return tf.repeat(tf.gather(encodings, last, batch_dims=1)[:, None], tf.shape(words)[1] + 1, axis=1)

    def initial_cache(self, batch: tf.Tensor, width: int, length: int) -> dict[str, tf.Tensor]:
        """`gru` [B, K, G], `keys` [B, K, L, A] and `states` [B, K, L, G] before the first word, with L = `length`."""
        shapes = {name: self.step.input_shape[name][1:] for name in ("gru", "keys", "states")}
        kind = self.step.input["gru"].dtype  # the model's own compute type is float32, whatever that of its layers is
        return {
            "gru": tf.zeros([batch, width, *shapes["gru"]], kind),
            "keys": tf.zeros([batch, width, length, shapes["keys"][-1]], kind),
            "states": tf.zeros([batch, width, length, shapes["states"][-1]], kind),
        }

    def advance(
        self, t: tf.Tensor, words: tf.Tensor, cache: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """One step of a search: the encoding [B, K, G] of the words up to step t, and the cache after them.

        At t = 0 the word is `<start>`: nothing has been generated, so the encoding is zero and the cache stays empty
        (place -1 is written nowhere).

        Args:
            t: int32 [].
            words: int32 [B, K].
            cache: as `initial_cache` or this method gave it.
        """
        batch, width = tf.shape(words)[0], words.shape[1]
        inputs = {name: tf.reshape(value, [-1, *value.shape[2:]]) for name, value in cache.items()}
        place = tf.fill([batch * width], t - 1)
        out = self.step({"word": tf.reshape(words, [-1]), "place": place, **inputs})
        out = {name: tf.reshape(value, [-1, width, *value.shape[1:]]) for name, value in out.items()}
        begun = t > 0
        after = {name: tf.where(begun, out[name], cache[name]) for name in cache}
        return tf.where(begun, out["encoding"], tf.zeros_like(out["encoding"])), after


@keras.saving.register_keras_serializable("medcap_tf")
class EmptySafeGRU(keras.layers.GRU):
    """A GRU over no caption and over no word too: cuDNN refuses both, Keras' own loop the latter. An answer to no image
    holds no caption, and the first step of a caption follows no word."""

    def call(
        self, sequences: tf.Tensor, mask: Any = None, training: bool | None = None, initial_state: Any = None
    ) -> tf.Tensor:
        """float [B, T, E] -> float [B, T, G]; B and T may be 0."""
        rows, steps = tf.shape(sequences)[0], tf.shape(sequences)[1]
        more = [[0, tf.cast(rows == 0, tf.int32)], [0, tf.cast(steps == 0, tf.int32)], [0, 0]]
        return super().call(tf.pad(sequences, more), mask, training, initial_state)[:rows, :steps]


@keras.saving.register_keras_serializable("medcap_tf")
class CausalView(keras.layers.Layer):
    """words int32 [B, T] -> bool [B, T, T]: position t may see words 0..t that are not padding (id 0)."""

    def call(self, words: tf.Tensor) -> tf.Tensor:
        """Build the mask."""
        steps = tf.range(tf.shape(words)[1])
        return (steps[None, None, :] <= steps[None, :, None]) & (words != 0)[:, None, :]


@keras.saving.register_keras_serializable("medcap_tf")
class LastWord(keras.layers.Layer):
    """(sequence [B, T, ...], words int32 [B, T]) -> the entry at the last word, [B, ...]; zero for an empty caption."""

    def call(self, sequence: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        """Gather."""
        length = tf.math.count_nonzero(words, axis=1, dtype=tf.int32)
        some = tf.pad(sequence, [[0, 0], [0, 1], *[[0, 0]] * (len(sequence.shape) - 2)])  # T may be 0
        last = tf.gather(some, tf.maximum(length - 1, 0), batch_dims=1)
        return last * tf.cast(length > 0, sequence.dtype)[:, None]


@keras.saving.register_keras_serializable("medcap_tf")
class CacheWrite(keras.layers.Layer):
    """(cache [B, L, X], item [B, X], place int32 [B]) -> the cache with the item written at its row's place."""

    def call(self, cache: tf.Tensor, item: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Add: every place is written once, over zeros."""
        slot = tf.one_hot(place, tf.shape(cache)[1], dtype=cache.dtype)
        return cache + slot[:, :, None] * item[:, None, :]


@keras.saving.register_keras_serializable("medcap_tf")
class LengthMask(keras.layers.Layer):
    """(cache [B, L, X], place int32 [B]) -> bool [B, 1, L], the places written so far."""

    def call(self, cache: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Compare."""
        return tf.range(tf.shape(cache)[1])[None, None, :] <= place[:, None, None]


class _Layers(NamedTuple):
    """What the forms share."""

    embed: keras.layers.Layer
    gru: keras.layers.Layer
    key: keras.layers.Layer
    attend: keras.layers.Layer
    mean: keras.layers.Layer
    join: keras.layers.Layer


def build_semantic(
    config: SemanticConfig, vocabulary: int, concepts: int, precision: str = "float32"
) -> SemanticEncoder:
    """Embedding, GRU (Cho et al. 2014), causal Bahdanau self-attention, and a multi-label classifier of concepts.

    The self-attention's query at t is the GRU's state at t; its keys are the states up to t. The encoding joins what
    was attended with the state itself. At the last word causal and full attention are the same, so the classifier's
    word weights are the last row of the reader's.

    Args:
        config: what is built.
        vocabulary: V.
        concepts: Q.
        precision: Keras' dtype policy of all layers but the logits.
    """
    shared = _Layers(
        keras.layers.Embedding(vocabulary, config.embedding_size, name="semantic_embedding", dtype=precision),
        EmptySafeGRU(config.units, return_sequences=True, name="semantic_gru", dtype=precision),
        keras.layers.Dense(config.attention_units, use_bias=False, name="semantic_keys", dtype=precision),
        BahdanauAttention(config.attention_units, name="semantic_attention", dtype=precision),
        keras.layers.Dense(config.units, activation="tanh", name="meaning", dtype=precision),
        keras.layers.Concatenate(name="meaning_join", dtype=precision),
    )
    drop_words = ResumableDropout(config.dropout, seed=21, name="semantic_word_dropout", dtype=precision)
    drop_encoding = ResumableDropout(config.dropout, seed=22, name="meaning_dropout", dtype=precision)
    classify = keras.layers.Dense(concepts, name="word_concept_logits", dtype="float32")
    view, last = CausalView(name="causal_view", dtype="int32"), LastWord(name="last_word", dtype="float32")

    words = keras.Input((None,), dtype="int32", name="words")
    embedded = keras.Input((None, config.embedding_size), name="embedded")

    def read(embedded: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # No mask for the GRU: padding comes after the words, so it moves no state that is read, and cuDNN takes it.
        states = shared.gru(drop_words(embedded))
        context, weights = shared.attend(states, shared.key(states), states, visible=view(words))
        encoding = shared.mean(shared.join([context, states]))
        logits = classify(drop_encoding(last(encoding, words)))
        importance = last(weights, words)
        return {"encoding": encoding, "weights": weights}, {"concept_logits": logits, "word_importance": importance}

    reading, classified = read(shared.embed(words))
    return SemanticEncoder(
        keras.Model(words, reading, name="semantic_reader"),
        keras.Model(words, classified, name="semantic_classifier"),
        keras.Model(words, shared.embed(words), name="semantic_embed"),
        keras.Model([words, embedded], read(embedded)[1], name="semantic_from_embedded"),
        _step_model(config, shared),
    )


def _step_model(config: SemanticConfig, shared: _Layers) -> keras.Model:
    kind = shared.gru.compute_dtype
    policy = shared.gru.dtype_policy
    word = keras.Input((), dtype="int32", name="word")
    place = keras.Input((), dtype="int32", name="place")
    state = keras.Input((config.units,), dtype=kind, name="gru")
    keys = keras.Input((None, config.attention_units), dtype=kind, name="keys")
    states = keras.Input((None, config.units), dtype=kind, name="states")
    new, _ = shared.gru.cell(shared.embed(word), [state])
    new_keys = CacheWrite(name="write_keys", dtype=policy)(keys, shared.key(new), place)
    new_states = CacheWrite(name="write_states", dtype=policy)(states, new, place)
    query = keras.layers.Reshape((1, config.units), name="semantic_query", dtype=policy)(new)
    visible = LengthMask(name="length_mask", dtype="int32")(states, place)
    context, _ = shared.attend(query, new_keys, new_states, visible=visible)
    flat = keras.layers.Reshape((config.units,), name="semantic_context", dtype=policy)(context)
    outputs = {"encoding": shared.mean(shared.join([flat, new])), "gru": new, "keys": new_keys, "states": new_states}
    inputs = {"word": word, "place": place, "gru": state, "keys": keys, "states": states}
    return keras.Model(inputs, outputs, name="semantic_step")
