"""Regions of maps whose boxes and positions are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.regions import find_regions, place_of, region_values, word_regions


def blocks(*places: tuple[int, int, int, int], weights: tuple[float, ...] = (), side: int = 28) -> np.ndarray:
    """A map of `side` x `side` regions that is even inside blocks (top, left, bottom, right), and 0 elsewhere."""
    grid = np.zeros((side, side), np.float32)
    for (top, left, bottom, right), weight in zip(places, weights or (1.0,) * len(places)):
        grid[top:bottom, left:right] = weight
    return grid / grid.sum()


def test_a_block_has_its_own_box_and_center():
    (region,) = find_regions(blocks((14, 21, 21, 28)))
    np.testing.assert_allclose(region.box, (0.73, 0.48, 1.0, 0.73), atol=0.02)
    np.testing.assert_allclose(region.center, (0.866, 0.607), atol=0.01)
    assert region.mass == pytest.approx(1, abs=0.06)
    assert region.place == "middle third, image right"


def test_a_coarse_peak_lies_where_its_region_is():
    grid = np.zeros((7, 7), np.float32)
    grid[6, 0] = 1
    (region,) = find_regions(grid)
    assert region.place == "lower third, image left"
    left, top, right, bottom = region.box
    assert left == 0 and bottom == 1 and right == pytest.approx(0.5 / 7, abs=0.04)
    assert top == pytest.approx(5.5 / 7, abs=0.04)
    assert region.peak == pytest.approx((0, 6 / 7), abs=0.02)


def test_several_peaks_are_several_regions_the_heaviest_first():
    found = find_regions(blocks((2, 2, 6, 6), (18, 18, 26, 26), weights=(1.0, 0.9)))
    assert [region.place for region in found] == ["lower third, image right", "upper third, image left"]
    heavier, lighter = (8 * 8 * 0.9, 4 * 4 * 1.0)
    assert found[0].mass / found[1].mass == pytest.approx(heavier / lighter, rel=0.1)


def test_touching_corners_are_one_region():
    assert len(find_regions(blocks((4, 4, 10, 10), (10, 10, 16, 16)))) == 1


def test_no_more_than_three_and_none_that_hold_little():
    four = find_regions(blocks((2, 2, 6, 6), (2, 20, 6, 24), (20, 2, 24, 6), (20, 20, 24, 24)))
    assert len(four) == 3
    with_speck = find_regions(blocks((2, 2, 10, 10), (20, 20, 22, 22)))
    assert len(with_speck) == 1 and with_speck[0].mass > 0.85


@pytest.mark.parametrize("grid", [np.zeros((7, 7), np.float32), np.full((7, 7), 1 / 49, np.float32)])
def test_a_flat_map_has_no_region(grid):
    assert find_regions(grid) == ()


def test_a_share_of_the_evidence_changes_no_region():
    grid = blocks((3, 3, 9, 9))
    assert find_regions(0.2 * grid)[0].box == find_regions(grid)[0].box


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (0.1, 0.1, "upper third, image left"),
        (0.5, 0.5, "center"),
        (0.5, 0.9, "lower third, center"),
        (0.9, 0.5, "middle third, image right"),
        (1.0, 1.0, "lower third, image right"),
    ],
)
def test_places_are_the_images_thirds(x, y, place):
    assert place_of(x, y) == place


def test_words_and_numbers():
    grid = blocks((14, 0, 28, 14))
    ((values,), nothing) = word_regions(np.stack([grid, np.zeros_like(grid)]))
    assert nothing == []
    assert values == region_values(find_regions(grid)[0])
    assert values["text"].startswith("lower third, image left; center 0.24, 0.74; box 0.00 0.4")
    assert set(values) == {"box", "center", "peak", "mass", "place", "text"}
