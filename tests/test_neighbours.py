"""Retrieval: who is near, how much each counts, and what a neighbour says next, on cases known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.library import Library, key_without_image
from medcap_tf.neighbours import Retriever, Strength, first_match, follow, vote, votes_along, with_concepts
from medcap_tf.records import Record
from medcap_tf.text import END, START, UNK, Normalizer, Vocabulary
from medcap_tf.writing import mixed

CAPTIONS = ("chest film shows effusion", "chest scan shows nodule", "brain scan shows rare tumour")
VOCABULARY = Vocabulary.build([*CAPTIONS[:2], "brain scan shows tumour"], Normalizer(stemmer="none"))
RECORDS = [Record(f"i{n}", None, text, codes) for n, (text, codes) in enumerate(zip(CAPTIONS, (("A",), ("B",), ())))]
# Their square roots are (1, 0), (0.6, 0.8) and (0, 1).
FEATURES = np.array([[1, 0], [0.36, 0.64], [0, 1]], np.float16)


def ids(text):
    return VOCABULARY.encode(text)


def found(queries=((2.0, 0.0),), count=2):
    library, strength = Library(RECORDS, FEATURES), Strength(level=0.5, temperature=0.5, concept_threshold=0.5)
    return Retriever(library, VOCABULARY, ["A", "B"], (count, 40), strength).find(tf.constant(queries))


def say(near, *words):
    """The votes after `<start>` and the words, one sentence: {word id: weight}."""
    match = first_match(near, 1)
    for word in (START, *words):
        match = follow(match, tf.constant([[word]]), near)
    votes = vote(match, near, len(VOCABULARY)).numpy()[0, 0]
    return {word: votes[word] for word in np.flatnonzero(votes)}


def test_the_nearest_come_first_and_weigh_by_similarity_against_the_decoder():
    near = found()
    assert near.rows.numpy().tolist() == [[0, 1]]
    # Cosines 1 and 0.6, the decoder stands at 0.5, temperature 0.5.
    strengths = np.exp([2.0, 1.2, 1.0])
    np.testing.assert_allclose(near.weight.numpy()[0], (strengths / strengths.sum())[:2], rtol=1e-3)
    assert near.concepts.numpy().tolist() == [[[1, 0], [0, 1]]]
    assert near.tokens.numpy()[0, 0].tolist()[:6] == [START, *ids(CAPTIONS[0]), END]


def test_an_image_is_no_neighbor_of_itself_where_it_is_left_out_by_content():
    # The first and the third entry are of one file.
    library = Library(RECORDS, FEATURES, ["x", "y", "x"])
    assert library.contents().tolist() == [0, 1, 0]
    assert library.numbers_of(["z", "x", "y", ""]).tolist() == [-1, 0, 1, -1]
    retriever = Retriever(library, VOCABULARY, ["A", "B"], (2, 40), Strength(0.5, 0.5, 0.5))
    near = retriever.find(tf.constant([[2.0, 0.0]] * 3), tf.constant([-1, 0, 1]))
    assert near.rows.numpy()[:, 0].tolist() == [0, 1, 0]
    weights = near.weight.numpy()
    np.testing.assert_allclose(weights[0], found().weight.numpy()[0])
    # Cosine 0.6 against the decoder's 0.5, and nobody else.
    np.testing.assert_allclose(weights[1], [1 / (1 + math.exp(-0.2)), 0], rtol=1e-3)


def test_libraries_without_contents_go_by_id_and_caption():
    library = Library(RECORDS, FEATURES)
    assert library.contents().tolist() == [0, 1, 2]
    others = [RECORDS[1], Record("i1", None, "another caption", ()), Record("other", None, CAPTIONS[1], ())]
    assert library.numbers_of([key_without_image(record) for record in others]).tolist() == [1, -1, -1]


def test_libraries_are_read_as_they_were_written(tmp_path):
    for images in ((), ["x", "y", "x"]):
        Library(RECORDS, FEATURES, images).save(tmp_path)
        again = Library.load(tmp_path)
        assert (again.records, list(again.images)) == (RECORDS, list(images))


def test_more_neighbours_than_training_images_are_all_of_them():
    assert found(count=50).rows.shape == (1, 3)


def test_at_the_start_each_neighbour_says_its_first_word():
    near = found()
    assert say(near) == {ids("chest")[0]: pytest.approx(near.weight.numpy().sum())}


def test_a_neighbour_says_what_follows_the_sentence_so_far_and_nothing_else():
    near = found()
    one, two = near.weight.numpy()[0]
    assert say(near, *ids("chest")) == {ids("film")[0]: pytest.approx(one), ids("scan")[0]: pytest.approx(two)}
    # The first neighbour knows no "scan": its weight is the decoder's.
    assert say(near, *ids("chest scan")) == {ids("shows")[0]: pytest.approx(two)}
    assert say(near, *ids("brain")) == {}
    assert say(near, *ids("chest film shows effusion")) == {END: pytest.approx(one)}


def test_the_longest_run_of_words_decides_where_a_neighbour_reads_on():
    records = [Record("i", None, "left film shows left nodule", ())]
    vocabulary = Vocabulary.build([records[0].caption], Normalizer(stemmer="none"))
    library = Library(records, np.ones((1, 2), np.float16))
    near = Retriever(library, vocabulary, [], (1, 40), Strength(0.5, 0.5, 0.5)).find(tf.ones([1, 2]))
    left, film, shows, nodule = (vocabulary.encode(word)[0] for word in ("left", "film", "shows", "nodule"))

    def next_words(*words):
        match = first_match(near, 1)
        for word in words:
            match = follow(match, tf.constant([[word]]), near)
        return np.flatnonzero(vote(match, near, len(vocabulary)).numpy()[0, 0]).tolist()

    assert next_words(START, left) == [film]
    assert next_words(START, film, shows, left) == [nodule]
    assert sorted(next_words(left)) == sorted([film, nodule])  # a tie: both places


def test_a_caption_that_was_cut_has_no_end():
    library, strength = Library(RECORDS, FEATURES), Strength(0.5, 0.5, 0.5)
    near = Retriever(library, VOCABULARY, [], (1, 2), strength).find(tf.constant([[2.0, 0.0]]))
    assert near.tokens.numpy()[0, 0].tolist() == [START, *ids("chest film shows")]
    assert say(near, *ids("chest film shows")) == {}


def test_an_unknown_word_is_never_said():
    near = found(queries=((0.0, 2.0),), count=1)
    assert near.rows.numpy().tolist() == [[2]]
    assert UNK in near.tokens.numpy()
    assert say(near, *ids("brain scan shows")) == {}


def test_beams_and_images_are_told_apart():
    near = found(queries=((2.0, 0.0), (0.0, 2.0)))
    match = follow(first_match(near, 2), tf.fill([2, 2], START), near)
    words = tf.constant([[ids("chest")[0], ids("film")[0]], [ids("brain")[0], START]])
    votes = vote(follow(match, words, near), near, len(VOCABULARY)).numpy()
    assert votes.shape == (2, 2, len(VOCABULARY))
    assert set(np.flatnonzero(votes[0, 0])) == set(ids("film scan"))
    assert set(np.flatnonzero(votes[0, 1])) == set(ids("shows"))
    assert set(np.flatnonzero(votes[1, 0])) == set(ids("scan"))


def test_the_mixture_is_a_distribution_that_gives_silent_neighbours_weight_to_the_decoder():
    logits = tf.constant([[0.0, 0.0, 0.0, 0.0]])
    log_probs = mixed(logits, tf.constant([[0.0, 0.6, 0.0, 0.0]])).numpy()[0]
    np.testing.assert_allclose(np.exp(log_probs), [0.1, 0.7, 0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(mixed(logits, tf.zeros([1, 4])).numpy()[0], [math.log(0.25)] * 4, rtol=1e-5)


def test_votes_along_a_sentence_are_those_of_each_step():
    near = found(queries=((2.0, 0.0), (0.0, 2.0)))
    inputs = tf.constant([[START, *ids("chest film")], [START, *ids("brain scan")]])
    votes = votes_along(near, inputs, len(VOCABULARY)).numpy()
    match = first_match(near, 1)
    for t in range(3):
        match = follow(match, inputs[:, t : t + 1], near)
        np.testing.assert_array_equal(votes[:, t], vote(match, near, len(VOCABULARY)).numpy()[:, 0])


def test_votes_that_sum_to_a_little_more_than_one_leave_no_gap():
    log_probs = mixed(tf.constant([[3.0, 1.0]]), tf.constant([[1.0000001, 0.0]])).numpy()
    assert np.isfinite(log_probs).all() and log_probs[0, 0] == pytest.approx(0, abs=1e-5)


def test_concepts_are_mixed_by_the_same_weights():
    near = found()
    one, two = near.weight.numpy()[0]
    mixed_scores = with_concepts(tf.constant([[0.5, 0.25]]), near).numpy()[0]
    own = 1 - one - two
    np.testing.assert_allclose(mixed_scores, [0.5 * own + one, 0.25 * own + two], rtol=1e-5)


def test_strength_comes_back_as_it_was_saved(tmp_path):
    assert Strength.load(tmp_path) is None
    strength = Strength(0.99, 0.01, 0.3)
    strength.save(tmp_path)
    assert Strength.load(tmp_path) == strength
    (tmp_path / "neighbours.json").write_text('{"level": 1}')
    with pytest.raises(InputError, match=r"neighbours\.json: cannot be read"):
        Strength.load(tmp_path)
