"""Beam search against brute force over every sentence of a tiny vocabulary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.decoding import beam_search
from medcap_tf.models.retrieval import interpolate

PAD, UNK, START, END, A, B = range(6)
WORDS = 6
LENGTH = 4
REGIONS = 3


def make_model(seed, images):
    """A model whose logits and attention depend on the whole sentence so far, through a hash that is its state."""
    rng = np.random.default_rng(seed)
    table = tf.constant(rng.normal(size=(images, 64, WORDS)), tf.float32) * 2
    looks = tf.nn.softmax(tf.constant(rng.normal(size=(images, 64, REGIONS)), tf.float32))

    def step(t, words, state):
        state = (state * 7 + words + t) % 64
        return tf.gather(table, state, batch_dims=1), tf.gather(looks, state, batch_dims=1), state

    return step


def search(step, images, width, penalty=1.0, length=LENGTH, no_repeat_ngram=0, seed=None):
    return beam_search(
        step,
        tf.zeros([images, width], tf.int32),
        batch=tf.constant(images),
        num_regions=REGIONS,
        beam_width=width,
        max_length=length,
        start=START,
        end=END,
        forbidden=(PAD, START),
        pad=PAD,
        length_penalty=penalty,
        no_repeat_ngram=no_repeat_ngram,
        seed=seed,
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
        return tf.zeros([tf.shape(words)[0], 2, WORDS]), tf.zeros([tf.shape(words)[0], 2, REGIONS]), state

    found = search(step, 0, 2)
    assert found.tokens.shape == (0, LENGTH)
    assert found.attention.shape == (0, LENGTH, REGIONS)


def test_the_search_stops_when_all_is_finished():
    calls = []

    def step(t, words, state):
        calls.append(int(t))
        logits = tf.one_hot(tf.fill([1, 1], END), WORDS) * 50
        return logits, tf.fill([1, 1, REGIONS], 1 / REGIONS), state

    found = search(step, 1, 1, length=20)
    assert calls == [0]
    assert int(found.length[0]) == 0


def test_it_runs_in_a_graph_with_an_unknown_batch():
    step = make_model(2, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32)])
    def graph(state):
        return beam_search(
            step,
            state,
            batch=tf.shape(state)[0],
            num_regions=REGIONS,
            beam_width=2,
            max_length=LENGTH,
            start=START,
            end=END,
            forbidden=(PAD, START),
        )

    assert (graph(tf.zeros([2, 2], tf.int32)).tokens.numpy() == search(step, 2, 2).tokens.numpy()).all()


def repeats(words, n):
    """Whether a sequence of n words occurs twice."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(grams) > len(set(grams))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_without_repeats_the_best_of_the_sentences_left_is_found(seed, n):
    images = 2
    step = make_model(seed, images)
    found = search(step, images, width=150, no_repeat_ngram=n)
    for image in range(images):
        left = [sentence for sentence in all_sentences() if not repeats(sentence, n)]
        scored = {sentence: log_prob(step, images, image, sentence)[0] / len(sentence) for sentence in left}
        best = max(scored, key=scored.get)
        words = [word for word in best if word != END]
        assert found.tokens[image].numpy().tolist() == words + [PAD] * (LENGTH - len(words))
        # Nothing is renormalized: the score is the model's own log-probability.
        assert float(found.score[image]) == pytest.approx(scored[best], abs=1e-4)


def always(*logits):
    """A model that prefers the same words at every step, whatever was written."""

    def step(t, words, state):
        shape = [*words.shape.as_list(), len(logits)]
        return tf.broadcast_to(tf.constant(logits), shape), tf.fill([*shape[:2], REGIONS], 1 / REGIONS), state

    return step


