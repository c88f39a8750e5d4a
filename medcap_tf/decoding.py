"""Greedy and beam search in the graph, over a step function; knows no model.

Axes: B images, K beams, V vocabulary, T the longest caption in tokens (`<end>` included), P regions.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import tensorflow as tf

# Not -inf: differences of it stay finite.
_NEVER = -1e9


class DecodingResult(NamedTuple):
    """The best caption of each image."""

    tokens: tf.Tensor  # int32 [B, T]; `<end>` and what follows it are `pad`
    length: tf.Tensor  # int32 [B], words before `<end>`
    score: tf.Tensor  # float32 [B], mean log-probability a token in nats, `<end>` counted where it was reached
    attention: tf.Tensor  # float32 [B, T, P]; rows from `length` on are zero


class _Beams(NamedTuple):
    tokens: tf.Tensor  # int32 [B, K, T]
    log_prob: tf.Tensor  # float32 [B, K], summed over the tokens
    length: tf.Tensor  # int32 [B, K], tokens so far, `<end>` included
    finished: tf.Tensor  # bool [B, K]
    attention: tf.Tensor  # float32 [B, K, T, P]


# step(t int32 [], tokens int32 [B, K], state) -> logits float [B, K, V], attention float32 [B, K, P], new state.
# Every tensor of the state starts with [B, K].
Step = Callable[[tf.Tensor, tf.Tensor, Any], "tuple[tf.Tensor, tf.Tensor, Any]"]


def beam_search(
    step: Step,
    state: Any,
    *,
    batch: tf.Tensor,
    num_regions: int,
    beam_width: int,
    max_length: int,
    start: int,
    end: int,
    forbidden: tuple[int, ...] = (),
    pad: int = 0,
    length_penalty: float = 1.0,
    no_repeat_ngram: int = 0,
    seed: tf.Tensor | None = None,
) -> DecodingResult:
    """Search for the caption of highest log-probability / length ** `length_penalty`; a width of 1 is greedy search.

    Finished captions stay in the beam, frozen, and compete by the same measure; the search stops when every beam of
    every image is finished. A caption is cut after `max_length` tokens. `state` is a nest of [B, K, ...]; what an
    image's beams share (its regions) belongs into `step`'s closure and is never copied or reordered.

    Args:
        step: the model.
        state: its first state.
        batch: int32 [], B; may be 0.
        num_regions: P.
        beam_width: K.
        max_length: T.
        start: id that begins a caption.
        end: id that ends it.
        forbidden: ids never generated.
        pad: id after the end.
        length_penalty: 0 prefers short captions, 1 takes the mean over tokens.
        no_repeat_ngram: no sequence of so many tokens occurs twice in a caption, as in fairseq and Transformers (there
            `no_repeat_ngram_size`); 0 lets all repeat. Log-probabilities of what is left are not renormalized.
        seed: int64 [2]: a search of width 1 draws every word from its distribution; its scores then mean nothing.
    """
    beams = _first_beams(batch, beam_width, max_length, num_regions, pad)
    current = tf.fill([batch, beam_width], start)

    def going_on(t: tf.Tensor, current: tf.Tensor, beams: _Beams, state: Any) -> tf.Tensor:
        return (t < max_length) & ~tf.reduce_all(beams.finished)

    def advance(t: tf.Tensor, current: tf.Tensor, beams: _Beams, state: Any) -> tuple:
        logits, attention, state = step(t, current, state)
        log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        if forbidden:
            log_probs += penalty_of(forbidden, log_probs.shape[-1])
        if 0 < no_repeat_ngram < max_length:
            log_probs += _repeat_penalty(beams.tokens, t, no_repeat_ngram, log_probs.shape[-1])
        if seed is not None:
            log_probs += gumbel(tf.shape(log_probs), tf.random.experimental.stateless_fold_in(seed, t))
        parent, token = _choose(beams, log_probs, t, pad, length_penalty)
        beams, current = _extend(beams, parent, token, log_probs, attention, t, end, pad)
        state = tf.nest.map_structure(lambda x: tf.ensure_shape(tf.gather(x, parent, batch_dims=1), x.shape), state)
        return t + 1, current, beams, state

    _, _, beams, _ = tf.while_loop(going_on, advance, (tf.constant(0), current, beams, state))
    return _best(beams, end, pad, length_penalty)


def gumbel(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Noise float32 of a shape, by a seed int64 [2]: of log-probabilities with it added, the largest is drawn from them
    (the Gumbel-max trick; XLA draws no categories from seeds of 64 bits)."""
    uniform = tf.random.stateless_uniform(shape, seed=seed, minval=1e-30)
    return -tf.math.log(-tf.math.log(uniform))


def _first_beams(batch: tf.Tensor, width: int, max_length: int, num_regions: int, pad: int) -> _Beams:
    # Only the first beam is alive: at the first step all of them are the same caption.
    log_prob = tf.tile(tf.constant([[0.0] + [_NEVER] * (width - 1)]), [batch, 1])
    return _Beams(
        tf.ensure_shape(tf.fill([batch, width, max_length], pad), [None, width, max_length]),
        tf.ensure_shape(log_prob, [None, width]),
        tf.ensure_shape(tf.zeros([batch, width], tf.int32), [None, width]),
        tf.ensure_shape(tf.zeros([batch, width], tf.bool), [None, width]),
        tf.ensure_shape(tf.zeros([batch, width, max_length, num_regions]), [None, width, max_length, num_regions]),
    )


