"""Images that look the same in several splits, whatever their files are called: what a model learned is no test of it.

Axes: N, M images, B bits of a hash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

_SIDE = 16
BITS = _SIDE * _SIDE
MOST_DIFFERENT_BITS = 18
"""Of 256. Measured on 700 radiographs: copies of half the size, 15% darker and as a JPEG of quality 70 differ by at
most 18 bits in 95 of 100; pictures of another case by 27 at least, and half of all by 71 from the likest."""

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

    Two hashes that differ in at most 18 bits agree in one of 19 pieces at least, so that only those are compared which
    share a piece.

    Args:
        earlier: N hashes, None for images without one.
        later: M hashes.
    """
    pieces = np.array_split(np.arange(BITS), MOST_DIFFERENT_BITS + 1)
    index: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in pieces]
    for row, bits in enumerate(earlier):
        for table, piece in zip(index, pieces):
            if bits is not None:
                table[bits[piece].tobytes()].append(row)
    known = np.stack([np.zeros(BITS, bool) if bits is None else bits for bits in earlier]) if len(earlier) else None
    alike = []
    for row, bits in enumerate(later):
        if bits is None or known is None:
            continue
        rows = sorted({other for table, piece in zip(index, pieces) for other in table.get(bits[piece].tobytes(), ())})
        if rows:
            distances = (known[rows] != bits).sum(1)
            best = int(distances.argmin())
            if distances[best] <= MOST_DIFFERENT_BITS:
                alike.append((row, rows[best], int(distances[best])))
    return alike
