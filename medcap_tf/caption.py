"""What a captioner says of one image, whoever says it: a run, an export, a server. Free of TensorFlow.

Axes: h x w regions of C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Caption:
    """What the captioner has to say of one image; `error` says why where it could not be read."""

    path: Path
    words: tuple[str, ...] = ()  # as people write them
    stems: tuple[str, ...] = ()  # as the model writes them
    tokens: np.ndarray | None = None  # int32 [len(words)], the stems' ids
    score: float = 0.0  # mean log-probability a token, nats
    attention: np.ndarray | None = None  # float32 [len(words), h, w], each word's map sums to 1
    word_importance: np.ndarray | None = None  # float32 [len(words)], sums to 1; None without concepts
    copied: np.ndarray | None = None  # float32 [len(words)] in 0..1, what similar images gave; None: not told, or none
    similar: tuple[tuple[str, float], ...] = ()  # captions of similar images with their weights, where told
    concepts: tuple[tuple[str, float], ...] = ()  # codes predicted from the image (or the words), best first
    concept_scores: np.ndarray | None = None  # float32 [K] in 0..1, of all codes the run knows, named or not
    pooled: np.ndarray | None = None  # float32 [C], mean region
    error: str = ""
    image_id: str = ""  # the record's, folders and all; empty where nobody has given one

    @property
    def text(self) -> str:
        """The caption as one line."""
        return " ".join(self.words)

    @property
    def key(self) -> str:
        """What references know the image by: its ID, or else its path; a file's name alone is many images'."""
        return self.image_id or str(self.path)