# A before B before UNK before END, by hand: the first word in this order that completes no sequence for a second time.
@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, [A, A, A, A, A, A, A, A, A, A]),
        (1, [A, B, UNK, PAD, PAD, PAD, PAD, PAD, PAD, PAD]),
        (2, [A, A, B, A, UNK, A, PAD, PAD, PAD, PAD]),
        (3, [A, A, A, B, A, A, UNK, A, A, PAD]),
        (9, [A, A, A, A, A, A, A, A, A, B]),
        (10, [A, A, A, A, A, A, A, A, A, A]),
        (99, [A, A, A, A, A, A, A, A, A, A]),
    ],
)
def test_a_greedy_sentence_without_repeats_by_hand(n, words):
    found = search(always(-9.0, 1.0, -9.0, 0.0, 3.0, 2.0), 1, 1, length=10, no_repeat_ngram=n)
    assert found.tokens[0].numpy().tolist() == words


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_beam_repeats_and_finished_ones_stay_as_they_are(width, n):
    # One image ends at once, beside another that goes on: padding is no word that repeats.
    table = tf.constant([[-9.0, 0.0, -9.0, 50.0, 1.0, 1.0], [-9.0, 1.0, -9.0, -20.0, 3.0, 2.0]])

    def step(t, words, state):
        logits = tf.repeat(table[:, None], width, axis=1)
        return logits, tf.fill([2, width, REGIONS], 1 / REGIONS), state

    found = search(step, 2, width, length=12, no_repeat_ngram=n)
    assert found.tokens[0].numpy().tolist() == [PAD] * 12
    assert float(found.score[0]) == pytest.approx(0, abs=1e-4)
    words = found.tokens[1].numpy()[: int(found.length[1])].tolist()
    assert words and not repeats(words, n)
    assert float(found.score[1]) > -50


def test_what_neighbors_copy_does_not_repeat_either():
    # The captions of similar images say A each time, with nine tenths of the weight; the decoder would say B.
    votes = tf.one_hot([[A]], WORDS) * 0.9
    decoder = tf.math.log([[[1e-9, 0.01, 1e-9, 0.09, 0.1, 0.8]]])

    def step(t, words, state):
        return interpolate(decoder, votes), tf.fill([1, 1, REGIONS], 1 / REGIONS), state

    assert search(step, 1, 1).tokens[0].numpy().tolist() == [A, A, A, A]
    once = search(step, 1, 1, no_repeat_ngram=1)
    assert once.tokens[0].numpy().tolist() == [A, B, PAD, PAD]
    # 0.9 + 0.1 * 0.1, then 0.1 * 0.8, then the end's 0.1 * 0.09; each of the mixture, not of what is left.
    assert float(once.score[0]) == pytest.approx(np.log([0.91, 0.08, 0.009]).mean(), abs=1e-3)
    assert search(step, 1, 1, no_repeat_ngram=2).tokens[0].numpy().tolist() == [A, A, B, A]


@pytest.mark.parametrize("images", [0, 1, 2])
def test_it_runs_without_repeats_in_a_graph_with_an_unknown_batch(images):
    step = make_model(2, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32)])
    def graph(state):
        def some(t, words, state):
            rows = tf.shape(words)[0]
            padded = tf.pad(words, [[0, 2 - rows], [0, 0]]), tf.pad(state, [[0, 2 - rows], [0, 0]])
            return tuple(x[:rows] for x in step(t, *padded))

        return beam_search(
            some, state, batch=tf.shape(state)[0], num_regions=REGIONS, beam_width=2, max_length=LENGTH, start=START,
            end=END, forbidden=(PAD, START), no_repeat_ngram=2,
        )  # fmt: skip

    expected = search(step, 2, 2, no_repeat_ngram=2)
    np.testing.assert_array_equal(graph(tf.zeros([images, 2], tf.int32)).tokens, expected.tokens[:images])


def test_a_seed_draws_sentences_as_often_as_they_are_likely():
    images, model = 4000, make_model(seed=5, images=1)
    allowed = tf.constant([-1e9, 0, -1e9, 0, 0, 0])

    def step(t, words, state):
        logits, attention, after = model(t, words, state)
        return logits + allowed, attention, after

    def of_one_image(t, words, state):
        found = step(t, tf.reshape(words, [1, -1]), tf.reshape(state, [1, -1]))
        return tuple(tf.reshape(x, [images, 1, *x.shape[2:]]) for x in found)

    def drawn(*seed):
        return search(of_one_image, images, 1, seed=tf.constant(seed, tf.int64)).tokens.numpy()

    tokens = drawn(1, 2)
    np.testing.assert_array_equal(tokens, drawn(1, 2))
    assert (tokens != drawn(1, 3)).any()
    total = 0
    for sentence in all_sentences():
        expected = images * np.exp(log_prob(step, 1, 0, sentence)[0])
        words = [word for word in sentence if word != END]
        count = (tokens == words + [PAD] * (LENGTH - len(words))).all(1).sum()
        assert count == pytest.approx(expected, abs=4 * np.sqrt(expected) + 2)
        total += count
    assert total == images
