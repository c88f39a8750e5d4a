"""What every score stands beside: popular words without a look at the image, and the nearest training image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from medcap_tf.captioner import Captioner
from medcap_tf.errors import InputError
from medcap_tf.files import write_text
from medcap_tf.metrics import concept_f1
from medcap_tf.records import Record
from medcap_tf.text import Normalizer

POPULAR_WORDS = 10
"""How many words the image-blind baseline says, close to the mean length of a normalised caption."""


def popular_words(captions: Sequence[str], count: int = POPULAR_WORDS) -> str:
    """The caption of the image-blind baseline: the most frequent words of the training captions, most frequent first.

    Stop words are not counted: the official score deletes them.
    """
    normalizer = Normalizer(stemmer="none")
    counts = Counter(word for caption in captions for word in normalizer.stems(caption))
    return " ".join(sorted(counts, key=lambda word: (-counts[word], word))[:count])


def popular_concepts(records: Sequence[Record]) -> tuple[str, ...]:
    """The image-blind concepts: as many of the most frequent ones as score best on the training records themselves."""
    truth = [record.concepts for record in records]
    counts = Counter(concept for concepts in truth for concept in concepts)
    ranked = sorted(counts, key=lambda concept: (-counts[concept], concept))[:20]
    if not ranked:
        return ()
    scores = [concept_f1(truth, [ranked[:k]] * len(truth)) for k in range(1, len(ranked) + 1)]
    return tuple(ranked[: 1 + int(np.argmax(scores))])


def nearest(queries: np.ndarray, library: np.ndarray) -> np.ndarray:
    """Row of the library most similar (cosine) to each query: float [N, C], float [M, C] -> int64 [N]."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (queries, library)]
    return np.argmax(unit[0] @ unit[1].T, axis=1)


class Library(NamedTuple):
    """The training records that the baselines draw on, kept in the run folder."""

    records: list[Record]
    features: np.ndarray  # float16 [M, C], mean region of each image

    @classmethod
    def of(cls, records: Sequence[Record], captioner: Captioner) -> Library:
        """Compute the records' features with the captioner's encoder."""
        found = captioner.pooled_features([r.image_path for r in records])  # type: ignore[misc]
        bar = tqdm(found, total=len(records), desc="features for nearest images", unit="image", mininterval=1.0)
        return cls(list(records), np.stack(list(bar)).astype(np.float16))

    def save(self, run: Path) -> None:
        """Write `library.json` and `library.npy`."""
        values = [{"id": r.image_id, "caption": r.caption, "concepts": r.concepts} for r in self.records]
        write_text(run / "library.json", json.dumps(values, ensure_ascii=False, indent=0) + "\n")
        np.save(run / "library.npy", self.features)

    @classmethod
    def load(cls, run: Path) -> Library:
        """Read what `save` wrote; raises InputError where it is missing."""
        try:
            values = json.loads((run / "library.json").read_text(encoding="utf-8"))
            features = np.load(run / "library.npy")
        except (OSError, ValueError) as error:
            raise InputError(f"{run}: the run is not finished ({error}); train it with --resume") from error
        return cls([Record(v["id"], None, v["caption"], tuple(v["concepts"])) for v in values], features)
