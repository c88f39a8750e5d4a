"""Copies are found whatever was done to them, and other images are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medcap_tf.data.lookalikes import BITS, MOST_DIFFERENT_BITS, difference_hash, lookalikes


def picture(seed: int) -> np.ndarray:
    """Smooth shapes, as radiographs have them: uint8 [120, 160, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


def copies(image: np.ndarray) -> dict[str, np.ndarray]:
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    return {
        "same": image,
        "half the size": cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "darker": (image * 0.8).astype(np.uint8),
        "JPEG": jpeg,
    }


def test_a_hash_by_hand():
    # Brighter to the right throughout, then darker throughout.
    ramp = np.tile(np.arange(0, 170, 10, np.uint8), (16, 1))
    image = np.repeat(ramp[..., None], 3, axis=2)
    assert difference_hash(image).all() and len(difference_hash(image)) == BITS
    assert not difference_hash(image[:, ::-1]).any()


def test_blank_images_have_none():
    assert difference_hash(np.full((50, 60, 3), 17, np.uint8)) is None
    assert lookalikes([None, None], [None]) == []


@pytest.mark.parametrize("how", ["same", "half the size", "darker", "JPEG"])
def test_copies_are_found(how):
    hashes = [difference_hash(picture(seed)) for seed in range(20)]
    [(row, other, bits)] = lookalikes(hashes, [None, difference_hash(copies(picture(7))[how])])
    assert (row, other) == (1, 7) and bits <= MOST_DIFFERENT_BITS


def test_others_are_not():
    first, second = ([difference_hash(picture(seed)) for seed in seeds] for seeds in (range(30), range(30, 60)))
    assert lookalikes(first, second) == [] and lookalikes([], second) == []


def test_all_within_the_limit_are_found_with_their_bits():
    rng = np.random.default_rng(0)
    known = rng.random((40, BITS)) < 0.5
    queries = known.copy()
    for row, bits in enumerate(queries):
        bits[rng.choice(BITS, row % 24, replace=False)] ^= True
    expected = [(row, row, row % 24) for row in range(40) if row % 24 <= MOST_DIFFERENT_BITS]
    assert lookalikes(list(known), list(queries)) == expected
