"""What a small network gave each word, against the same worked out word by word and by differences."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.explain.attribution import Attributor, LayerReader
from tests.network import PIXELS, build_captioner

TOKENS = np.array([5, 6, 7, 9], np.int32)


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "with retrieval"])
def captioner(request):
    return build_captioner(request.param)


@pytest.fixture(scope="module")
def attributor(captioner):
    return Attributor(captioner, folded=False)


def scored(captioner, pixels, tokens=TOKENS):
    model = captioner.model
    return model.score(model.encode(tf.constant(pixels)), tf.constant([tokens] * len(pixels)))


def test_attention_and_shares_of_retrieval_are_those_of_the_network(captioner, attributor):
    maps, expected = attributor.words(PIXELS[0], TOKENS), scored(captioner, PIXELS[:1])
    np.testing.assert_allclose(maps.attention, expected.attention[0], atol=1e-6)
    np.testing.assert_allclose(maps.attention.sum((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(maps.retrieval_share, expected.retrieval_share[0], atol=1e-6)
    assert maps.retrieval_share.any() == (captioner.model.retriever is not None)


def test_attention_of_a_given_caption_is_that_of_the_search_that_found_it(captioner):
    attributor = Attributor(captioner)
    captions = [caption for caption in captioner.caption(list(PIXELS)) if caption.words]
    assert captions
    for caption in captions:
        maps = attributor.words(captioner.prepare(caption.image), caption.tokens)
        np.testing.assert_allclose(maps.attention, caption.attention, atol=1e-4)


def test_grad_cam_is_that_of_each_word_by_itself(captioner, attributor):
    model = captioner.model
    seen = model.see(PIXELS[:1])
    regions = seen.regions
    maps = attributor.words(PIXELS[0], TOKENS).grad_cam
    for word in range(len(TOKENS)):
        with tf.GradientTape() as tape:
            tape.watch(regions)
            own = model.score(model.encode_seen(seen), tf.constant([TOKENS])).log_probs[0, word]
        weights = tape.gradient(own, regions).numpy().mean((1, 2), keepdims=True)
        expected = np.maximum((weights * regions.numpy()).sum(-1)[0], 0)
        np.testing.assert_allclose(maps[word], expected / max(expected.sum(), 1e-12), atol=1e-5)


def test_log_probabilities_of_one_caption_under_several_images(captioner, attributor):
    found = attributor.word_log_probs(PIXELS, TOKENS)
    np.testing.assert_allclose(found, scored(captioner, PIXELS).log_probs, atol=1e-5)
    assert found.shape == (3, 4) and (found < 0).all()


def test_captions_of_any_length_share_the_graphs(attributor):
    short = attributor.words(PIXELS[0], TOKENS[:2])
    whole = attributor.words(PIXELS[0], TOKENS)
    assert attributor._words.experimental_get_tracing_count() == 1
    # A word is not changed by those after it.
    np.testing.assert_allclose(short.attention, whole.attention[:2], atol=1e-6)
    np.testing.assert_allclose(short.grad_cam, whole.grad_cam[:2], atol=1e-5)


def test_the_folded_encoder_explains_the_same(captioner, attributor):
    folded, whole = (a.words(PIXELS[1], TOKENS) for a in (Attributor(captioner), attributor))
    np.testing.assert_allclose(folded.attention, whole.attention, atol=1e-4)
    np.testing.assert_allclose(folded.grad_cam, whole.grad_cam, atol=1e-3)


def test_what_a_word_gives_a_concept_is_the_slope_along_its_embedding(captioner, attributor):
    semantic, step = captioner.model.semantic, 1e-2
    found = attributor.concept_contributions(TOKENS, ["C3", "C1"])
    assert found.shape == (2, 4)
    words = tf.constant([TOKENS])
    embedded = semantic.embed(words)
    for place in range(len(TOKENS)):
        grown = tf.one_hot(place, len(TOKENS))[None, :, None] * embedded * step
        up, down = (semantic.from_embedded([words, embedded + s * grown])["concept_logits"][0] for s in (1, -1))
        slope = ((up - down) / (2 * step)).numpy()
        np.testing.assert_allclose(found[:, place], slope[[2, 0]], atol=2e-3)


def test_concepts_of_texts_are_those_of_the_semantic_encoder(captioner, attributor):
    scores, importance = attributor.predict_concepts(TOKENS[None])
    reading = captioner.model.read(tf.constant([TOKENS]))
    np.testing.assert_array_equal(scores, reading.concept_scores)
    np.testing.assert_allclose(importance.sum(1), 1, atol=1e-5)


def test_layers_are_read_by_their_names(captioner):
    layers = LayerReader(captioner, ["conv1_relu", "conv2_block1_out"]).read(PIXELS[0])
    assert {name: value.shape[:2] for name, value in layers.items()} == {
        "conv1_relu": (16, 16), "conv2_block1_out": captioner.model.grid,
    }  # fmt: skip
    np.testing.assert_array_equal(
        layers["conv2_block1_out"], captioner.model.encode(tf.constant(PIXELS[:1])).regions[0]
    )
    assert LayerReader(captioner, []).read(PIXELS[0]) == {}
    with pytest.raises(InputError, match="no layer 'conv9'"):
        LayerReader(captioner, ["conv9"])
