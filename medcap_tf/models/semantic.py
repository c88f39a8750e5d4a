"""The reader of words: what the caption so far means, which of its words carry that, and which concepts it names.

Axes: B captions, T words, E embedding, G GRU units (also the width of the meaning), A attention units, K concepts,
L places of the step form's memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from medcap_tf.config import SemanticConfig
from medcap_tf.models.attention import BahdanauAttention
from medcap_tf.models.dropout import CountedDropout


class SemanticModels(NamedTuple):
    """Four forms over the same weights."""

    reader: keras.Model  # words int32 [B, T] -> meaning [B, T, G], weights float32 [B, T, T]; row t sees words 0..t
    classifier: keras.Model  # words int32 [B, T] -> concept_logits float32 [B, K], word_importance float32 [B, T]
    embed: keras.Model  # words int32 [B, T] -> float [B, T, E]
    from_embedded: keras.Model  # words, float [B, T, E] -> as the classifier; for gradients with respect to words
    # word and place int32 [B], gru float [B, G], keys [B, L, A], states [B, L, G] -> the meaning of the words so far
    # [B, G] and the memory (gru, keys, states) with this word in it, at its place.
    step: keras.Model


class CausalView(keras.layers.Layer):
    """words int32 [B, T] -> bool [B, T, T]: position t may see words 0..t that are not padding (id 0)."""

    def call(self, words: tf.Tensor) -> tf.Tensor:
        """Build the mask."""
        steps = tf.range(tf.shape(words)[1])
        return (steps[None, None, :] <= steps[None, :, None]) & (words != 0)[:, None, :]


class LastWord(keras.layers.Layer):
    """(sequence [B, T, ...], words int32 [B, T]) -> the entry at the last word, [B, ...]; zero for an empty caption."""

    def call(self, sequence: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        """Gather."""
        length = tf.math.count_nonzero(words, axis=1, dtype=tf.int32)
        last = tf.gather(sequence, tf.maximum(length - 1, 0), batch_dims=1)
        return last * tf.cast(length > 0, sequence.dtype)[:, None]


class Remember(keras.layers.Layer):
    """(memory [B, L, X], item [B, X], place int32 [B]) -> memory with the item written at its row's place."""

    def call(self, memory: tf.Tensor, item: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Add: every place is written once, over zeros."""
        slot = tf.one_hot(place, tf.shape(memory)[1], dtype=memory.dtype)
        return memory + slot[:, :, None] * item[:, None, :]


class UpTo(keras.layers.Layer):
    """(memory [B, L, X], place int32 [B]) -> bool [B, 1, L], the places written so far."""

    def call(self, memory: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Compare."""
        return tf.range(tf.shape(memory)[1])[None, None, :] <= place[:, None, None]


def build_semantic(config: SemanticConfig, vocabulary: int, concepts: int) -> SemanticModels:
    """Embedding, GRU (Cho et al. 2014), causal Bahdanau self-attention, and a multi-label classifier of concepts.

    The self-attention's query at t is the GRU's state at t; its keys are the states up to t. The meaning joins what
    was attended with the state itself. At the last word causal and full attention are the same, so the classifier's
    word weights are the last row of the reader's.
    """
    embed = keras.layers.Embedding(vocabulary, config.embedding_size, name="semantic_embedding")
    gru = keras.layers.GRU(config.units, return_sequences=True, name="semantic_gru")
    key = keras.layers.Dense(config.attention_units, use_bias=False, name="semantic_keys")
    attend = BahdanauAttention(config.attention_units, name="semantic_attention")
    mean = keras.layers.Dense(config.units, activation="tanh", name="meaning")
    drop_words = CountedDropout(config.dropout, seed=21, name="semantic_word_dropout")
    drop_meaning = CountedDropout(config.dropout, seed=22, name="meaning_dropout")
    classify = keras.layers.Dense(concepts, name="word_concept_logits", dtype="float32")
    join = keras.layers.Concatenate(name="meaning_join")

    view, last = CausalView(name="causal_view", dtype="int32"), LastWord(name="last_word", dtype="float32")

    words = keras.Input((None,), dtype="int32", name="words")
    embedded = keras.Input((None, config.embedding_size), name="embedded")

    def read(embedded: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # No mask for the GRU: padding comes after the words, so it moves no state that is read, and cuDNN takes it.
        states = gru(drop_words(embedded))
        context, weights = attend(states, key(states), states, visible=view(words))
        meaning = mean(join([context, states]))
        logits = classify(drop_meaning(last(meaning, words)))
        importance = last(weights, words)
        return {"meaning": meaning, "weights": weights}, {"concept_logits": logits, "word_importance": importance}

    reading, classified = read(embed(words))
    return SemanticModels(
        keras.Model(words, reading, name="semantic_reader"),
        keras.Model(words, classified, name="semantic_classifier"),
        keras.Model(words, embed(words), name="semantic_embed"),
        keras.Model([words, embedded], read(embedded)[1], name="semantic_from_embedded"),
        _step_model(config, embed, gru, key, attend, mean, join),
    )


def _step_model(config: SemanticConfig, embed: Any, gru: Any, key: Any, attend: Any, mean: Any, join: Any) -> Any:
    word = keras.Input((), dtype="int32", name="word")
    place = keras.Input((), dtype="int32", name="place")
    kind = keras.mixed_precision.global_policy().compute_dtype
    state = keras.Input((config.units,), dtype=kind, name="gru")
    keys = keras.Input((None, config.attention_units), dtype=kind, name="keys")
    states = keras.Input((None, config.units), dtype=kind, name="states")
    new, _ = gru.cell(embed(word), [state])
    new_keys = Remember(name="remember_keys")(keys, key(new), place)
    new_states = Remember(name="remember_states")(states, new, place)
    query = keras.layers.Reshape((1, config.units), name="semantic_query")(new)
    visible = UpTo(name="up_to", dtype="int32")(states, place)
    context, _ = attend(query, new_keys, new_states, visible=visible)
    meaning = mean(join([keras.layers.Reshape((config.units,), name="semantic_context")(context), new]))
    outputs = {"meaning": meaning, "gru": new, "keys": new_keys, "states": new_states}
    inputs = {"word": word, "place": place, "gru": state, "keys": keys, "states": states}
    return keras.Model(inputs, outputs, name="semantic_step")
