"""Beam search against brute force over every sentence of a tiny vocabulary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.decoding import beam_search

PAD, UNK, START, END, A, B = range(6)
WORDS = 6
LENGTH = 4
PLACES = 3


def make_model(seed, images):
    """A model whose logits and attention depend on the whole sentence so far, through a hash that is its state."""
    rng = np.random.default_rng(seed)
    table = tf.constant(rng.normal(size=(images, 64, WORDS)), tf.float32) * 2
    looks = tf.nn.softmax(tf.constant(rng.normal(size=(images, 64, PLACES)), tf.float32))

    def step(t, words, state):
        state = (state * 7 + words + t) % 64
        return tf.gather(table, state, batch_dims=1), tf.gather(looks, state, batch_dims=1), state

    return step


def search(step, images, width, penalty=1.0, length=LENGTH):
    return beam_search(
        step,
        tf.zeros([images, width], tf.int32),
        batch=tf.constant(images),
        places=PLACES,
        beam_width=width,
        max_length=length,
        start=START,
        end=END,
        forbidden=(PAD, START),
        pad=PAD,
        length_penalty=penalty,
    )


def all_sentences():
    """Every sentence that the search may return: it ends with END, or is cut at LENGTH."""
    for length in range(1, LENGTH + 1):
        for words in itertools.product((UNK, A, B), repeat=length - 1):
            yield (*words, END)
    yield from itertools.product((UNK, A, B), repeat=LENGTH)


def log_prob(step, images, image, sentence):
    """Log-probability of one sentence and its attention, by stepping through it."""
    state, words, total, looks = tf.zeros([images, 1], tf.int32), START, 0.0, []
    allowed = np.array([-1e9, 0, -1e9, 0, 0, 0], np.float32)
    for t, word in enumerate(sentence):
        logits, look, state = step(tf.constant(t), tf.fill([images, 1], words), state)
        total += float((tf.nn.log_softmax(logits)[image, 0] + allowed)[word])
        looks.append(look[image, 0].numpy())
        words = word
    return total, np.array(looks)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_every_sentence_finds_the_best(seed, penalty):
    images = 2
    step = make_model(seed, images)
    found = search(step, images, width=150, penalty=penalty)
    for image in range(images):
        scored = {s: log_prob(step, images, image, s)[0] / len(s) ** penalty for s in all_sentences()}
        best = max(scored, key=scored.get)
        words = [word for word in best if word != END]
        assert found.tokens[image].numpy().tolist() == words + [PAD] * (LENGTH - len(words))
        assert int(found.length[image]) == len(words)
        total, looks = log_prob(step, images, image, best)
        assert float(found.score[image]) == pytest.approx(total / len(best), abs=1e-4)
        np.testing.assert_allclose(found.attention[image, : len(words)], looks[: len(words)], atol=1e-6)
        assert not found.attention[image, len(words) :].numpy().any()


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy(seed):
    step = make_model(seed, 1)
    state, word, words = tf.zeros([1, 1], tf.int32), START, []
    for t in range(LENGTH):
        logits, _, state = step(tf.constant(t), tf.fill([1, 1], word), state)
        word = max((UNK, END, A, B), key=lambda w: float(logits[0, 0, w]))
        if word == END:
            break
        words.append(word)
    assert search(step, 1, 1).tokens[0].numpy().tolist() == words + [PAD] * (LENGTH - len(words))


@pytest.mark.parametrize("width", [2, 3])
def test_images_do_not_touch_each_other(width):
    together = search(make_model(9, 3), 3, width)
    step = make_model(9, 3)

    def alone(image):
        def one(t, words, state):
            padded = [tf.zeros_like(words)] * image, [tf.zeros_like(words)] * (2 - image)
            logits, looks, new = step(t, tf.concat([*padded[0], words, *padded[1]], 0), tf.repeat(state, 3, 0))
            return tuple(x[image : image + 1] for x in (logits, looks, new))

        return search(one, 1, width)

    for image in range(3):
        assert together.tokens[image].numpy().tolist() == alone(image).tokens[0].numpy().tolist()


def test_an_empty_batch_gives_empty_answers():
    def step(t, words, state):
        return tf.zeros([tf.shape(words)[0], 2, WORDS]), tf.zeros([tf.shape(words)[0], 2, PLACES]), state

    found = search(step, 0, 2)
    assert found.tokens.shape == (0, LENGTH)
    assert found.attention.shape == (0, LENGTH, PLACES)


def test_the_search_stops_when_all_is_finished():
    calls = []

    def step(t, words, state):
        calls.append(int(t))
        logits = tf.one_hot(tf.fill([1, 1], END), WORDS) * 50
        return logits, tf.fill([1, 1, PLACES], 1 / PLACES), state

    found = search(step, 1, 1, length=20)
    assert calls == [0]
    assert int(found.length[0]) == 0


def test_it_runs_in_a_graph_with_an_unknown_batch():
    step = make_model(2, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32)])
    def graph(state):
        return beam_search(
            step, state, batch=tf.shape(state)[0], places=PLACES, beam_width=2, max_length=LENGTH, start=START, end=END
        )

    expected = search(step, 2, 2)
    assert graph(tf.zeros([2, 2], tf.int32)).length.shape == (2,)
    assert expected.tokens.shape == (2, LENGTH)