def penalty_of(ids: tuple[int, ...], vocabulary: int) -> tf.Tensor:
    """float32 [V] to add to log-probabilities, so that no such word is ever generated."""
    return tf.constant([_NEVER if i in ids else 0.0 for i in range(vocabulary)])


def _repeat_penalty(tokens: tf.Tensor, t: tf.Tensor, n: int, vocabulary: int) -> tf.Tensor:
    """Float32 [B, K, V]: `_NEVER` at each token that would complete an n-gram which its beam has already, else 0.

    A token is banned where it follows, earlier in the beam, the same n - 1 tokens that the beam ends in now.

    Args:
        tokens: int32 [B, K, T], generated up to step t.
        t: int32 [], the step to be generated.
        n: from 1 to T - 1.
        vocabulary: V.
    """
    width, starts = tokens.shape[1], tokens.shape[2] - n + 1
    repeated = tf.broadcast_to(tf.range(n - 1, n - 1 + starts) < t, tf.shape(tokens[:, :, :starts]))
    for offset in range(n - 1):
        # Before step n no n-gram is complete, so what stands at place 0 is of no account.
        recent = tokens[:, :, tf.maximum(t - n + 1 + offset, 0)]
        repeated &= tokens[:, :, offset : offset + starts] == recent[:, :, None]
    banned = tf.reshape(tokens[:, :, n - 1 :], [-1, starts])
    rows = tf.repeat(tf.range(tf.shape(banned)[0])[:, None], starts, axis=1)
    times = tf.scatter_nd(
        tf.stack([rows, banned], -1),
        tf.cast(tf.reshape(repeated, [-1, starts]), tf.int32),
        tf.stack([tf.shape(banned)[0], vocabulary]),
    )
    return tf.reshape(tf.where(times > 0, _NEVER, 0.0), [-1, width, vocabulary])


def _choose(beams: _Beams, log_probs: tf.Tensor, t: tf.Tensor, pad: int, penalty: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The K best continuations of each image: parent and token, int32 [B, K]."""
    width, vocabulary = beams.log_prob.shape[1], log_probs.shape[-1]
    # The K best of an image are among the K best words of each beam: rank K * K, not K * V.
    few = min(width, vocabulary)
    best, tokens = tf.math.top_k(log_probs, few)
    total = beams.log_prob[:, :, None] + best
    rank = total / tf.cast(t + 1, tf.float32) ** penalty
    # A finished beam has one continuation, itself.
    frozen = beams.log_prob / tf.cast(tf.maximum(beams.length, 1), tf.float32) ** penalty
    only = tf.concat([frozen[:, :, None], tf.fill([tf.shape(rank)[0], width, few - 1], 2 * _NEVER)], -1)
    rank = tf.where(beams.finished[:, :, None], only, rank)
    tokens = tf.where(beams.finished[:, :, None], pad, tokens)
    _, flat = tf.math.top_k(tf.reshape(rank, [-1, width * few]), width)
    return flat // few, tf.gather(tf.reshape(tokens, [-1, width * few]), flat, batch_dims=1)


def _extend(
    beams: _Beams,
    parent: tf.Tensor,
    token: tf.Tensor,
    log_probs: tf.Tensor,
    attention: tf.Tensor,
    t: tf.Tensor,
    end: int,
    pad: int,
) -> tuple[_Beams, tf.Tensor]:
    old = _Beams(*(tf.ensure_shape(tf.gather(x, parent, batch_dims=1), x.shape) for x in beams))
    gain = tf.gather(tf.gather(log_probs, parent, batch_dims=1), token, batch_dims=2)
    attention = tf.gather(attention, parent, batch_dims=1)
    here = tf.range(old.tokens.shape[2]) == t
    extends = here[None, None, :] & ~old.finished[:, :, None]
    new = _Beams(
        tf.where(extends, token[:, :, None], old.tokens),
        old.log_prob + tf.where(old.finished, 0.0, gain),
        old.length + tf.cast(~old.finished, tf.int32),
        old.finished | (token == end),
        tf.where(extends[..., None], attention[:, :, None, :], old.attention),
    )
    # What a finished beam feeds to the model is never read; pad is an id that every model has.
    return new, token


def _best(beams: _Beams, end: int, pad: int, penalty: float) -> DecodingResult:
    length = tf.cast(tf.maximum(beams.length, 1), tf.float32)
    winner = tf.argmax(beams.log_prob / length**penalty, axis=1, output_type=tf.int32)
    tokens, attention = (tf.gather(x, winner, batch_dims=1) for x in (beams.tokens, beams.attention))
    score = tf.gather(beams.log_prob / length, winner, batch_dims=1)
    tokens = tf.where(tokens == end, pad, tokens)
    words = tf.math.count_nonzero(tokens != pad, axis=1, dtype=tf.int32)
    present = tf.sequence_mask(words, tf.shape(tokens)[1], tf.float32)
    return DecodingResult(tokens, words, score, attention * present[:, :, None])
