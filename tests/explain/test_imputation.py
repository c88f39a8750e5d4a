"""Imputation against the linear system solved whole."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.imputation import NOISE, impute


class NoNoise:
    def normal(self, mean, deviation, shape):
        return np.zeros(shape)


def solved(pixels: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Each removed pixel is the mean of the neighbors that it has: 1/6 a direct one, 1/12 a diagonal one."""
    height, width = removed.shape
    number = {place: row for row, place in enumerate(zip(*np.nonzero(removed)))}
    matrix, right = np.zeros((len(number), len(number))), np.zeros((len(number), 3))
    for (y, x), row in number.items():
        for dy, dx in np.ndindex(3, 3):
            place, weight = (y + dy - 1, x + dx - 1), 1 / 6 if (dy == 1) != (dx == 1) else 1 / 12
            if (dy, dx) == (1, 1) or not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            matrix[row, row] += weight
            if place in number:
                matrix[row, number[place]] -= weight
            else:
                right[row] += weight * pixels[place]
    result = pixels.astype(float)
    result[removed] = np.linalg.solve(matrix, right)
    return result


def smooth_image(height: int, width: int) -> np.ndarray:
    y, x = np.indices((height, width)) / 8
    return np.stack([127 + 100 * np.sin(y + 0.5 * x + k) for k in range(3)], -1).astype(np.uint8)


@pytest.mark.parametrize("share", [0.17, 0.33, 0.5])
@pytest.mark.parametrize("shape", [(32, 32), (29, 40)])
def test_removed_pixels_are_the_means_of_their_neighbors(shape, share):
    rng = np.random.default_rng(3)
    pixels = smooth_image(*shape)
    blocks = rng.uniform(size=(shape[0] // 4 + 1, shape[1] // 4 + 1)) < share
    removed = np.kron(blocks, np.ones((4, 4), bool))[: shape[0], : shape[1]]
    filled = impute(pixels, removed, NoNoise())
    np.testing.assert_array_equal(filled[~removed], pixels[~removed])
    error = np.abs(filled - solved(pixels, removed))[removed]
    assert error.mean() < 0.6 and error.max() <= 2 * NOISE  # gray levels: less than the noise that follows


def test_a_large_hole_is_filled_from_its_edge():
    pixels = np.tile(np.linspace(0, 240, 64).astype(np.uint8)[None, :, None], (64, 1, 3))
    removed = np.zeros((64, 64), bool)
    removed[4:60, 4:60] = True
    assert np.abs(impute(pixels, removed, NoNoise()).astype(int) - pixels).max() <= 3  # a ramp is its own mean


def test_what_is_removed_has_a_little_noise():
    removed = np.zeros((64, 64), bool)
    removed[:, :32] = True
    filled = impute(np.full((64, 64, 3), 100, np.uint8), removed, np.random.default_rng(0))
    assert filled[:, :32].std() == pytest.approx(NOISE, rel=0.1)
    assert (filled[:, 32:] == 100).all()
