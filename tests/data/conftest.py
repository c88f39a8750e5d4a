"""Records that several tests of the data share."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medcap_tf.data.records import Record

CAPTIONS = ["renal cyst", "renal", "large renal cyst left", "left cyst", "cyst"]


@pytest.fixture
def records(tmp_path):
    """Five gray images of values 0, 50, 100, 150, 200."""
    made = []
    for i, caption in enumerate(CAPTIONS):
        path = tmp_path / f"image{i}.png"
        cv2.imwrite(str(path), np.full((20, 30), 50 * i, np.uint8))
        made.append(Record(f"image{i}", path, caption, ("C0000001", "C0000002")[: i % 3]))
    return made
