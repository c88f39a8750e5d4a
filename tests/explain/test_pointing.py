"""The pointing game on maps and masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.pointing import Case, bootstrap, center_hit, point, pointing_game


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


def test_a_peak_beside_the_mask_is_within_as_far_as_the_tolerance():
    mask = np.zeros((40, 80), bool)
    mask[:, :10] = True
    # Centers of the columns of regions lie at 0, 20, 40 and 60 pixels; the mask ends at 9.
    assert [point(spot(1, column), mask)[:2] for column in range(3)] == [(True, True), (False, True), (False, False)]


def test_energy_of_an_even_map_is_the_masks_share():
    assert point(np.full((4, 4), 0.1, np.float32), quarter(0, 1)).energy == pytest.approx(0.25, abs=1e-6)
    assert point(spot(0, 0), quarter(0, 0)).energy > 0.95


def test_iou_and_auc_of_a_map_that_is_the_mask_of_its_opposite_and_of_an_even_one():
    mask = quarter(0, 0)
    grid = np.kron(np.array([[1.0, 0.0], [0.0, 0.0]]), np.ones((20, 20))).astype(np.float32)
    same = point(grid, mask)
    assert same.iou > 0.9 and same.auc > 0.999
    opposite = point(1 - grid, mask)
    assert opposite.iou < 0.05 and opposite.auc < 0.001
    assert point(np.ones((4, 4), np.float32), mask).auc == pytest.approx(0.5, abs=0.01)


def test_a_map_of_zeros_points_nowhere():
    assert point(np.zeros((4, 4), np.float32), np.ones((40, 80), bool)) == (False, False, 0.0, 0.0, 0.5)


def test_center():
    assert center_hit(quarter(1, 1))
    assert not center_hit(quarter(0, 0))


def cases():
    mask = quarter(0, 0)
    wrong = ("wrong words", "small findings")
    return [
        Case(0, "finding", {"attention": spot(0, 0), "grad_cam": spot(3, 3)}, mask, ("right words", "small findings")),
        Case(0, "finding", {"attention": spot(3, 3), "grad_cam": spot(3, 3)}, mask, wrong),
        Case(1, "place", {"attention": spot(3, 3), "grad_cam": spot(3, 3)}, mask, wrong),
        Case(1, "place", {"attention": spot(3, 3), "grad_cam": spot(1, 0)}, mask, wrong),
        Case(1, "finding", {"attention": spot(0, 0), "grad_cam": spot(0, 0)}, mask, ("reference",)),
    ]


def test_rates_over_words_and_kinds():
    rates = pointing_game(cases())["pointing_game"]
    assert rates["words"] == 4  # the reference's word is no word of a caption
    assert rates["attention"] == pytest.approx(1 / 4)
    assert rates["grad_cam"] == pytest.approx(1 / 4)
    assert rates["random"] == pytest.approx(0.25)
    assert rates["centre"] == 0
    assert (rates["finding_attention"], rates["place_attention"]) == (0.5, 0)
    assert (rates["finding_grad_cam"], rates["place_grad_cam"]) == (0, 0.5)
    assert "finding_attention_within" in rates and "finding_attention_energy" not in rates


def test_groups_are_of_words_that_name_a_finding():
    groups = pointing_game(cases())["pointing_groups"]
    assert {name: (rates["words"], rates["attention"]) for name, rates in groups.items()} == {
        "right words": (1, 1.0),
        "small findings": (2, 0.5),
        "wrong words": (1, 0.0),
        "reference": (1, 1.0),
    }


def test_intervals_draw_images_with_all_their_words():
    # Two images of one word each: both, one or none of the draws are hits, so the interval is from 0 to 1.
    assert bootstrap([(0, {"x": 1.0}), (1, {"x": 0.0})])["x"] == [0, 1]
    # Words of one image come together: nothing varies.
    assert bootstrap([(5, {"x": 1.0}), (5, {"x": 0.0})])["x"] == [0.5, 0.5]
    many = bootstrap([(image, {"x": float(image % 4 == 0)}) for image in range(400)])["x"]
    reach = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert many == pytest.approx([0.25 - reach, 0.25 + reach], abs=0.01)


def test_no_words_no_rates():
    assert pointing_game([]) == {"pointing_game": {}, "pointing_groups": {}, "pointing_intervals": {}}
