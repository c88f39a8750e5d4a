"""Both encoders, the decoder and the similar images at work together: captions written, read again, and given ones
spoken, in the graph.

Axes: B images, K beams, h x w = P regions of C channels, T tokens, M meaning, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from medcap_tf.config import DecodingConfig
from medcap_tf.decoding import Sentences, beam_search
from medcap_tf.errors import InputError
from medcap_tf.models.semantic import SemanticModels
from medcap_tf.neighbours import Neighbours, first_match, follow, vote, votes_along, with_concepts
from medcap_tf.networks import Models
from medcap_tf.text import END, PAD, START, UNK


def meanings(semantic: SemanticModels, words: tf.Tensor, source: str) -> tf.Tensor:
    """What the decoder is told at each step of teacher forcing.

    Args:
        semantic: the semantic encoder.
        words: int32 [B, T], the caption's words without `<start>`, padded.
        source: `prefix`: at step t the meaning of words 0..t-1, zeros at t = 0; `reference`: at every step the meaning
            of the whole caption, the oracle's peek.

    Returns:
        float [B, T + 1, M]: the steps of T words and `<end>`.
    """
    # The GRU cannot read no word at all, as at the first step of a caption of one.
    count = tf.shape(words)[1]
    some = tf.pad(words, [[0, 0], [0, tf.cast(count == 0, tf.int32)]])
    read = semantic.reader(some)["meaning"][:, :count]
    if source == "prefix":
        return tf.pad(read, [[0, 0], [1, 0], [0, 0]])
    last = tf.maximum(tf.math.count_nonzero(words, axis=1, dtype=tf.int32) - 1, 0)
    return tf.repeat(tf.gather(read, last, batch_dims=1)[:, None], count + 1, axis=1)


def teacher_forced(
    models: Models, regions: tf.Tensor, inputs: tf.Tensor, source: str, training: bool
) -> dict[str, tf.Tensor]:
    """`logits` float32 [B, T, V] of each next word, given the words before it, and `attention` float32 [B, T, P].

    Args:
        models: the networks.
        regions: float [B, h, w, C].
        inputs: int32 [B, T], `<start>` and words, padded.
        source: `decoder.semantic_source`.
        training: whether dropout is on.
    """
    meaning = [] if source == "none" else [meanings(models.semantic, inputs[:, 1:], source)]
    return models.decoder.teacher([regions, inputs, *meaning], training=training)


def inputs_of(tokens: tf.Tensor) -> tf.Tensor:
    """Sentences int32 [B, T] as the decoder is fed them, `<start>` and all words but the last: int32 [B, T]."""
    return tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], 1)


def write_captions(
    models: Models,
    regions: tf.Tensor,
    config: DecodingConfig,
    source: str,
    reference: tf.Tensor | None = None,
    near: Neighbours | None = None,
) -> Sentences:
    """Search for the captions of regions [B, h, w, C], in the graph.

    Args:
        models: the networks.
        regions: the visual encoder's output.
        config: the search's options.
        source: `decoder.semantic_source` of the run.
        reference: int32 [B, T], the reference captions' words; for the oracle alone.
        near: training images whose captions have a say in each next word.
    """
    begin = models.decoder.begin(regions)
    batch, width = tf.shape(regions)[0], config.beam_width
    state = {name: tf.repeat(begin[name][:, None], width, axis=1) for name in "hc"}
    if near is not None:
        state["match"] = first_match(near, width)
    told: tf.Tensor | None = None
    if source == "prefix":
        state.update(_empty_memory(models.semantic, batch, width, config.max_length))
    elif source == "reference":
        if reference is None:
            raise InputError("decoder.semantic_source=reference is an oracle: it needs the reference captions")
        told = tf.repeat(meanings(models.semantic, reference, source)[:, :1], width, axis=1)

    def step(t: tf.Tensor, words: tf.Tensor, state: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, Any]:
        memory: dict[str, tf.Tensor] = {}
        meaning = [told] if told is not None else []
        if source == "prefix":
            read, memory = _read_word(models.semantic, t, words, state)
            meaning = [read]
        out = models.decoder.step([begin["keys"], begin["values"], words, state["h"], state["c"], *meaning])
        new = {"h": out["h"], "c": out["c"], **memory}
        if near is None:
            return out["logits"], out["attention"], new
        new["match"] = follow(state["match"], words, near)
        votes = vote(new["match"], near, out["logits"].shape[-1])
        return mixed(out["logits"], votes), out["attention"], new

    return beam_search(
        step,
        state,
        batch=batch,
        places=regions.shape[1] * regions.shape[2],
        beam_width=width,
        max_length=config.max_length,
        start=START,
        end=END,
        forbidden=(PAD, START, UNK),
        pad=PAD,
        length_penalty=config.length_penalty,
        no_repeat_ngram=config.no_repeat_ngram,
    )


def mixed(logits: tf.Tensor, votes: tf.Tensor) -> tf.Tensor:
    """The decoder's words and the neighbours' together: log-probabilities float32 [..., V].

    A mixture as in kNN language models (Khandelwal et al. 2020, equation 3), whose weight is what the votes sum to.

    Args:
        logits: float32 [..., V], the decoder's.
        votes: float32 [..., V], what `neighbours.vote` gives.
    """
    # Rounding may bring the sum of the votes a little above 1.
    own = tf.maximum(1 - tf.reduce_sum(votes, -1, keepdims=True), 0)
    return tf.math.log(own * tf.nn.softmax(logits) + votes + 1e-20)


def read_captions(
    models: Models, regions: tf.Tensor, tokens: tf.Tensor, from_image: bool, near: Neighbours | None = None
) -> dict[str, tf.Tensor]:
    """What a run with concepts has to say of captions that were written.

    Args:
        models: the networks, with a semantic encoder.
        regions: float [B, h, w, C].
        tokens: int32 [B, T], padded.
        from_image: whether the image names the concepts, or the words do.
        near: training images whose concepts have a say too.

    Returns:
        `word_importance` float32 [B, T] and `concept_score` float32 [B, K] in 0..1.
    """
    read = models.semantic.classifier(tokens)
    logits = models.head(regions) if from_image else read["concept_logits"]
    score = tf.sigmoid(logits)
    return {
        "word_importance": read["word_importance"],
        "concept_score": score if near is None else with_concepts(score, near),
    }


def copied_shares(
    models: Models, regions: tf.Tensor, tokens: tf.Tensor, source: str, near: Neighbours | None
) -> tf.Tensor:
    """How much of each word's probability the captions of similar training images gave, not the decoder.

    Args:
        models: the networks.
        regions: float [B, h, w, C].
        tokens: int32 [B, T], the written words, padded.
        source: `decoder.semantic_source`.
        near: the similar images, if any have a say.

    Returns:
        float32 [B, T] in 0..1, zeros at padding.
    """
    if near is None:
        return tf.zeros_like(tokens, tf.float32)
    shape, whole = tokens.shape, tf.shape(tokens)[1]
    longest = tf.maximum(1, tf.reduce_max(tf.math.count_nonzero(tokens, 1, dtype=tf.int32)))
    tokens = tokens[:, :longest]
    inputs = inputs_of(tokens)
    logits = teacher_forced(models, regions, inputs, source, training=False)["logits"]
    votes = votes_along(near, inputs, logits.shape[-1])
    given = tf.gather(votes, tokens, batch_dims=2)
    spoken = tf.exp(tf.gather(mixed(logits, votes), tokens, batch_dims=2))
    shares = tf.where(tokens == PAD, 0.0, tf.minimum(given / spoken, 1.0))
    return tf.ensure_shape(tf.pad(shares, [[0, 0], [0, whole - longest]]), shape)


def _empty_memory(semantic: Any, batch: tf.Tensor, width: int, length: int) -> dict[str, tf.Tensor]:
    shapes = {name: semantic.step.input_shape[name][1:] for name in ("gru", "keys", "states")}
    kind = semantic.step.compute_dtype
    return {
        "gru": tf.zeros([batch, width, *shapes["gru"]], kind),
        "keys": tf.zeros([batch, width, length, shapes["keys"][-1]], kind),
        "states": tf.zeros([batch, width, length, shapes["states"][-1]], kind),
    }


def _read_word(
    semantic: Any, t: tf.Tensor, words: tf.Tensor, state: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Meaning [B, K, M] of the words up to step t, and the memory after them. At t = 0 the word is `<start>`: nothing
    has been said, so the meaning is zero and the memory stays empty (place -1 is written nowhere)."""
    batch, width = tf.shape(words)[0], words.shape[1]
    inputs = {name: tf.reshape(state[name], [-1, *state[name].shape[2:]]) for name in ("gru", "keys", "states")}
    place = tf.fill([batch * width], t - 1)
    out = semantic.step({"word": tf.reshape(words, [-1]), "place": place, **inputs})
    out = {name: tf.reshape(value, [-1, width, *value.shape[1:]]) for name, value in out.items()}
    said = t > 0
    memory = {name: tf.where(said, out[name], state[name]) for name in inputs}
    return tf.where(said, out["meaning"], tf.zeros_like(out["meaning"])), memory
