"""The reader of words never looks ahead, and its step form is the same reader."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.config import SemanticConfig
from medcap_tf.models.semantic import EmptySafeGRU, build_semantic

CONFIG = SemanticConfig(embedding_size=8, units=10, attention_units=6, output="sum")
WORDS = np.array([[4, 5, 6, 7, 8], [9, 8, 7, 0, 0]], np.int32)


@pytest.fixture(scope="module", params=["sum", "deep"])
def semantic(request):
    tf.keras.utils.set_random_seed(1)
    return build_semantic(dataclasses.replace(CONFIG, output=request.param), vocabulary=12, concepts=5)


@pytest.mark.parametrize("changed", range(1, 5))
def test_future_words_change_nothing_before_them(semantic, changed):
    before = semantic.reader(WORDS)
    other = WORDS.copy()
    other[0, changed:] = 11
    after = semantic.reader(other)
    np.testing.assert_array_equal(before["encoding"][0, :changed], after["encoding"][0, :changed])
    assert np.abs(before["encoding"][0, changed] - after["encoding"][0, changed]).max() > 1e-4


def test_weights_are_causal_and_sum_to_one(semantic):
    weights = semantic.reader(WORDS)["weights"].numpy()
    assert not np.triu(weights[0], 1).any()
    np.testing.assert_allclose(weights[0].sum(-1), 1, rtol=1e-5)


def test_the_classifier_reads_the_last_word(semantic):
    read, classified = semantic.reader(WORDS), semantic.classifier(WORDS)
    if semantic.embed.output_shape[-1] == CONFIG.embedding_size:  # deep
        np.testing.assert_allclose(classified["word_importance"][1], read["weights"][1, 2], rtol=1e-6)
    short = semantic.classifier(WORDS[1:, :3])
    np.testing.assert_allclose(classified["concept_logits"][1], short["concept_logits"][0], rtol=1e-5)
    assert not classified["word_importance"][1, 3:].numpy().any()


def test_a_logit_is_a_sum_over_words():
    tf.keras.utils.set_random_seed(2)
    semantic = build_semantic(CONFIG, vocabulary=12, concepts=5)
    logits = semantic.classifier(WORDS)["concept_logits"].numpy()
    values, weights = semantic.embed(WORDS).numpy(), semantic.reader(WORDS)["weights"].numpy()
    kernel = semantic.classifier.get_layer("word_concept_logits").kernel.numpy()
    for row, last in ((0, 4), (1, 2)):
        given = (last + 1) * weights[row, last][:, None] * (values[row] @ kernel)  # the bias is zero at first
        np.testing.assert_allclose(given.sum(0), logits[row], atol=1e-6)
        spoken = (np.maximum(given, 0) / (1 + np.exp(-logits[row]))).sum(1)
        importance = semantic.classifier(WORDS)["word_importance"][row]
        np.testing.assert_allclose(importance, spoken / spoken.sum(), rtol=1e-4)


def test_an_empty_caption_has_no_weights(semantic):
    found = semantic.classifier(np.zeros((1, 3), np.int32))
    assert not found["word_importance"].numpy().any()
    assert np.isfinite(found["concept_logits"]).all()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (2, 3)])
def test_no_caption_and_no_word_can_be_read(semantic, shape):
    words = tf.ones(shape, tf.int32)
    read, classified, prefix = semantic.reader(words), semantic.classifier(words), semantic.prefix_encodings(words)
    assert read["encoding"].shape == (*shape, 10)
    assert read["weights"].shape == (*shape, shape[1])
    assert classified["concept_logits"].shape == (shape[0], 5)
    assert classified["word_importance"].shape == shape
    assert prefix.shape == semantic.prefix_encodings(words, whole=True).shape == (shape[0], shape[1] + 1, 10)
    # No word at all is what padding alone is.
    padding = semantic.classifier(tf.zeros([shape[0], 1], tf.int32))["concept_logits"]
    if not shape[1]:
        np.testing.assert_array_equal(classified["concept_logits"], padding)


def test_the_gru_is_that_of_keras():
    sequences = tf.random.stateless_normal([2, 4, 3], seed=[1, 2])
    ours, theirs = EmptySafeGRU(5, return_sequences=True), tf.keras.layers.GRU(5, return_sequences=True)
    theirs(sequences)
    ours(sequences)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(sequences), theirs(sequences), rtol=1e-6)


def test_one_step_at_a_time_is_the_same_reading(semantic):
    read = semantic.reader(WORDS)["encoding"]
    cache = semantic.initial_cache(2, 1, 7)
    for place in range(-1, 5):
        words = WORDS[:, max(place, 0), None]  # at the first step `<start>`, which is not read
        encoding, cache = semantic.advance(tf.constant(place + 1), tf.constant(words), cache)
        rows = [0] if place > 2 else [0, 1]  # after its end a caption has nothing to compare
        for row in rows:
            expected = read[row, place] if place >= 0 else np.zeros(10)
            np.testing.assert_allclose(encoding[row, 0], expected, atol=1e-6)


def test_prefix_encodings_are_those_before_each_step(semantic):
    read = semantic.reader(WORDS)["encoding"]
    prefix = semantic.prefix_encodings(tf.constant(WORDS))
    assert prefix.shape == (2, 6, 10)
    assert not prefix[:, 0].numpy().any()
    np.testing.assert_array_equal(prefix[:, 1:], read)


def test_an_oracle_reads_the_whole_caption_at_every_step(semantic):
    read = semantic.reader(WORDS)["encoding"]
    whole = semantic.prefix_encodings(tf.constant(WORDS), whole=True)
    for step in range(6):
        np.testing.assert_array_equal(whole[:, step], np.stack([read[0, 4], read[1, 2]]))


def test_no_word_at_all_has_the_encoding_of_nothing(semantic):
    assert not semantic.prefix_encodings(tf.zeros([3, 0], tf.int32)).numpy().any()
