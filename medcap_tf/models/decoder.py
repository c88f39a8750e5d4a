"""The attention LSTM that generates the caption, word by word.

Axes: B images, Q beams of an image, T steps, h x w = P regions of C channels, U LSTM units, A attention units,
E embedding, M encoding of the words so far, K concepts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from medcap_tf.config import DecoderConfig
from medcap_tf.models.attention import BahdanauAttention
from medcap_tf.models.dropout import ResumableDropout


class Decoder(NamedTuple):
    """Three forms over the same weights."""

    begin: keras.Model  # regions [B, h, w, C], (concept scores [B, K]) -> keys, values [B, P, .], h [B, U], c [B, U]
    teacher: keras.Model  # regions, (scores), words int32 [B, T], (encoding [B, T, M]) -> logits, attention [B, T, P]
    step: (
        keras.Model
    )  # keys, values, word int32 [B, Q], h, c [B, Q, U], (encoding [B, Q, M]) -> logits, attention, h, c


@keras.saving.register_keras_serializable("medcap_tf")
class AttentionCell(keras.layers.Layer):
    """One step: look at the regions with the state so far, then update the state with word, encoding and context.

    Show, Attend and Tell (Xu et al. 2015, section 3.1.2) with additive attention and the context gate of its section
    4.2.1. Every tensor has a beam axis Q, so that Q captions share one image's keys and values.
    """

    def __init__(self, units: int, attention_units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.attention_units = units, attention_units
        self.attention = BahdanauAttention(attention_units, name="attention", dtype=self.dtype_policy)
        self.gate = keras.layers.Dense(units, activation="sigmoid", name="context_gate", dtype=self.dtype_policy)
        self.lstm = keras.layers.LSTMCell(units, name="lstm", dtype=self.dtype_policy)
        self.state_size = [tf.TensorShape([1, units]), tf.TensorShape([1, units])]
        self.output_size = None

    def call(self, inputs: tf.Tensor, states: list[tf.Tensor], constants: list[tf.Tensor]) -> tuple[Any, list]:
        """Step.

        Args:
            inputs: float [B, Q, E + M], the word and the encoding of those before it.
            states: h and c, float [B, Q, U].
            constants: keys float [B, P, A] and values float [B, P, U].

        Returns:
            (h [B, Q, U], gated context [B, Q, U], attention float32 [B, Q, P]), and the states [h, c].
        """
        hidden, memory = states
        keys, values = constants
        context, weights = self.attention(hidden, keys, values)
        context = self.gate(hidden) * context
        flat = [merge_beams(x) for x in (tf.concat([inputs, context], -1), hidden, memory)]
        _, (hidden, memory) = self.lstm(flat[0], flat[1:])
        hidden, memory = (split_beams(x, inputs) for x in (hidden, memory))
        return (hidden, context, weights), [hidden, memory]

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "units": self.units, "attention_units": self.attention_units}


def merge_beams(x: tf.Tensor) -> tf.Tensor:
    """float [B, Q, X] -> [B Q, X], as Keras' cells take it."""
    return tf.reshape(x, [-1, x.shape[-1]])


