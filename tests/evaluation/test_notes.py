"""What the attention does, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.evaluation.notes import attention_statistics


def test_attention_that_never_moves_has_collapsed():
    def caption(*maps):
        return Caption(Path("i"), tuple("ab"[: len(maps)]), attention=np.array(maps, np.float32).reshape(-1, 1, 2))

    moving = [caption([1, 0], [0, 1]), caption([0.5, 0.5], [0.5, 0.5]), Caption(Path("empty"))]
    # The words of the first differ wholly, those of the second not; their means are the same map.
    assert attention_statistics(moving) == {"between_words": 0.5, "between_images": 0.0}
    still = [caption([1, 0]), caption([0.25, 0.75])]
    assert attention_statistics(still) == {"between_words": 0.0, "between_images": 0.75}
    assert attention_statistics([]) == {"between_words": 0.0, "between_images": 0.0}
