"""The pointing game on maps and masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.pointing import Case, center_hit, point, pointing_game


def spot(row: int, column: int) -> np.ndarray:
    grid = np.zeros((4, 4), np.float32)
    grid[row, column] = 1
    return grid


def quarter(row: int, column: int) -> np.ndarray:
    """A mask over one quarter of an image of 40 x 80."""
    mask = np.zeros((40, 80), bool)
    mask[row * 20 : row * 20 + 20, column * 40 : column * 40 + 40] = True
    return mask


def test_a_peak_inside_the_mask_is_a_hit_and_outside_none():
    assert point(spot(0, 0), quarter(0, 0)).hit
    assert not point(spot(0, 0), quarter(1, 1)).hit
    assert point(spot(3, 0), quarter(1, 0)).hit


def test_energy_of_an_even_map_is_the_masks_share():
    assert point(np.full((4, 4), 0.1, np.float32), quarter(0, 1)).energy == pytest.approx(0.25, abs=1e-6)
    assert point(spot(0, 0), quarter(0, 0)).energy > 0.95


def test_a_map_of_zeros_points_nowhere():
    assert point(np.zeros((4, 4), np.float32), np.ones((40, 80), bool)) == (False, 0.0)


def test_center():
    assert center_hit(quarter(1, 1))
    assert not center_hit(quarter(0, 0))


def test_rates_over_words_and_kinds():
    mask = quarter(0, 0)
    cases = [
        Case("finding", spot(0, 0), spot(3, 3), mask),
        Case("place", spot(3, 3), spot(3, 3), mask),
        Case("place", spot(3, 3), spot(1, 0), mask),
    ]
    found = pointing_game(cases)
    assert found["words"] == 3
    assert found["attention"] == pytest.approx(1 / 3)
    assert found["grad_cam"] == pytest.approx(1 / 3)
    assert found["random"] == pytest.approx(0.25)
    assert found["centre"] == 0
    assert (found["finding_attention"], found["place_attention"]) == (1, 0)
    assert (found["finding_grad_cam"], found["place_grad_cam"]) == (0, 0.5)


def test_no_words_no_rates():
    assert pointing_game([]) == {}
