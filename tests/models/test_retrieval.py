"""Retrieval: who is near, how much each counts, and what a neighbor says next, on cases known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.models.retrieval import (
    RetrievalParameters,
    Retriever,
    copied_from,
    initial_matches,
    interpolate,
    interpolate_concepts,
    next_token_distribution,
    next_token_distributions,
    update_matches,
)
from medcap_tf.text import END, START, UNK, Normalizer, Vocabulary

CAPTIONS = ("chest film shows effusion", "chest scan shows nodule", "brain scan shows rare tumor")
VOCABULARY = Vocabulary.build([*CAPTIONS[:2], "brain scan shows tumor"], Normalizer(stemmer="none"))
RECORDS = [Record(f"i{n}", None, text, codes) for n, (text, codes) in enumerate(zip(CAPTIONS, (("A",), ("B",), ())))]
# Their square roots are (1, 0), (0.6, 0.8) and (0, 1).
FEATURES = np.array([[1, 0], [0.36, 0.64], [0, 1]], np.float16)


def ids(text):
    return VOCABULARY.encode(text)


def retrieved(queries=((2.0, 0.0),), count=2):
    return retriever(Datastore(RECORDS, FEATURES), VOCABULARY, ["A", "B"], count).retrieve(tf.constant(queries))


def retriever(datastore, vocabulary, concepts, count, max_words=40):
    """Equal weights at a cosine of 0.5."""
    parameters = RetrievalParameters(decoder_similarity=0.5, temperature=0.5, concept_threshold=0.5)
    encoded = datastore.encode(vocabulary, concepts, max_words)
    return Retriever(datastore.features, *encoded, len(concepts), datastore.contents(), count, parameters)


def proposals(neighbors, *words):
    """The votes after `<start>` and the words, one sentence: {word id: weight}."""
    match = initial_matches(neighbors, 1)
    for word in (START, *words):
        match = update_matches(match, tf.constant([[word]]), neighbors)
    votes = next_token_distribution(match, neighbors, len(VOCABULARY)).numpy()[0, 0]
    return {word: votes[word] for word in np.flatnonzero(votes)}


def test_the_nearest_come_first_and_weigh_by_similarity_against_the_decoder():
    neighbors = retrieved()
    assert neighbors.rows.numpy().tolist() == [[0, 1]]
    # Cosines 1 and 0.6, the decoder stands at 0.5, temperature 0.5.
    strengths = np.exp([2.0, 1.2, 1.0])
    np.testing.assert_allclose(neighbors.weight.numpy()[0], (strengths / strengths.sum())[:2], rtol=1e-3)
    assert neighbors.concepts.numpy().tolist() == [[[1, 0], [0, 1]]]
    assert neighbors.tokens.numpy()[0, 0].tolist()[:6] == [START, *ids(CAPTIONS[0]), END]


def test_an_image_is_no_neighbor_of_itself_where_it_is_left_out_by_content():
    # The first and the third entry are of one file.
    datastore = Datastore(RECORDS, FEATURES, ["x", "y", "x"])
    assert datastore.contents().tolist() == [0, 1, 0]
    assert datastore.numbers_of(["z", "x", "y", ""]).tolist() == [-1, 0, 1, -1]
    neighbors = retriever(datastore, VOCABULARY, ["A", "B"], 2).retrieve(
        tf.constant([[2.0, 0.0]] * 3), tf.constant([-1, 0, 1])
    )
    assert neighbors.rows.numpy()[:, 0].tolist() == [0, 1, 0]
    weights = neighbors.weight.numpy()
    np.testing.assert_allclose(weights[0], retrieved().weight.numpy()[0])
    # Cosine 0.6 against the decoder's 0.5, and nobody else.
    np.testing.assert_allclose(weights[1], [1 / (1 + math.exp(-0.2)), 0], rtol=1e-3)


def test_more_neighbors_than_training_images_are_all_of_them():
    assert retrieved(count=50).rows.shape == (1, 3)


def test_at_the_start_each_neighbor_says_its_first_word():
    neighbors = retrieved()
    assert proposals(neighbors) == {ids("chest")[0]: pytest.approx(neighbors.weight.numpy().sum())}


def test_a_neighbor_says_what_follows_the_sentence_so_far_and_nothing_else():
    neighbors = retrieved()
    one, two = neighbors.weight.numpy()[0]
    assert proposals(neighbors, *ids("chest")) == {
        ids("film")[0]: pytest.approx(one),
        ids("scan")[0]: pytest.approx(two),
    }
    # The first neighbor knows no "scan": its weight is the decoder's.
    assert proposals(neighbors, *ids("chest scan")) == {ids("shows")[0]: pytest.approx(two)}
    assert proposals(neighbors, *ids("brain")) == {}
    assert proposals(neighbors, *ids("chest film shows effusion")) == {END: pytest.approx(one)}


def test_the_longest_run_of_words_decides_where_a_neighbor_reads_on():
    records = [Record("i", None, "left film shows left nodule", ())]
    vocabulary = Vocabulary.build([records[0].caption], Normalizer(stemmer="none"))
    neighbors = retriever(Datastore(records, np.ones((1, 2), np.float16)), vocabulary, [], 1).retrieve(tf.ones([1, 2]))
    left, film, shows, nodule = (vocabulary.encode(word)[0] for word in ("left", "film", "shows", "nodule"))

    def next_words(*words):
        match = initial_matches(neighbors, 1)
        for word in words:
            match = update_matches(match, tf.constant([[word]]), neighbors)
        return np.flatnonzero(next_token_distribution(match, neighbors, len(vocabulary)).numpy()[0, 0]).tolist()

    assert next_words(START, left) == [film]
    assert next_words(START, film, shows, left) == [nodule]
    assert sorted(next_words(left)) == sorted([film, nodule])  # a tie: both places


def test_a_caption_that_was_cut_has_no_end():
    cut = retriever(Datastore(RECORDS, FEATURES), VOCABULARY, [], 1, max_words=2)
    neighbors = cut.retrieve(tf.constant([[2.0, 0.0]]))
    assert neighbors.tokens.numpy()[0, 0].tolist() == [START, *ids("chest film shows")]
    assert proposals(neighbors, *ids("chest film shows")) == {}


def test_an_unknown_word_is_never_said():
    neighbors = retrieved(queries=((0.0, 2.0),), count=1)
    assert neighbors.rows.numpy().tolist() == [[2]]
    assert UNK in neighbors.tokens.numpy()
    assert proposals(neighbors, *ids("brain scan shows")) == {}


def test_beams_and_images_are_told_apart():
    neighbors = retrieved(queries=((2.0, 0.0), (0.0, 2.0)))
    match = update_matches(initial_matches(neighbors, 2), tf.fill([2, 2], START), neighbors)
    words = tf.constant([[ids("chest")[0], ids("film")[0]], [ids("brain")[0], START]])
    votes = next_token_distribution(update_matches(match, words, neighbors), neighbors, len(VOCABULARY)).numpy()
    assert votes.shape == (2, 2, len(VOCABULARY))
    assert set(np.flatnonzero(votes[0, 0])) == set(ids("film scan"))
    assert set(np.flatnonzero(votes[0, 1])) == set(ids("shows"))
    assert set(np.flatnonzero(votes[1, 0])) == set(ids("scan"))


def test_the_mixture_is_a_distribution_that_gives_silent_neighbors_weight_to_the_decoder():
    logits = tf.constant([[0.0, 0.0, 0.0, 0.0]])
    log_probs = interpolate(logits, tf.constant([[0.0, 0.6, 0.0, 0.0]])).numpy()[0]
    np.testing.assert_allclose(np.exp(log_probs), [0.1, 0.7, 0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(interpolate(logits, tf.zeros([1, 4])).numpy()[0], [math.log(0.25)] * 4, rtol=1e-5)


def test_votes_along_a_sentence_are_those_of_each_step():
    neighbors = retrieved(queries=((2.0, 0.0), (0.0, 2.0)))
    inputs = tf.constant([[START, *ids("chest film")], [START, *ids("brain scan")]])
    votes = next_token_distributions(neighbors, inputs, len(VOCABULARY)).numpy()
    match = initial_matches(neighbors, 1)
    for t in range(3):
        match = update_matches(match, inputs[:, t : t + 1], neighbors)
        np.testing.assert_array_equal(
            votes[:, t], next_token_distribution(match, neighbors, len(VOCABULARY)).numpy()[:, 0]
        )


def test_copied_words_come_from_their_places_in_the_neighbors_captions():
    neighbors = retrieved()
    words = np.array([ids("chest scan shows effusion")], np.int32)
    inputs = np.concatenate([[[START]], words[:, :-1]], 1, dtype=np.int32)
    copied = copied_from(neighbors, inputs, words).numpy()[0]
    # Caption 0 is "<start> chest film shows effusion", caption 1 "<start> chest scan shows nodule".
    first, second = neighbors.weight.numpy()[0]
    expected = np.zeros_like(copied)
    expected[0, 0, 1], expected[0, 1, 1] = first, second  # both begin with "chest"
    expected[1, 1, 2] = second  # "scan" stands in the second alone
    expected[2, 1, 3] = second  # the first has not said "scan"
    expected[3, 0, 4] = first  # after "shows"; the second reads on to "nodule"
    np.testing.assert_allclose(copied, expected, atol=1e-6)
    votes = next_token_distributions(neighbors, inputs, len(VOCABULARY)).numpy()[0]
    np.testing.assert_allclose(copied.sum((1, 2)), votes[range(4), words[0]], atol=1e-6)


def test_votes_that_sum_to_a_little_more_than_one_leave_no_gap():
    log_probs = interpolate(tf.constant([[3.0, 1.0]]), tf.constant([[1.0000001, 0.0]])).numpy()
    assert np.isfinite(log_probs).all() and log_probs[0, 0] == pytest.approx(0, abs=1e-5)


def test_concepts_are_mixed_by_the_same_weights():
    neighbors = retrieved()
    one, two = neighbors.weight.numpy()[0]
    mixed_scores = interpolate_concepts(tf.constant([[0.5, 0.25]]), neighbors).numpy()[0]
    own = 1 - one - two
    np.testing.assert_allclose(mixed_scores, [0.5 * own + one, 0.25 * own + two], rtol=1e-5)
