"""An attention LSTM whose words have evidence: what the image gives a word is a sum over places of the image.

    logit_y(t) = w_y . f(h_t, x_t) + sum_p a_tp w_y . v_p + b_y

The state h_t has read words alone, so the image reaches a word through the sum and nothing else: each place's summand
is its share of the word's logit, exactly. Where to look, a_tp, is decided by a second state, which has read the words
and what was looked at. Places are the regions, the concepts seen in the image, and a sentinel for what is not from the
image (Lu et al. 2017, section 2.3), whose value is zero.

Axes: B images, Q beams, T steps, h x w = P regions of C channels, N concepts that are places, R = P + N + 1 places,
U LSTM units, A attention units, E embedding (of w_y and v_p too), M encoding of the words so far, K concepts,
V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from medcap_tf.config import DecoderConfig
from medcap_tf.models.attention import BahdanauAttention
from medcap_tf.models.decoder import Decoder, assemble_decoder, merge_beams, split_beams
from medcap_tf.models.dropout import ResumableDropout

CENTER_UNITS = 32  # of the layer between where a concept is and what that says of words
VALUE_SCALE = 8.0  # one of R places has 1 / R of the attention at first: without it words hardly learn from places
MOST_CONCEPTS = 64  # an image's strongest, as places; a caption names a handful


@keras.saving.register_keras_serializable("medcap_tf")
class ConceptPlaces(keras.layers.Layer):
    """Concept scores m float32 [B, K] in 0..1 -> the keys b_k + m_k g_k [B, N, A] and values m_k e_k [B, N, E] of the
    strongest, and which they are, int32 [B, N]. A concept that is not seen has no value.

    Beside the centers z of concepts, float32 [B, K, 2], a value is m_k (e_k + V tanh(W z_k + u_k)): where a concept is
    speaks for `left` or `upper`, and that evidence lies where the concept's does.
    """

    def __init__(self, concepts: int, key_size: int, value_size: int, with_centers: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.concepts, self.key_size, self.value_size, self.with_centers = concepts, key_size, value_size, with_centers

    def build(self, input_shape: Any) -> None:
        """Create the tables."""
        self.key_bias = self.add_weight("key_bias", (self.concepts, self.key_size), initializer="zeros")
        self.key = self.add_weight("key", (self.concepts, self.key_size), initializer="glorot_uniform")
        self.value = self.add_weight("value", (self.concepts, self.value_size), initializer="glorot_uniform")
        if self.with_centers:
            # Wide: borders between places of the body lie anywhere in the image, and are sharp from the start.
            wide = {"initializer": keras.initializers.RandomNormal(stddev=2.0)}
            self.center_kernel = self.add_weight("center_kernel", (2, CENTER_UNITS), **wide)
            self.center_bias = self.add_weight("center_bias", (self.concepts, CENTER_UNITS), initializer="zeros")
            self.center_value = self.add_weight("center_value", (CENTER_UNITS, self.value_size))

    def call(self, scores: tf.Tensor, centers: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Look up the strongest."""
        strongest, which = tf.math.top_k(scores, min(MOST_CONCEPTS, self.concepts))
        strength = tf.cast(strongest, self.compute_dtype)[..., None]
        keys = tf.gather(self.key_bias, which) + strength * tf.gather(self.key, which)
        values = tf.gather(self.value, which)
        if centers is not None:
            place = tf.cast(tf.gather(centers, which, batch_dims=1), self.compute_dtype)
            hidden = tf.tanh(place @ self.center_kernel + tf.gather(self.center_bias, which))
            values += hidden @ self.center_value
        return keys, strength * values, which

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        sizes = {"concepts": self.concepts, "key_size": self.key_size, "value_size": self.value_size}
        return {**super().get_config(), **sizes, "with_centers": self.with_centers}


