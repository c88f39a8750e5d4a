"""Teacher forcing and one step at a time are the same decoder; beams share regions and nothing else."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.config import DecoderConfig
from medcap_tf.models.decoder import build_decoder

CONFIG = DecoderConfig(embedding_size=8, units=12, attention_units=6)
WORDS = np.array([[2, 5, 6, 7], [2, 8, 9, 3]], np.int32)


@pytest.fixture(scope="module", params=[0, 10], ids=["without encoding", "with encoding"])
def decoder(request):
    keras.utils.set_random_seed(1)
    return build_decoder(CONFIG, vocabulary=12, region_shape=(2, 3, 5), encoding_size=request.param), request.param


def inputs(encoding_size):
    rng = np.random.default_rng(0)
    regions = rng.normal(size=(2, 2, 3, 5)).astype(np.float32)
    return regions, [rng.normal(size=(2, 4, encoding_size)).astype(np.float32)] if encoding_size else []


def test_one_step_equals_teacher_forcing_at_every_position(decoder):
    models, size = decoder
    regions, encoding = inputs(size)
    forced = models.teacher([regions, WORDS, *encoding])
    begin = models.begin(regions)
    h, c = begin["h"][:, None], begin["c"][:, None]
    for t in range(4):
        now = [m[:, t : t + 1] for m in encoding]
        out = models.step([begin["keys"], begin["values"], WORDS[:, t : t + 1], h, c, *now])
        np.testing.assert_allclose(out["logits"][:, 0], forced["logits"][:, t], atol=1e-5)
        np.testing.assert_allclose(out["attention"][:, 0], forced["attention"][:, t], atol=1e-6)
        h, c = out["h"], out["c"]


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_future_words_move_no_earlier_logit(decoder, changed):
    models, size = decoder
    regions, encoding = inputs(size)
    other = WORDS.copy()
    other[:, changed:] = 11
    before, after = (models.teacher([regions, words, *encoding])["logits"].numpy() for words in (WORDS, other))
    np.testing.assert_array_equal(before[:, :changed], after[:, :changed])
    assert np.abs(before[:, changed] - after[:, changed]).max() > 1e-5


def test_attention_sums_to_one_over_the_regions(decoder):
    models, size = decoder
    regions, encoding = inputs(size)
    attention = models.teacher([regions, WORDS, *encoding])["attention"]
    assert attention.shape == (2, 4, 6)
    np.testing.assert_allclose(tf.reduce_sum(attention, -1), 1, rtol=1e-5)


def test_beams_are_stepped_apart(decoder):
    models, size = decoder
    regions, _ = inputs(size)
    begin = models.begin(regions)
    rng = np.random.default_rng(1)
    h, c = (tf.constant(rng.normal(size=(2, 3, 12)), tf.float32) for _ in "hc")
    words = tf.constant([[4, 5, 6], [7, 8, 9]])
    now = [tf.constant(rng.normal(size=(2, 3, size)), tf.float32)] if size else []
    all_beams = models.step([begin["keys"], begin["values"], words, h, c, *now])
    for beam in range(3):
        one = slice(beam, beam + 1)
        alone = models.step(
            [begin["keys"], begin["values"], words[:, one], h[:, one], c[:, one], *(m[:, one] for m in now)]
        )
        np.testing.assert_allclose(all_beams["logits"][:, one], alone["logits"], atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_ends_in_float32(policy):
    models = build_decoder(CONFIG, vocabulary=12, region_shape=(2, 3, 5), encoding_size=0, precision=policy)
    out = models.teacher([inputs(0)[0], WORDS])
    assert out["logits"].dtype == out["attention"].dtype == tf.float32
    assert models.teacher.get_layer("fusion").compute_dtype == policy[6:]
    assert all(weight.dtype != tf.as_dtype(policy[6:]) for weight in models.teacher.trainable_weights)


def test_concepts_move_the_start():
    keras.utils.set_random_seed(2)
    regions, _ = inputs(0)
    models = build_decoder(CONFIG, vocabulary=12, region_shape=(2, 3, 5), encoding_size=0, concepts=4)
    one, other = (models.begin([regions, tf.fill([len(regions), 4], score)])["h"].numpy() for score in (0.1, 0.9))
    assert np.abs(one - other).max() > 1e-3
