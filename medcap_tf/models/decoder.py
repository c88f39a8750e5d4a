"""The attention LSTM that writes the caption, word by word.

Axes: B images, Q beams of an image, T steps, h x w = P regions of C channels, U LSTM units, A attention units,
E embedding, M meaning, K concepts, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from medcap_tf.config import DecoderConfig
from medcap_tf.models.attention import BahdanauAttention
from medcap_tf.models.dropout import CountedDropout


class DecoderModels(NamedTuple):
    """Three forms over the same weights."""

    begin: keras.Model  # regions [B, h, w, C] -> keys [B, P, A], values [B, P, U], h [B, U], c [B, U]
    teacher: keras.Model  # regions, words int32 [B, T], (meaning [B, T, M]) -> logits [B, T, V], attention [B, T, P]
    step: keras.Model  # keys, values, word int32 [B, Q], h, c [B, Q, U], (meaning [B, Q, M]) -> logits, attention, h, c


class AttentionCell(keras.layers.Layer):
    """One step: look at the regions with the state so far, then update the state with word, meaning and context.

    Show, Attend and Tell (Xu et al. 2015, section 3.1.2) with additive attention and the context gate of its section
    4.2.1. Every tensor has a beam axis Q, so that Q sentences share one image's keys and values.
    """

    def __init__(self, units: int, attention_units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.attention_units = units, attention_units
        self.attention = BahdanauAttention(attention_units, name="attention")
        self.gate = keras.layers.Dense(units, activation="sigmoid", name="context_gate")
        self.lstm = keras.layers.LSTMCell(units, name="lstm")
        self.state_size = [tf.TensorShape([1, units]), tf.TensorShape([1, units])]
        self.output_size = None

    def call(self, inputs: tf.Tensor, states: list[tf.Tensor], constants: list[tf.Tensor]) -> tuple[Any, list]:
        """Step.

        Args:
            inputs: float [B, Q, E + M], the word and the meaning so far.
            states: h and c, float [B, Q, U].
            constants: keys float [B, P, A] and values float [B, P, U].

        Returns:
            (h [B, Q, U], gated context [B, Q, U], attention float32 [B, Q, P]), and the states [h, c].
        """
        hidden, memory = states
        keys, values = constants
        context, weights = self.attention(hidden, keys, values)
        context = self.gate(hidden) * context
        flat = [_merge_beams(x) for x in (tf.concat([inputs, context], -1), hidden, memory)]
        _, (hidden, memory) = self.lstm(flat[0], flat[1:])
        hidden, memory = (_split_beams(x, inputs) for x in (hidden, memory))
        return (hidden, context, weights), [hidden, memory]

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "units": self.units, "attention_units": self.attention_units}


def _merge_beams(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1]])


def _split_beams(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [tf.shape(like)[0], tf.shape(like)[1], x.shape[-1]])


class TeacherForcing(keras.layers.Layer):
    """The cell over a whole caption: inputs [B, T, E + M] -> h, context [B, T, U], attention float32 [B, T, P]."""

    def __init__(self, cell: AttentionCell, **kwargs: Any):
        super().__init__(**kwargs)
        self.cell = cell

    def call(self, inputs: tf.Tensor, states: list[tf.Tensor], constants: list[tf.Tensor]) -> Any:
        """Step through the caption in one graph loop."""

        def step(x: tf.Tensor, states: list[tf.Tensor]) -> Any:
            outputs, states = self.cell(x[:, None], states, constants)
            return tuple(tf.squeeze(output, 1) for output in outputs), states

        _, outputs, _ = keras.backend.rnn(step, inputs, [state[:, None] for state in states])
        return outputs


def build_decoder(
    config: DecoderConfig,
    vocabulary: int,
    region_shape: tuple[int, int, int],
    meaning_size: int,
    head: keras.Model | None = None,
) -> DecoderModels:
    """The decoder in its three forms; `meaning_size` 0 builds it without the semantic encoder's input.

    The regions are projected once an image, to keys and to values of the decoder's width. The state starts from the
    mean region (Xu et al. 2015, section 3.1.2) and, with a trained concept `head`, from the concepts that it sees in
    the regions, which no gradient of the captions changes. Words are predicted from state, context, word and meaning
    together ("deep output", Pascanu et al. 2014), in teacher forcing for all steps at once after the loop.
    """
    embed = keras.layers.Embedding(vocabulary, config.embedding_size, name="word_embedding")
    cell = AttentionCell(config.units, config.attention_units, name="attention_cell")
    drop_words = CountedDropout(config.dropout, seed=31, name="word_dropout")
    fuse = keras.layers.Dense(config.embedding_size, activation="tanh", name="fusion")
    drop_fused = CountedDropout(config.dropout, seed=32, name="fusion_dropout")
    project = keras.layers.Dense(vocabulary, name="word_logits", dtype="float32")
    join = keras.layers.Concatenate(name="word_and_meaning")
    join_all = keras.layers.Concatenate(name="fusion_join")

    def word_input(words: Any, meaning: list[Any]) -> Any:
        embedded = drop_words(embed(words))
        return join([embedded, *meaning]) if meaning else embedded

    def predict(hidden: Any, context: Any, inputs: Any) -> Any:
        return project(drop_fused(fuse(join_all([hidden, context, inputs]))))

    begin = _begin_model(config, region_shape, head)
    regions = keras.Input(region_shape, name="regions")
    words = keras.Input((None,), dtype="int32", name="words")
    meaning = [keras.Input((None, meaning_size), name="meaning")] if meaning_size else []
    start = begin(regions)
    inputs = word_input(words, meaning)
    forced = TeacherForcing(cell, name="teacher_forcing")
    hidden, context, attention = forced(inputs, [start["h"], start["c"]], [start["keys"], start["values"]])
    outputs = {"logits": predict(hidden, context, inputs), "attention": attention}
    teacher = keras.Model([regions, words, *meaning], outputs, name="teacher_forced_decoder")

    word = keras.Input((None,), dtype="int32", name="word")
    meaning = [keras.Input((None, meaning_size), name="meaning")] if meaning_size else []
    kind = keras.mixed_precision.global_policy().compute_dtype
    keys = keras.Input((None, config.attention_units), dtype=kind, name="keys")
    values = keras.Input((None, config.units), dtype=kind, name="values")
    states = [keras.Input((None, config.units), dtype=kind, name=name) for name in "hc"]
    inputs = word_input(word, meaning)
    (hidden, context, attention), new = cell(inputs, states, constants=[keys, values])
    outputs = {"logits": predict(hidden, context, inputs), "attention": attention, "h": new[0], "c": new[1]}
    step = keras.Model([keys, values, word, *states, *meaning], outputs, name="decoder_step")
    return DecoderModels(begin, teacher, step)


def _begin_model(config: DecoderConfig, region_shape: tuple[int, int, int], head: keras.Model | None) -> keras.Model:
    regions = keras.Input(region_shape, name="regions")
    flat = keras.layers.Reshape((-1, region_shape[-1]), name="flat_regions")(regions)
    flat = CountedDropout(config.dropout / 2, seed=33, name="region_dropout")(flat)
    mean = keras.layers.GlobalAveragePooling1D(name="mean_region")(flat)
    if head is not None:
        seen = tf.stop_gradient(tf.sigmoid(head(regions)))
        mean = keras.layers.Concatenate(name="mean_region_and_concepts")([mean, seen])
    outputs = {
        "keys": keras.layers.Dense(config.attention_units, use_bias=False, name="keys")(flat),
        "values": keras.layers.Dense(config.units, activation="relu", name="values")(flat),
        "h": keras.layers.Dense(config.units, activation="tanh", name="initial_h")(mean),
        "c": keras.layers.Dense(config.units, name="initial_c")(mean),
    }
    return keras.Model(regions, outputs, name="decoder_begin")
