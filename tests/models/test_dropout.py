"""Masks follow the run's seed, the layer, the replica and the call; nothing else."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.config import DecoderConfig, SemanticConfig, VisualConfig
from medcap_tf.models.concept_head import build_concept_head
from medcap_tf.models.decoder import build_decoder
from medcap_tf.models.dropout import ResumableDropout, replica_seed, seed_dropout
from medcap_tf.models.semantic import build_semantic
from tests.conftest import run_command

ONES = tf.ones([4, 64])


def masks(run_seed, seed=7, calls=2, begun=0):
    """The first masks of a layer, bool [calls, 4, 64]."""
    layer = ResumableDropout(0.5, seed)
    layer(ONES)  # builds it
    seed_dropout([keras.Sequential([layer])], run_seed)
    layer.calls.assign(begun)
    return np.stack([layer(ONES, training=True).numpy() > 0 for _ in range(calls)])


def test_the_same_seed_gives_the_same_masks_and_another_gives_others():
    first = masks(3)
    np.testing.assert_array_equal(first, masks(3))
    assert (first[0] != first[1]).any()
    for other in (masks(4), masks(3, seed=8), masks(3 + 2**32), masks(2**64 + 4)):
        # Two fair masks agree in half of their places.
        assert 0.35 < (first == other).mean() < 0.65


def test_a_resumed_layer_goes_on_where_it_stood():
    np.testing.assert_array_equal(masks(5, calls=4)[2:], masks(5, calls=2, begun=2))


def test_half_of_the_values_stay_and_are_doubled():
    layer = ResumableDropout(0.5, 1)
    values = layer(tf.ones([100, 100]), training=True).numpy()
    assert set(np.unique(values)) == {0.0, 2.0}
    assert values.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(layer(ONES, training=False), ONES)


def test_every_dropout_of_the_networks_is_reached_and_is_another():
    semantic = build_semantic(SemanticConfig(embedding_size=4, units=4, attention_units=4), 9, 3)
    regions, fine = keras.Input((2, 2, 8)), keras.Input((4, 4, 8))
    head = build_concept_head(VisualConfig(), keras.Model([regions, fine], [regions, fine]), 3)
    decoder = build_decoder(DecoderConfig(embedding_size=4, units=4, attention_units=4), 9, (2, 2, 8), 4, 3)
    seed_dropout([head, decoder.teacher, semantic.classifier], 12)
    models = (head, decoder.teacher, semantic.classifier)
    layers = {
        layer.name: layer for model in models for layer in model.submodules if isinstance(layer, ResumableDropout)
    }
    assert len(layers) == 7
    assert {layer.run_seed for layer in layers.values()} == {12}
    assert len({layer.seed for layer in layers.values()}) == 7


def test_one_device_draws_by_the_seed_alone():
    assert int(replica_seed()) == 0


@pytest.mark.slow
def test_replicas_draw_their_own_masks_and_sampled_words():
    """Two logical CPUs stand in for two GPUs."""
    script = """
import json, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from medcap_tf.models.dropout import ResumableDropout
from medcap_tf.training.losses import scheduled_sampler
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = ResumableDropout(0.5, 7)
    layer(tf.ones([4, 64]))
    mix = scheduled_sampler(tf.Variable(0.5), 1)
@tf.function
def step():
    drop = strategy.run(lambda: layer(tf.ones([4, 64]), training=True))
    words = strategy.run(lambda: mix(tf.ones([4, 16], tf.int32), tf.zeros([4, 16, 9]), tf.constant(3, tf.int64)))
    return strategy.experimental_local_results(drop), strategy.experimental_local_results(words)
drop, words = step()
same = [float(tf.reduce_mean(tf.cast(a == b, tf.float32))) for a, b in (drop, words)]
print(json.dumps([same, int(layer.calls.read_value())]))
"""
    done = run_command("-c", script)
    (drop, words), calls = json.loads(done.stdout.splitlines()[-1])
    assert 0.35 < drop < 0.65
    assert words < 0.9
    assert calls == 1
