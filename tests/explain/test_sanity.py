"""Sanity measures on maps whose answers are known, and the cascade of randomization on a small network."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.attribution import Attributor
from medcap_tf.explain.sanity import noisy, randomized, rank_correlation, total_variation
from tests.network import PIXELS, build_captioner, build_network


def test_rank_correlation_knows_same_reverse_and_monotone():
    grid = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert rank_correlation(grid, grid**3) == pytest.approx(1)
    assert rank_correlation(grid, -grid) == pytest.approx(-1)


def test_rank_correlation_shares_the_ranks_of_ties():
    # Ranks 1.5, 1.5, 3.5, 3.5 against 1, 2, 3, 4: 4 / sqrt(4 * 5).
    a, b = np.array([[[0.0, 0.0], [1.0, 1.0]]]), np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert rank_correlation(a, b) == pytest.approx(4 / np.sqrt(20))


def test_rank_correlation_leaves_out_words_without_ranks():
    grid = np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert rank_correlation(grid, grid) == pytest.approx(1)
    assert np.isnan(rank_correlation(grid[1:], grid[1:]))


def test_total_variation_is_the_share_of_weight_that_moved():
    left, right = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])
    assert total_variation(left, left) == 0
    assert total_variation(left, right) == 1
    assert total_variation(left, (left + right) / 2) == 0.5


def test_noise_is_small_gray_and_differs():
    image = np.full((20, 20, 3), 128, np.uint8)
    one, two = noisy(image, np.random.default_rng(0), 2)
    assert one.dtype == np.uint8
    assert (one != two).any()
    assert (one[..., 0] == one[..., 2]).all()
    assert 1 < (one.astype(int) - 128).std() < 4


class TestRandomized:
    """From the output to the input, each part after the one before it."""

    def weights(self, model):
        return {
            (part, layer.name, i): weight.copy()
            for part, network in model.parts().items()
            for layer in network.layers
            for i, weight in enumerate(layer.get_weights())
        }

    def test_each_part_is_shuffled_after_the_one_before_and_all_come_back(self):
        model, _ = build_network()
        learned, shuffled, order = self.weights(model), set(), {}
        for name in randomized(model, np.random.default_rng(0)):
            now = self.weights(model)
            lost = {key[:2] for key, weight in now.items() if (weight != learned[key]).any()}
            assert shuffled < lost  # what was lost before stays lost
            order[name], shuffled = lost - shuffled, lost
            for key, weight in now.items():
                np.testing.assert_array_equal(np.sort(weight, None), np.sort(learned[key], None), err_msg=str(key))
        assert list(order) == ["words", "decoder", "projections", "concepts", "conv2", "conv1"]
        assert order["words"] == {("decoder", "word_logits"), ("decoder", "fusion")}
        assert order["decoder"] == {("decoder", "word_embedding"), ("decoder", "teacher_forcing")}
        assert order["projections"] == {("decoder", "decoder_begin")}
        assert order["concepts"] == {("concept_head", "concept_logits")}
        assert {part for name in ("conv2", "conv1") for part, _ in order[name]} == {"encoder"}
        after = self.weights(model)
        assert all((weight == learned[key]).all() for key, weight in after.items())

    def test_the_weights_come_back_from_an_audit_that_breaks_off(self):
        model, _ = build_network()
        learned = self.weights(model)
        cascade = randomized(model, np.random.default_rng(0))
        next(cascade)
        assert any((weight != learned[key]).any() for key, weight in self.weights(model).items())
        cascade.close()
        assert all((weight == learned[key]).all() for key, weight in self.weights(model).items())

    def test_maps_change_from_where_they_are_made(self):
        captioner = build_captioner()
        attributor, tokens = Attributor(captioner, folded=False), np.array([4, 5, 6], np.int32)
        before = attributor.words(PIXELS[0], tokens)
        cascade = randomized(captioner.model, np.random.default_rng(0))
        during = {part: attributor.words(PIXELS[0], tokens) for part in cascade}
        after = attributor.words(PIXELS[0], tokens)
        # Which word is said comes after attention has been paid.
        np.testing.assert_array_equal(during["words"].attention, before.attention)
        assert np.abs(during["words"].grad_cam - before.grad_cam).max() > 1e-4
        assert np.abs(during["decoder"].attention - before.attention).max() > 1e-4
        np.testing.assert_array_equal(after.attention, before.attention)
        np.testing.assert_array_equal(after.grad_cam, before.grad_cam)
