"""Erasure on images drawn by hand: what is painted over is gone, what is elsewhere is as large and as bright."""

from __future__ import annotations

import numpy as np

from medcap_tf.explain.erasure import elsewhere, paint_over, prepared_mask


def image_with_spot() -> tuple[np.ndarray, np.ndarray]:
    """A gray body on the left half of a black image of 60 pixels, with a white spot; and the spot's mask."""
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[:, :30] = 100
    mask = np.zeros((60, 60), bool)
    mask[10:16, 5:11] = True
    pixels[mask] = 255
    return pixels, mask


def test_what_is_painted_over_has_the_colors_around_it_and_nothing_else_changes():
    pixels, mask = image_with_spot()
    painted = paint_over(pixels, mask)
    assert np.abs(painted[mask].astype(int) - 100).max() <= 4
    assert (painted[~mask] == pixels[~mask]).all()


def test_the_equal_area_is_elsewhere_on_the_body():
    pixels, mask = image_with_spot()
    pixels[mask] = 100
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = elsewhere(pixels, mask, rng)
        assert moved.sum() == mask.sum()
        assert not (moved & mask).any()
        assert pixels[moved].mean() >= 50


def test_a_finding_that_fills_the_image_has_no_elsewhere():
    assert elsewhere(np.full((8, 8, 3), 9, np.uint8), np.ones((8, 8), bool), np.random.default_rng(0)) is None


def test_a_mask_is_squashed_as_the_image_is_and_a_little_wider():
    mask = np.zeros((120, 240), bool)
    mask[60:64, 120:124] = True
    squashed = prepared_mask(mask, 60)
    rows, columns = np.nonzero(squashed)
    # 4 rows of 120 are 2 of 60, 4 columns of 240 are 1 of 60; and a pixel on each side.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (29, 32, 29, 31)
