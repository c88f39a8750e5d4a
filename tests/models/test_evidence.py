"""Words' evidence: what places, image and words gave adds up to the logit, and a place that is changed changes its part
alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.models.captioning import shift_right
from medcap_tf.models.concept_head import ConceptShares, concept_centers, concept_shares
from medcap_tf.models.evidence import _spreading
from medcap_tf.models.evidence_decoder import ConceptPlaces
from medcap_tf.models.visual import pack, packed_size
from tests.network import PIXELS, build_network

TOKENS = np.array([[5, 6, 7, 0], [8, 5, 0, 0], [4, 4, 9, 5]], np.int32)
GRIDS = pytest.mark.parametrize("grid", [0, 8], ids=["regions", "finer grid"])


def scored(model, tokens=TOKENS):
    encoded = model.encode(tf.constant(PIXELS))
    logits = model.teacher_forced(encoded.seen, shift_right(tf.constant(tokens)))["logits"].numpy()
    return logits, model.score(encoded, tf.constant(tokens)).evidence


@GRIDS
def test_the_parts_add_up_to_the_logit(grid):
    model, _ = build_network(decoder__output="sum", visual__grid=grid)
    logits, evidence = scored(model)
    own = np.take_along_axis(logits - logits.mean(-1, keepdims=True), TOKENS[..., None], -1)[..., 0]
    parts = evidence.maps.numpy().sum((2, 3)) + evidence.whole + evidence.words
    np.testing.assert_allclose(parts, own * (TOKENS != 0), rtol=1e-4, atol=1e-4)
    assert evidence.maps.shape[2:] == model.finest_grid
    assert np.abs(evidence.maps).max() > 0


def test_a_word_of_the_first_step_owes_nothing_to_the_image_but_its_evidence():
    model, _ = build_network(decoder__output="sum")
    _, evidence = scored(model)
    words = evidence.words.numpy()
    assert words[0, 1] != words[1, 1]  # after other words
    same = scored(model, np.tile(TOKENS[:1], (3, 1)))[1].words.numpy()
    np.testing.assert_allclose(same, np.tile(same[:1], (3, 1)), atol=1e-6)  # under three images


def test_the_deep_decoder_has_none():
    model, _ = build_network()
    assert scored(model)[1] is None


def test_images_of_a_cache_have_maps_where_no_finer_grid_is_needed():
    for grid, has in ((0, True), (8, False)):
        model, _ = build_network(decoder__output="sum", visual__grid=grid)
        seen = model.unpack(pack(model.see(PIXELS)))
        assert model.has_evidence(seen) == has
        assert (model.score(model.encode_seen(seen), tf.constant(TOKENS)).evidence is not None) == has


@GRIDS
def test_what_is_packed_comes_back(grid):
    model, _ = build_network(visual__grid=grid)
    seen = model.see(PIXELS)
    packed = pack(seen)
    assert packed.shape == (3, packed_size(model.encoder, model.head))
    back = model.unpack(packed)
    np.testing.assert_array_equal(back.regions, seen.regions)
    np.testing.assert_array_equal(back.concept_logits, seen.concept_logits)
    assert (back.concept_centers is None) == (grid == 0)
    if grid:
        np.testing.assert_array_equal(back.concept_centers, seen.concept_centers)


@GRIDS
def test_shares_of_a_concept_are_of_what_speaks_for_it(grid):
    model, _ = build_network(visual__grid=grid)
    seen = model.see(PIXELS)
    shares = concept_shares(model.head, seen.regions, seen.fine)
    total = shares.whole + tf.reduce_sum(shares.places, [1, 2])
    np.testing.assert_allclose(total[np.asarray(total) > 0], 1, rtol=1e-5)
    assert (shares.places.numpy() >= 0).all() and (shares.whole.numpy() >= 0).all()


def test_a_logit_is_the_sum_of_its_parts():
    model, _ = build_network(visual__grid=8)
    seen = model.see(PIXELS)
    whole, places = model.head.get_layer("concept_logits").parts([seen.regions, seen.fine])
    np.testing.assert_allclose(whole + tf.reduce_sum(places, [1, 2]), seen.concept_logits, atol=1e-5)


def test_concepts_that_are_not_seen_have_no_value():
    places = ConceptPlaces(3, 2, 4)
    keys, values, which = places(tf.constant([[0.0, 0.5, 1.0]]))
    assert which.numpy().tolist() == [[2, 1, 0]]
    np.testing.assert_array_equal(values[0, 2], np.zeros(4))
    np.testing.assert_allclose(values[0, 1], 0.5 * places.value[1])
    np.testing.assert_allclose(keys[0, 0], places.key_bias[2] + places.key[2])


def test_a_concept_is_at_the_center_of_its_places():
    places = np.zeros((1, 4, 4, 3), np.float32)
    places[0, 0, 3, 0] = 0.2  # the corner above to the right, whatever its share
    places[0, 1, 0, 1], places[0, 1, 1, 1] = 0.75, 0.25
    centers = concept_centers(ConceptShares(tf.zeros([1, 3]), tf.constant(places))).numpy()
    np.testing.assert_allclose(centers, [[[0.75, -0.75], [-0.625, -0.25], [0, 0]]])


def test_where_a_concept_is_speaks_as_much_as_the_concept_is_seen():
    places = ConceptPlaces(2, 2, 4, with_centers=True)
    scores = tf.constant([[0.5, 0.25]])
    left, right = (tf.constant([[[x, 0.0], [x, 0.0]]]) for x in (-0.5, 0.5))
    one, two = places(scores, left)[1].numpy(), places(scores, right)[1].numpy()
    hidden = np.tanh(0.5 * places.center_kernel.numpy()[0])
    np.testing.assert_allclose(
        two - one, np.array([[[0.5], [0.25]]]) * 2 * (hidden @ places.center_value.numpy()), atol=1e-6
    )
    assert not np.array_equal(one, two)
    assert not places(tf.zeros([1, 2]), right)[1].numpy().any()


def test_the_decoder_is_told_where_concepts_are_with_a_finer_grid_alone():
    for grid, inputs in ((0, ["regions", "concept_scores"]), (8, ["regions", "concept_scores", "concept_centers"])):
        model, _ = build_network(decoder__output="sum", visual__grid=grid)
        assert [spec.name for spec in model.decoder.begin.inputs] == inputs


@pytest.mark.parametrize(("size", "finer"), [(1, 4), (2, 8), (7, 28), (4, 28), (3, 8)])
def test_spreading_keeps_each_places_sum(size, finer):
    weights = _spreading(size, finer)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)
    assert weights.shape == (finer, size) and (weights >= 0).all()


def test_the_folded_encoder_gives_the_same_evidence():
    model, _ = build_network(decoder__output="sum", visual__grid=8)
    one, two = (scored(m)[1] for m in (model, model.with_folded_encoder()))
    np.testing.assert_allclose(one.maps, two.maps, rtol=1e-3, atol=1e-3)


def test_a_search_over_beams_agrees_with_the_teacher():
    model, config = build_network(decoder__output="sum")
    encoded = model.encode(tf.constant(PIXELS))
    options = dataclasses.replace(config.decoding, beam_width=3)
    generated = model.generate(encoded, options)
    attention = model.score(encoded, generated.tokens).attention.numpy()
    for row, length in enumerate(generated.length.numpy()):
        own = attention[row, :length].reshape(length, -1)
        np.testing.assert_allclose(own, generated.attention.numpy()[row, :length], atol=1e-5)
