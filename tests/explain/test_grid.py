"""Where regions lie is held against the network itself: what its regions see, and what a mask covers of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.config import VisualConfig
from medcap_tf.explain.grid import mirrored, nearest_region, over_image, pixels_of, shares_of_regions
from medcap_tf.models.visual import build_visual_encoder


def test_a_regions_receptive_field_is_centered_where_its_map_is_drawn():
    """The gradient of a region in the middle with respect to the pixels, weights being positive and alike."""
    size = 128
    encoder = build_visual_encoder(VisualConfig(image_size=size, layer="conv4_block1_out", weights="none"))
    for variable in encoder.trainable_variables:
        if len(variable.shape) == 4:
            variable.assign(tf.ones_like(variable) / float(np.prod(variable.shape[:3])))
    pixels = tf.Variable(tf.random.uniform([1, size, size, 3], 150, 250, seed=1))
    with tf.GradientTape() as tape:
        regions = encoder(pixels)
        row, column = 3, 5
        seen = tf.reduce_sum(regions[0, row, column])
    weight = np.abs(tape.gradient(seen, pixels).numpy()[0]).sum(-1)
    center = [(weight.sum(1 - axis) * np.arange(size)).sum() / weight.sum() for axis in (0, 1)]
    grid = np.zeros(regions.shape[1:3])
    grid[row, column] = 1
    heat = over_image(grid, (size, size))
    drawn = [(heat.sum(1 - axis) * np.arange(size)).sum() / heat.sum() for axis in (0, 1)]
    assert center == pytest.approx([16 * row, 16 * column], abs=1)
    assert drawn == pytest.approx(center, abs=1)


def test_maps_are_interpolated_between_their_centers():
    across = over_image(np.array([[0.0, 1, 0, 0]]), (1, 400))[0]
    assert across.argmax() in (99, 100)
    np.testing.assert_allclose(across[[149, 150]].mean(), 0.59375, atol=0.01)  # 19/32: cubic, a = -0.75
    assert across[250:].max() == 0


def test_maps_go_on_beyond_the_last_center():
    np.testing.assert_allclose(over_image(np.array([[0.0, 0, 0, 1]]), (1, 400))[0, 300:], 1, rtol=1e-6)


def test_pixels_belong_to_the_nearest_center():
    assert nearest_region(2, 8).tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert pixels_of(np.array([0]), (2, 2), (4, 8)).astype(int).tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]] + [[0] * 8] * 3
    every = sum(pixels_of(np.array([region]), (3, 5), (37, 41)).astype(int) for region in range(15))
    assert (every == 1).all()


def test_the_shares_of_regions_are_those_of_a_perfect_map():
    mask = np.zeros((80, 80), bool)
    mask[15:25, 35:45] = True  # around the center of region (2, 4) of 8 x 8
    shares = shares_of_regions(mask, (8, 8))
    assert np.argwhere(shares).tolist() == [[2, 4]] and shares[2, 4] == 1
    heat = over_image(shares, mask.shape)
    assert mask[np.unravel_index(heat.argmax(), heat.shape)]


def test_a_mirrored_map_lies_over_the_mirrored_image():
    grid = np.zeros((2, 8), np.float32)
    grid[1, 3] = 1
    np.testing.assert_allclose(over_image(mirrored(grid), (40, 80)), over_image(grid, (40, 80))[:, ::-1], atol=1e-6)