def split_beams(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """float [B Q, X] -> [B, Q, X], with B and Q of a tensor [B, Q, ...]."""
    return tf.reshape(x, [tf.shape(like)[0], tf.shape(like)[1], x.shape[-1]])


@keras.saving.register_keras_serializable("medcap_tf")
class TeacherForcing(keras.layers.Layer):
    """The cell over a whole caption: inputs [B, T, E + M] -> h, context [B, T, U], attention float32 [B, T, P]."""

    def __init__(self, cell: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.cell = cell

    def call(self, inputs: tf.Tensor, states: list[tf.Tensor], constants: list[tf.Tensor]) -> Any:
        """Step through the caption in one graph loop."""

        def step(x: tf.Tensor, states: list[tf.Tensor]) -> Any:
            outputs, states = self.cell(x[:, None], states, constants)
            return tuple(tf.squeeze(output, 1) for output in outputs), states

        _, outputs, _ = keras.backend.rnn(step, inputs, [state[:, None] for state in states])
        return outputs

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TeacherForcing:
        """The inverse of `get_config`."""
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


def build_decoder(
    config: DecoderConfig,
    vocabulary: int,
    region_shape: tuple[int, int, int],
    encoding_size: int,
    concepts: int = 0,
    precision: str = "float32",
) -> Decoder:
    """The decoder in its three forms.

    The regions are projected once an image, to keys and to values of the decoder's width. The state starts from the
    mean region (Xu et al. 2015, section 3.1.2) and from the concepts seen in the image. Words are predicted from state,
    context, word and encoding together ("deep output", Pascanu et al. 2014), in teacher forcing for all steps at once
    after the loop.

    Args:
        config: what is built.
        vocabulary: V.
        region_shape: h, w, C.
        encoding_size: M; 0 builds it without the semantic encoder's input.
        concepts: K; 0: the state starts from the mean region alone.
        precision: Keras' dtype policy of all layers but the logits.
    """
    cell = AttentionCell(config.units, config.attention_units, name="attention_cell", dtype=precision)

    def predict(speak: Any, project: Any, looked: tuple, inputs: Any) -> dict[str, Any]:
        hidden, context, attention = looked
        return {"logits": project(speak([hidden, context, inputs])), "attention": attention}

    begin = _begin_model(config, region_shape, concepts, precision)
    return assemble_decoder(config, vocabulary, encoding_size, begin, cell, predict, precision)


def assemble_decoder(
    config: DecoderConfig,
    vocabulary: int,
    encoding_size: int,
    begin: keras.Model,
    cell: keras.layers.Layer,
    predict: Callable[[Any, Any, tuple, Any], dict[str, Any]],
    precision: str,
    kept: Sequence[str] = (),
) -> Decoder:
    """The three forms of a decoder around its cell.

    Args:
        config: the widths of embeddings, and dropout.
        vocabulary: V.
        encoding_size: M; 0: without the semantic encoder's input.
        begin: images -> `keys`, `values`, `h`, `c`.
        cell: one step, as `AttentionCell`.
        predict: (what joins tensors and makes them a vector [.., E], the layer of words' logits, the cell's outputs,
            its inputs) -> `logits`, `attention` and what else the decoder tells of each word.
        precision: Keras' dtype policy of all layers but the logits.
        kept: outputs of `begin` that `teacher` gives too.
    """
    embed = keras.layers.Embedding(vocabulary, config.embedding_size, name="word_embedding", dtype=precision)
    drop_words = ResumableDropout(config.dropout, seed=31, name="word_dropout", dtype=precision)
    join = keras.layers.Concatenate(name="word_and_meaning", dtype=precision)
    fuse = keras.layers.Dense(config.embedding_size, activation="tanh", name="fusion", dtype=precision)
    drop_fused = ResumableDropout(config.dropout, seed=32, name="fusion_dropout", dtype=precision)
    join_all = keras.layers.Concatenate(name="fusion_join", dtype=precision)
    project = keras.layers.Dense(vocabulary, name="word_logits", dtype="float32")

    def word_input(words: Any, encoding: list[Any]) -> Any:
        embedded = drop_words(embed(words))
        return join([embedded, *encoding]) if encoding else embedded

    def speak(parts: list[Any]) -> Any:
        return drop_fused(fuse(join_all(parts)))

    seen = [keras.Input(spec.shape[1:], name=spec.name) for spec in begin.inputs]
    words = keras.Input((None,), dtype="int32", name="words")
    encoding = [keras.Input((None, encoding_size), name="encoding")] if encoding_size else []
    start, inputs = begin(seen), word_input(words, encoding)
    forced = TeacherForcing(cell, name="teacher_forcing", dtype=precision)
    looked = forced(inputs, [start["h"], start["c"]], [start["keys"], start["values"]])
    outputs = {**predict(speak, project, looked, inputs), **{name: start[name] for name in kept}}
    teacher = keras.Model([*seen, words, *encoding], outputs, name="teacher_forced_decoder")

    def state(name: str) -> Any:
        return keras.Input((None, start[name].shape[-1]), dtype=cell.compute_dtype, name=name)

    word = keras.Input((None,), dtype="int32", name="word")
    encoding = [keras.Input((None, encoding_size), name="encoding")] if encoding_size else []
    keys, values, *states = (state(name) for name in ("keys", "values", "h", "c"))
    inputs = word_input(word, encoding)
    looked, new = cell(inputs, states, constants=[keys, values])
    outputs = {**predict(speak, project, looked, inputs), "h": new[0], "c": new[1]}
    step = keras.Model([keys, values, word, *states, *encoding], outputs, name="decoder_step")
    return Decoder(begin, teacher, step)


def _begin_model(
    config: DecoderConfig, region_shape: tuple[int, int, int], concepts: int, precision: str
) -> keras.Model:
    regions = keras.Input(region_shape, name="regions")
    flat = keras.layers.Reshape((-1, region_shape[-1]), name="flat_regions", dtype=precision)(regions)
    flat = ResumableDropout(config.dropout / 2, seed=33, name="region_dropout", dtype=precision)(flat)
    mean = keras.layers.GlobalAveragePooling1D(name="mean_region", dtype=precision)(flat)
    inputs = [regions]
    if concepts:
        inputs.append(keras.Input((concepts,), name="concept_scores"))
        mean = keras.layers.Concatenate(name="mean_region_and_concepts", dtype=precision)([mean, inputs[1]])

    def dense(units: int, name: str, **options: Any) -> keras.layers.Dense:
        return keras.layers.Dense(units, name=name, dtype=precision, **options)

    outputs = {
        "keys": dense(config.attention_units, "keys", use_bias=False)(flat),
        "values": dense(config.units, "values", activation="relu")(flat),
        "h": dense(config.units, "initial_h", activation="tanh")(mean),
        "c": dense(config.units, "initial_c")(mean),
    }
    return keras.Model(inputs, outputs, name="decoder_begin")
