"""Deletion, insertion and word deletion on models whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.perturbation import (
    STEPS,
    concept_drops,
    heaviest_first,
    imputed_deletion,
    mu_fidelity,
    region_areas,
    removal_order,
)

SIZE, GRID = 60, (2, 3)


def sharp_image() -> np.ndarray:
    """A fine check pattern: blur turns every pixel of it to gray."""
    check = np.indices((SIZE, SIZE)).sum(0) % 2 * 255
    return np.repeat(check[..., None], 3, -1).astype(np.uint8)


def sharpness_of_first_region(pixels: np.ndarray) -> np.ndarray:
    """A "model" of two words: the first needs the region above left to be sharp, the second needs nothing."""
    corner = pixels[:, : SIZE // 4, : SIZE // 6].astype(float)
    return np.stack([np.abs(corner - 127.5).mean((1, 2, 3)) / 127.5, np.zeros(len(pixels))], axis=1)


def test_regions_from_heaviest_to_lightest():
    maps = np.array([[[0.1, 0.5, 0.0], [0.3, 0.05, 0.05]]], np.float32)
    assert heaviest_first(maps).tolist() == [[1, 3, 0, 4, 5, 2]]


def test_deletion_and_insertion_areas_of_a_model_that_needs_one_region():
    first, last = np.array([0, 1, 2, 3, 4, 5]), np.array([5, 4, 3, 2, 1, 0])
    ends = sharpness_of_first_region(np.stack([sharp_image()]))[0, 0]
    assert ends == pytest.approx(1, abs=0.01)
    good = region_areas(sharpness_of_first_region, sharp_image(), np.stack([first, first]), GRID)
    bad = region_areas(sharpness_of_first_region, sharp_image(), np.stack([last, last]), GRID)
    # Gone (or back) from the first of 6 steps on: the trapezoid over that one step alone is half full.
    assert good.deletion[0] == pytest.approx(0.5 / STEPS, abs=0.02)
    assert good.insertion[0] == pytest.approx(1 - 0.5 / STEPS, abs=0.02)
    assert bad.deletion[0] == pytest.approx(1 - 0.5 / STEPS, abs=0.02)
    assert bad.insertion[0] == pytest.approx(0.5 / STEPS, abs=0.02)
    assert good.deletion[1] == good.insertion[1] == 0


def test_every_word_follows_its_own_order():
    orders = np.array([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])

    def both_need_it(pixels: np.ndarray) -> np.ndarray:
        return np.repeat(sharpness_of_first_region(pixels)[:, :1], 2, axis=1)

    areas = region_areas(both_need_it, sharp_image(), orders, GRID)
    assert areas.deletion[0] < 0.15 < 0.85 < areas.deletion[1]


def test_concepts_fall_when_the_word_that_names_them_goes():
    def named(tokens: np.ndarray) -> np.ndarray:
        """Concept 0 is there while word 7 is; concept 1 always."""
        return np.stack([(tokens == 7).any(1), np.ones(len(tokens))], axis=1).astype(np.float32)

    tokens = np.array([5, 7, 9], np.int32)
    weights = {"right": np.array([0.1, 0.8, 0.1]), "wrong": np.array([0.8, 0.1, 0.1])}
    drops = concept_drops(named, tokens, weights, np.array([0]), np.random.default_rng(0), draws=300)
    assert drops["right"] == 1
    assert drops["wrong"] == 0
    assert drops["random"] == pytest.approx(1 / 3, abs=0.08)
    both = concept_drops(named, tokens, weights, np.array([0, 1]), np.random.default_rng(0))
    assert both["right"] == 0.5


def test_kept_alone_the_word_that_names_a_concept_is_enough():
    def named(tokens: np.ndarray) -> np.ndarray:
        return (tokens == 7).any(1, keepdims=True).astype(np.float32)

    tokens = np.array([5, 7, 9, 11], np.int32)
    weights = {"right": np.array([0.1, 0.8, 0.1, 0.0]), "wrong": np.array([0.1, 0.0, 0.8, 0.1])}
    drops = concept_drops(named, tokens, weights, np.array([0]), np.random.default_rng(0))
    assert (drops["right_comprehensiveness"], drops["right_sufficiency"]) == (1, 0)
    assert (drops["wrong_comprehensiveness"], drops["wrong_sufficiency"]) == (0, 1)


def test_the_oracle_asks_for_the_region_that_the_word_needs():
    order = removal_order(sharpness_of_first_region, sharp_image(), GRID)
    assert order.shape == (2, 6)
    assert order[0, 0] == 0


def test_mu_fidelity_is_one_for_a_map_that_tells_the_cost_and_none_for_an_even_one():
    right, reverse = np.zeros((2, *GRID), np.float32), np.ones((2, *GRID), np.float32)
    right[:, 0, 0], reverse[:, 0, 0] = 1, 0
    maps = {"right": right, "reverse": reverse, "even": np.ones((2, *GRID), np.float32)}
    found = mu_fidelity(sharpness_of_first_region, sharp_image(), maps, np.random.default_rng(0))
    # The second word depends on nothing and is left out.
    assert found["right"] == pytest.approx(1, abs=0.02)
    assert found["reverse"] == pytest.approx(-1, abs=0.02)
    assert np.isnan(found["even"])


def test_an_imputed_region_costs_the_word_that_needs_it_and_no_other():
    # The check pattern is its neighbors' mean where it is imputed: gray, with little noise.
    first, last = np.array([0, 1, 2, 3, 4, 5]), np.array([5, 4, 3, 2, 1, 0])
    rng = np.random.default_rng(0)
    good = imputed_deletion(sharpness_of_first_region, sharp_image(), np.stack([first, first]), GRID, rng)
    bad = imputed_deletion(sharpness_of_first_region, sharp_image(), np.stack([last, last]), GRID, rng)
    assert good[0] < 0.1
    assert bad[0] == pytest.approx(1, abs=0.01)  # half of the regions from the other end do not reach it
    assert good[1] == bad[1] == 0
