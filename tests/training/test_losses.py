"""Losses on numbers worked out by hand; scheduled sampling draws what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.training.losses import caption_loss, concept_loss, scheduled_sampler, smoothed_cross_entropy


def test_caption_loss_is_the_mean_over_real_tokens():
    logits = tf.constant([[[0.0, 0, 0, 0]] * 3, [[0.0, 9, 9, 9]] * 3])
    targets = tf.constant([[1, 2, 3], [1, 0, 0]])
    uniform, confident = math.log(4), math.log(3 + math.exp(-9))
    assert float(caption_loss(0.0)(targets, logits)) == pytest.approx((3 * uniform + confident) / 4, rel=1e-5)


def test_label_smoothing_moves_the_target():
    logits = tf.constant([[[0.0, 5, 0, 0]]])
    log_probs = np.log(np.exp([0, 5, 0, 0]) / np.exp([0, 5, 0, 0]).sum())
    smooth = np.array([0.05, 0.85, 0.05, 0.05])
    assert float(caption_loss(0.2)(tf.constant([[1]]), logits)) == pytest.approx(-smooth @ log_probs, rel=1e-5)


def test_label_smoothing_has_the_gradient_of_spread_targets():
    """The softmax of [0, ln 2, 0] is [1, 2, 1] / 4; with 0.3 spread over three words the target is [0.1, 0.8, 0.1]."""
    logits, labels = tf.constant([[0.0, math.log(2), 0.0]]), tf.constant([1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = 2 * smoothed_cross_entropy(labels, logits, 0.3)
    np.testing.assert_allclose(loss, [2 * (math.log(4) - 0.8 * math.log(2))], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[2 * 0.15, 2 * -0.3, 2 * 0.15]], rtol=1e-5)


def test_focal_loss_follows_its_equation():
    truth, logits = np.array([[1.0, 0.0]]), np.array([[2.0, -1.0]])
    right = [1 / (1 + math.exp(-2)), 1 - 1 / (1 + math.exp(1))]
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in right)
    found = concept_loss("focal")(tf.constant(truth, tf.float32), tf.constant(logits, tf.float32))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_is_summed_over_concepts():
    found = concept_loss("cross_entropy")(tf.constant([[1.0, 0.0]]), tf.zeros([1, 2]))
    assert float(found) == pytest.approx(2 * math.log(2))


class TestScheduledSampling:
    """The model is certain of word 5 everywhere."""

    inputs = tf.constant([[2, 7, 8, 9, 0], [2, 7, 0, 0, 0]])
    logits = tf.one_hot(tf.fill([2, 5], 5), 10) * 99

    def mixed(self, probability, step=1):
        mix = scheduled_sampler(tf.Variable(probability), seed=0)
        return mix(self.inputs, self.logits, tf.constant(step, tf.int64)).numpy()

    def test_never_and_always(self):
        np.testing.assert_array_equal(self.mixed(0.0), self.inputs)
        assert self.mixed(1.0).tolist() == [[2, 5, 5, 5, 0], [2, 5, 0, 0, 0]]

    def test_draws_depend_on_the_step_alone(self):
        np.testing.assert_array_equal(self.mixed(0.5, step=4), self.mixed(0.5, step=4))
        assert any((self.mixed(0.5, step=s) != self.mixed(0.5, step=4)).any() for s in range(5, 15))
