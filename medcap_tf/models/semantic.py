"""The semantic encoder: what the caption so far says, which of its words carry that, and which concepts it names.

Axes: B captions, K beams of an image, T words, E embedding, G GRU units (also the width of an encoding), A attention
units, Q concepts, L places of the cache.
"""

from __future__ import annotations

from collections.abc import Callable
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
    embed: keras.Model  # words int32 [B, T] -> what the logits are a function of: values [B, T, G], or embeddings
    from_embedded: keras.Model  # words, and what `embed` gives -> as the classifier; for gradients
    # word and place int32 [B], gru float [B, G], keys [B, L, A], states [B, L, G] (or values) -> the encoding of the
    # words so far [B, G] and the cache (gru, keys, states) with this word in it, at its place.
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


@keras.saving.register_keras_serializable("medcap_tf")
class WordShares(keras.layers.Layer):
    """Of what speaks for the concepts, weighted by their scores, each word's share, summing to 1 (or 0): concepts of
    each word [B, T, Q], weights [B, T], logits [B, Q] -> float32 [B, T]."""

    def call(self, concepts: tf.Tensor, weights: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Multiply and sum."""
        spoken = tf.reduce_sum(tf.nn.relu(concepts) * tf.sigmoid(logits)[:, None], -1) * weights
        return tf.math.divide_no_nan(spoken, tf.reduce_sum(spoken, 1, keepdims=True))


@keras.saving.register_keras_serializable("medcap_tf")
class TimesWords(keras.layers.Layer):
    """Of a mean over a caption's words the sum: mean [B, G], words int32 [B, T] -> [B, G]. Else a word would count the
    less, the more words stand beside it."""

    def call(self, mean: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        """Multiply by the number of words."""
        return mean * tf.math.count_nonzero(words, axis=1, keepdims=True, dtype=mean.dtype)


@keras.saving.register_keras_serializable("medcap_tf")
class Bias(keras.layers.Layer):
    """float [B, Q] -> float [B, Q], a learned vector added."""

    def build(self, input_shape: Any) -> None:
        """Create the vector."""
        self.bias = self.add_weight("bias", (input_shape[-1],), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Add it."""
        return inputs + self.bias


class _Layers(NamedTuple):
    """What the forms share."""

    embed: keras.layers.Layer
    gru: keras.layers.Layer
    key: keras.layers.Layer
    attend: keras.layers.Layer
    mean: keras.layers.Layer
    join: keras.layers.Layer
    value: keras.layers.Layer | None  # of a sum over words: what is attended to; None: the states

    def encode(self, context: Any, state: Any) -> Any:
        """What the decoder reads: what was attended to, of a deep encoder joined with the state itself."""
        return self.mean(self.join([context, state])) if self.value is None else context


def build_semantic(
    config: SemanticConfig, vocabulary: int, concepts: int, precision: str = "float32"
) -> SemanticEncoder:
    """Embedding, GRU (Cho et al. 2014), causal Bahdanau self-attention, and a multi-label classifier of concepts.

    The self-attention's query at t is the GRU's state at t; its keys are the states up to t.

    With `output` = sum the values attended to are the words' own vectors v_i, and a concept's logit is a sum over n
    words, logit_k = b_k + n sum_i beta_i w_k . v_i, of the weights beta_i at the last: a state has read all words
    before it, a word's vector that word alone. A word's importance is its share of what spoke for the concepts. With
    `output` = deep, as in the paper, the values are the states, the encoding joins what was attended to with the state
    itself, the classifier reads it, and the importance is the attention at the last word, where causal and full
    attention are the same.

    Args:
        config: what is built.
        vocabulary: V.
        concepts: Q.
        precision: Keras' dtype policy of all layers but the logits.
    """
    shared, classified_by = _shared_layers(config, vocabulary, precision), _classifier(config, concepts, precision)
    drop_words = ResumableDropout(config.dropout, seed=21, name="semantic_word_dropout", dtype=precision)
    view = CausalView(name="causal_view", dtype="int32")
    words = keras.Input((None,), dtype="int32", name="words")

    def read(embedded: Any, values: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        # No mask for the GRU: padding comes after the words, so it moves no state that is read, and cuDNN takes it.
        dropped = drop_words(embedded)
        states = shared.gru(dropped)
        if values is None:
            values = states if shared.value is None else shared.value(dropped)
        context, weights = shared.attend(states, shared.key(states), values, visible=view(words))
        encoding = shared.encode(context, states)
        return {"encoding": encoding, "weights": weights}, classified_by(encoding, values, weights, words)

    reading, classified = read(shared.embed(words))
    embed = shared.embed(words) if shared.value is None else shared.value(shared.embed(words))
    given = keras.Input(embed.shape[1:], dtype=embed.dtype, name="embedded")
    from_given = read(given) if shared.value is None else read(shared.embed(words), given)
    return SemanticEncoder(
        keras.Model(words, reading, name="semantic_reader"),
        keras.Model(words, classified, name="semantic_classifier"),
        keras.Model(words, embed, name="semantic_embed"),
        keras.Model([words, given], from_given[1], name="semantic_from_embedded"),
        _step_model(config, shared),
    )


def _shared_layers(config: SemanticConfig, vocabulary: int, precision: str) -> _Layers:
    value = keras.layers.Dense(config.units, use_bias=False, name="word_values", dtype=precision)
    return _Layers(
        keras.layers.Embedding(vocabulary, config.embedding_size, name="semantic_embedding", dtype=precision),
        EmptySafeGRU(config.units, return_sequences=True, name="semantic_gru", dtype=precision),
        keras.layers.Dense(config.attention_units, use_bias=False, name="semantic_keys", dtype=precision),
        BahdanauAttention(config.attention_units, name="semantic_attention", dtype=precision),
        keras.layers.Dense(config.units, activation="tanh", name="meaning", dtype=precision),
        keras.layers.Concatenate(name="meaning_join", dtype=precision),
        value if config.output == "sum" else None,
    )


def _classifier(config: SemanticConfig, concepts: int, precision: str) -> Callable[..., dict[str, Any]]:
    """(encoding and values [B, T, G], weights [B, T, T], words) -> what `SemanticEncoder.classifier` gives."""
    drop = ResumableDropout(config.dropout, seed=22, name="meaning_dropout", dtype=precision)
    summed = config.output == "sum"
    classify = keras.layers.Dense(concepts, use_bias=not summed, name="word_concept_logits", dtype="float32")
    last = LastWord(name="last_word", dtype="float32")

    def deep(encoding: Any, values: Any, weights: Any, words: Any) -> dict[str, Any]:
        logits = classify(drop(last(encoding, words)))
        return {"concept_logits": logits, "word_importance": last(weights, words)}

    offset, shares = Bias(name="concept_bias", dtype="float32"), WordShares(name="word_shares", dtype="float32")
    whole = TimesWords(name="sum_over_words", dtype="float32")

    def sum_over_words(encoding: Any, values: Any, weights: Any, words: Any) -> dict[str, Any]:
        logits = offset(classify(drop(whole(last(encoding, words), words))))
        importance = shares(classify(values), last(weights, words), logits)
        return {"concept_logits": logits, "word_importance": importance}

    return sum_over_words if summed else deep


def _step_model(config: SemanticConfig, shared: _Layers) -> keras.Model:
    kind = shared.gru.compute_dtype
    policy = shared.gru.dtype_policy
    word = keras.Input((), dtype="int32", name="word")
    place = keras.Input((), dtype="int32", name="place")
    state = keras.Input((config.units,), dtype=kind, name="gru")
    keys = keras.Input((None, config.attention_units), dtype=kind, name="keys")
    states = keras.Input((None, config.units), dtype=kind, name="states")
    embedded = shared.embed(word)
    new, _ = shared.gru.cell(embedded, [state])
    value = new if shared.value is None else shared.value(embedded)
    new_keys = CacheWrite(name="write_keys", dtype=policy)(keys, shared.key(new), place)
    new_states = CacheWrite(name="write_states", dtype=policy)(states, value, place)
    query = keras.layers.Reshape((1, config.units), name="semantic_query", dtype=policy)(new)
    visible = LengthMask(name="length_mask", dtype="int32")(states, place)
    context, _ = shared.attend(query, new_keys, new_states, visible=visible)
    flat = keras.layers.Reshape((config.units,), name="semantic_context", dtype=policy)(context)
    outputs = {"encoding": shared.encode(flat, new), "gru": new, "keys": new_keys, "states": new_states}
    inputs = {"word": word, "place": place, "gru": state, "keys": keys, "states": states}
    return keras.Model(inputs, outputs, name="semantic_step")