@keras.saving.register_keras_serializable("medcap_tf")
class Sentinel(keras.layers.Layer):
    """Keys [B, R - 1, A] and values [B, R - 1, E] -> both with a last place of a learned key and no value."""

    def build(self, input_shape: Any) -> None:
        """Create the key."""
        self.key = self.add_weight("key", (input_shape[0][-1],), initializer="zeros")

    def call(self, inputs: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Append it."""
        keys, values = inputs
        key = tf.tile(self.key[None, None], [tf.shape(keys)[0], 1, 1])
        return tf.concat([keys, key], 1), tf.pad(values, [[0, 0], [0, 1], [0, 0]])


@keras.saving.register_keras_serializable("medcap_tf")
class RegionAttention(keras.layers.Layer):
    """Weights [B, Q, R] over all places -> float32 [B, Q, P], those of the regions, made to sum to 1."""

    def __init__(self, regions: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.regions = regions

    def call(self, weights: tf.Tensor) -> tf.Tensor:
        """Cut and divide."""
        own = weights[..., : self.regions]
        return own / tf.maximum(tf.reduce_sum(own, -1, keepdims=True), 1e-30)

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "regions": self.regions}


@keras.saving.register_keras_serializable("medcap_tf")
class EvidenceCell(keras.layers.Layer):
    """One step. Two states read the words: one knows nothing else, and predicts; the other has seen the image too, and
    decides where to look. Every tensor has a beam axis Q, so that Q captions share one image's keys and values."""

    def __init__(self, units: int, attention_units: int, value_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.attention_units, self.value_size = units, attention_units, value_size
        self.attention = BahdanauAttention(attention_units, name="attention", dtype=self.dtype_policy)
        self.looker = keras.layers.LSTMCell(units, name="looking_lstm", dtype=self.dtype_policy)
        self.speaker = keras.layers.LSTMCell(units, name="speaking_lstm", dtype=self.dtype_policy)
        self.state_size = [tf.TensorShape([1, 2 * units + value_size]), tf.TensorShape([1, 2 * units])]
        self.output_size = None

    def call(self, inputs: tf.Tensor, states: list[tf.Tensor], constants: list[tf.Tensor]) -> tuple[Any, list]:
        """Step.

        Args:
            inputs: float [B, Q, E + M], the word and the encoding of those before it.
            states: h float [B, Q, 2 U + E], of both states and what was last looked at; c float [B, Q, 2 U].
            constants: keys float [B, R, A] and values float [B, R, E].

        Returns:
            (the state of words [B, Q, U], context [B, Q, E], weights float32 [B, Q, R]), and the states [h, c].
        """
        units = self.units
        looking, speaking, looked_at = tf.split(states[0], [units, units, self.value_size], -1)
        memories = tf.split(states[1], 2, -1)
        looking, first = self._advance(self.looker, tf.concat([inputs, looked_at], -1), looking, memories[0])
        speaking, second = self._advance(self.speaker, inputs, speaking, memories[1])
        context, weights = self.attention(looking, *constants)
        return (speaking, context, weights), [
            tf.concat([looking, speaking, context], -1),
            tf.concat([first, second], -1),
        ]

    @staticmethod
    def _advance(cell: Any, inputs: tf.Tensor, hidden: tf.Tensor, memory: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flat = [merge_beams(x) for x in (inputs, hidden, memory)]
        _, (hidden, memory) = cell(flat[0], flat[1:])
        return split_beams(hidden, inputs), split_beams(memory, inputs)

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        sizes = {"units": self.units, "attention_units": self.attention_units, "value_size": self.value_size}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable("medcap_tf")
class NoWords(keras.layers.Layer):
    """The state before the first word: float [B, ...] -> zeros [B, U]."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """As many rows as there are images."""
        return tf.zeros([tf.shape(inputs)[0], self.units], inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "units": self.units}


def build_evidence_decoder(
    config: DecoderConfig,
    vocabulary: int,
    region_shape: tuple[int, int, int],
    encoding_size: int,
    concepts: int,
    precision: str = "float32",
    with_centers: bool = False,
) -> Decoder:
    """The decoder in its three forms.

    Args:
        config: what is built.
        vocabulary: V.
        region_shape: h, w, C.
        encoding_size: M; 0 builds it without the semantic encoder's input.
        concepts: K; 0: no concepts among the places.
        precision: Keras' dtype policy of all layers but the logits.
        with_centers: whether it is told where in the image the concepts are.
    """
    sizes = config.units, config.attention_units, config.embedding_size
    cell = EvidenceCell(*sizes, name="evidence_cell", dtype=precision)
    add = keras.layers.Add(name="words_and_image", dtype=precision)
    of_regions = RegionAttention(region_shape[0] * region_shape[1], name="region_attention", dtype="float32")

    def predict(speak: Any, project: Any, looked: tuple, inputs: Any) -> dict[str, Any]:
        hidden, context, weights = looked
        spoken = speak([hidden, inputs])
        logits = project(add([spoken, context]))
        return {"logits": logits, "attention": of_regions(weights), "places": weights, "spoken": spoken}

    begin = _begin_model(config, region_shape, concepts, precision, with_centers)
    kept = ("values", "which") if concepts else ("values",)
    return assemble_decoder(config, vocabulary, encoding_size, begin, cell, predict, precision, kept)


def _begin_model(
    config: DecoderConfig, region_shape: tuple[int, int, int], concepts: int, precision: str, with_centers: bool
) -> keras.Model:
    def dense(units: int, name: str, **options: Any) -> keras.layers.Dense:
        return keras.layers.Dense(units, name=name, dtype=precision, **options)

    regions = keras.Input(region_shape, name="regions")
    flat = keras.layers.Reshape((-1, region_shape[-1]), name="flat_regions", dtype=precision)(regions)
    flat = ResumableDropout(config.dropout / 2, seed=33, name="region_dropout", dtype=precision)(flat)
    keys = dense(config.attention_units, "keys", use_bias=False)(flat)
    values = dense(config.embedding_size, "values", use_bias=False)(flat)
    mean = keras.layers.GlobalAveragePooling1D(name="mean_region", dtype=precision)(flat)
    inputs, outputs = [regions], {}
    if concepts:
        of_concepts = [keras.Input((concepts,), name="concept_scores")]
        if with_centers:
            of_concepts.append(keras.Input((concepts, 2), name="concept_centers"))
        sizes = concepts, config.attention_units, config.embedding_size, with_centers
        places = ConceptPlaces(*sizes, name="concepts", dtype=precision)
        more_keys, more_values, outputs["which"] = places(*of_concepts)
        join = {"axis": 1, "dtype": precision}
        keys = keras.layers.Concatenate(name="all_keys", **join)([keys, more_keys])
        values = keras.layers.Concatenate(name="all_values", **join)([values, more_values])
        mean = keras.layers.Concatenate(name="mean_region_and_concepts", dtype=precision)([mean, of_concepts[0]])
        inputs += of_concepts
    values = keras.layers.Rescaling(VALUE_SCALE, name="scaled_values", dtype=precision)(values)
    keys, values = Sentinel(name="sentinel", dtype=precision)([keys, values])
    first = [dense(config.units, "initial_h", activation="tanh")(mean), dense(config.units, "initial_c")(mean)]
    for name, state, size in zip("hc", first, (config.units + config.embedding_size, config.units)):
        none = NoWords(size, name=f"no_words_{name}", dtype=precision)(state)
        outputs[name] = keras.layers.Concatenate(name=f"state_{name}", dtype=precision)([state, none])
    return keras.Model(inputs, {"keys": keys, "values": values, **outputs}, name="decoder_begin")
