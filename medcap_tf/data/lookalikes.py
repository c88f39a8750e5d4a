"""Images that look the same in several splits, whatever their files are called: what a model learned is no test of it.

Axes: N, M images, B bits of a hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_SIDE = 16
BITS = _SIDE * _SIDE
MOST_DIFFERENT_BITS = 18
"""Of 256. Measured on 700 radiographs: copies of half the size, 15% darker and as a JPEG of quality 70 differ by at
most 18 bits in 95 of 100; pictures of another case by 27 at least, and half of all by 71 from the likest."""

_QUERIES, _BLOCK = 1024, 8192  # of so many rows at a time, so that no matrix is large

# Less contrast than this, gray levels, and the hash is of noise: blank images are nobody's copy.
_LEAST_CONTRAST = 4.0


def difference_hash(image: np.ndarray) -> np.ndarray | None:
    """Whether each of 16 x 16 places is darker than the one to its right: uint8 [H, W, 3] -> bool [256].

    The difference hash (N. Krawetz 2013) on a finer grid than its usual 8 x 8, on which radiographs of one view are
    alike. None for an image without contrast.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    if small.std() < _LEAST_CONTRAST:
        return None
    return (small[:, 1:] > small[:, :-1]).ravel()


def lookalikes(earlier: Sequence[np.ndarray | None], later: Sequence[np.ndarray | None]) -> list[tuple[int, int, int]]:
    """Images of `later` that look like one of `earlier`: rows (later, earlier, bits that differ), the closest of each.

    With bits as -1 and 1 the product of two hashes is 256 less twice the bits that differ, so that all pairs are matrix
    products: of 20,000 images with 80,000 they take less than a minute.

    Args:
        earlier: N hashes, None for images without one.
        later: M hashes.
    """
    (ours, rows), (theirs, others) = _signs(later), _signs(earlier)
    best, nearest = np.full(len(rows), -np.inf, np.float32), np.zeros(len(rows), np.int64)
    for first in range(0, len(others), _BLOCK):
        block = theirs[first : first + _BLOCK].T
        for start in range(0, len(rows), _QUERIES):
            some = slice(start, start + _QUERIES)
            product = ours[some] @ block
            found = product.argmax(1)
            values = product[np.arange(len(found)), found]
            closer = values > best[some]  # of equals the first
            best[some] = np.where(closer, values, best[some])
            nearest[some] = np.where(closer, first + found, nearest[some])
    bits = (BITS - best) / 2
    return [(rows[i], others[nearest[i]], int(bits[i])) for i in np.flatnonzero(bits <= MOST_DIFFERENT_BITS)]


def _signs(hashes: Sequence[np.ndarray | None]) -> tuple[np.ndarray, list[int]]:
    """The hashes that there are as -1 and 1, float32 [n, 256], and the rows they come from."""
    rows = [row for row, bits in enumerate(hashes) if bits is not None]
    known = [bits for bits in hashes if bits is not None]
    return np.where(np.array(known, bool).reshape(-1, BITS), np.float32(1), np.float32(-1)), rows
