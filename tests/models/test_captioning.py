"""The one network: its four verbs agree with each other, and it comes back from its configuration."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.config import Config
from medcap_tf.errors import InputError
from medcap_tf.models.captioning import CaptioningModel, shift_right
from medcap_tf.text import END, START
from tests.network import CONCEPTS, PIXELS, SETTINGS, VOCABULARY, build_network


@pytest.mark.parametrize("retrieval", [False, True], ids=["alone", "with retrieval"])
@pytest.mark.parametrize("source", ["prefix", "none"])
@pytest.mark.parametrize("output", ["sum", "deep"])
def test_scores_of_a_generated_caption_are_those_of_its_search(retrieval, source, output):
    model, config = build_network(retrieval, decoder__semantic_source=source, decoder__output=output)
    encoded = model.encode(tf.constant(PIXELS))
    generated = model.generate(encoded, config.decoding)
    tokens = generated.tokens.numpy()
    for row, length in enumerate(generated.length.numpy()):
        if length < tokens.shape[1]:
            tokens[row, length] = END
    scored = model.score(encoded, tf.constant(tokens))
    count = (tokens != 0).sum(1)
    np.testing.assert_allclose(scored.log_probs.numpy().sum(1) / count, generated.score, atol=1e-4)
    attention = scored.attention.numpy().reshape(*tokens.shape, -1)
    spoken = np.arange(tokens.shape[1]) < generated.length.numpy()[:, None]
    np.testing.assert_allclose(attention[spoken], generated.attention.numpy()[spoken], atol=1e-5)
    assert retrieval or not scored.retrieval_share.numpy().any()
    assert not scored.log_probs.numpy()[tokens == 0].any()


def test_the_share_of_retrieval_is_what_the_mixture_got_from_it():
    model, _ = build_network(retrieval=True)
    encoded = model.encode(tf.constant(PIXELS[:1]))
    tokens = tf.constant([[5, 6, 7, END]])
    share = model.score(encoded, tokens).retrieval_share.numpy()[0]
    alone = dataclasses.replace(model, retriever=None)
    own = np.exp(alone.score(alone.encode(tf.constant(PIXELS[:1])), tokens).log_probs.numpy()[0])
    # Both neighbors begin with 5: their whole weight goes there, and what is left is the decoder's.
    weight = encoded.neighbors.weight.numpy()[0].sum()
    np.testing.assert_allclose(share[0], weight / (weight + (1 - weight) * own[0]), rtol=1e-4)


def test_a_gradient_reaches_the_regions():
    model, _ = build_network(retrieval=True)
    seen = model.see(PIXELS)
    regions = seen.regions
    with tf.GradientTape() as tape:
        tape.watch(regions)
        log_probs = model.score(model.encode_seen(seen), tf.constant([[5, 6, 7]] * 3)).log_probs
    assert np.abs(tape.gradient(log_probs, regions)).max() > 0


def test_the_folded_encoder_gives_the_same_captions():
    model, config = build_network(retrieval=True)
    one, two = (
        m.generate(m.encode(tf.constant(PIXELS)), config.decoding) for m in (model, model.with_folded_encoder())
    )
    np.testing.assert_array_equal(one.tokens, two.tokens)
    np.testing.assert_allclose(one.score, two.score, atol=1e-4)


def test_concepts_come_from_the_image_or_from_the_words():
    model, _ = build_network()
    encoded, reading = model.encode(tf.constant(PIXELS)), model.read(tf.constant([[5, 6]] * 3))
    of_image = tf.sigmoid(model.head(encoded.regions))
    np.testing.assert_array_equal(model.concept_scores(encoded, reading), of_image)
    by_words = dataclasses.replace(model, concepts_from_image=False)
    np.testing.assert_array_equal(by_words.concept_scores(encoded, reading), reading.concept_scores)


def test_an_oracle_without_references_is_refused():
    model, config = build_network(decoder__semantic_source="reference")
    with pytest.raises(InputError, match="it needs the reference captions"):
        model.generate(model.encode(tf.constant(PIXELS)), config.decoding)


def test_a_semantic_source_without_concepts_is_refused():
    with pytest.raises(InputError, match="needs concepts to learn from"):
        CaptioningModel.build(Config().replace(SETTINGS), VOCABULARY, 0)


def test_captions_are_shifted_right():
    assert shift_right(tf.constant([[5, 6, 7], [8, 0, 0]])).numpy().tolist() == [[START, 5, 6], [START, 8, 0]]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "form", [{}, {"visual.grid": 8}, {"decoder.output": "sum", "semantic.output": "sum"}], ids=["deep", "grid", "sum"]
)
def test_every_part_comes_back_from_its_configuration(precision, form):
    config = Config().replace({**SETTINGS, **form})
    model = CaptioningModel.build(config, VOCABULARY, CONCEPTS, precision=precision, encoder_precision=precision)
    words = tf.constant([[START, 5, 6]])
    encoding = tf.random.stateless_normal([1, 3, config.semantic.units], seed=[1, 2])
    seen = [tf.random.stateless_uniform([1, *output.shape[1:]], seed=[3, 4]) for output in model.encoder.outputs]
    inputs = {
        "encoder": tf.cast(PIXELS[:1], tf.float32),
        "concept_head": seen,
        "semantic": words,
        "decoder": [seen[0], tf.constant([[0.2, 0.9, 0.4]]), words, encoding],
    }
    for name, part in model.parts().items():
        again = part.__class__.from_config(part.get_config())
        again.set_weights(part.get_weights())
        first, second = (tf.nest.flatten(m(inputs[name], training=False)) for m in (part, again))
        for one, two in zip(first, second):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(tf.cast(one, tf.float32), tf.cast(two, tf.float32))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_captions_are_generated_and_scored_in_mixed_precision(precision):
    config = Config().replace(SETTINGS)
    model = CaptioningModel.build(config, VOCABULARY, CONCEPTS, precision=precision, encoder_precision=precision)
    encoded = model.encode(tf.constant(PIXELS))
    generated = model.generate(encoded, config.decoding)
    scored = model.score(encoded, generated.tokens)
    assert generated.score.dtype == scored.log_probs.dtype == tf.float32
    assert np.isfinite(generated.score).all() and np.isfinite(scored.log_probs).all()


@pytest.mark.parametrize("output", ["deep", "sum"])
def test_every_weight_that_captions_depend_on_is_in_a_part(output):
    model, _ = build_network(decoder__output=output, semantic__output=output, visual__grid=8)
    parts = {id(weight) for part in model.parts().values() for weight in part.weights}
    forms = [*(form for form in model.semantic if form), model.decoder.begin, model.decoder.step]
    assert {id(weight) for form in forms for weight in form.weights} <= parts


def test_no_gradient_of_captions_reaches_the_concepts():
    model, _ = build_network(decoder__output="sum")
    seen = model.see(PIXELS)
    with tf.GradientTape() as tape:
        tape.watch(seen.concept_logits)
        log_probs = model.score(model.encode_seen(seen), tf.constant([[5, 6, 7]] * 3)).log_probs
    assert tape.gradient(log_probs, seen.concept_logits) is None


def test_precision_is_that_of_the_layers_and_no_global_setting():
    CaptioningModel.build(Config().replace(SETTINGS), VOCABULARY, CONCEPTS, precision="mixed_bfloat16")
    assert keras.mixed_precision.global_policy().name == "float32"
