"""Image files in, captions out, around a network that somebody else runs. Free of TensorFlow.

Axes: B images, S pixels a side, h x w regions, T tokens, Q concepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from medcap_tf.caption import OF_CONFIDENCE, OF_NOVELTY, Caption, ImageInput, shares_of
from medcap_tf.config import Config
from medcap_tf.data import images
from medcap_tf.errors import InputError
from medcap_tf.run_folder import ConceptList
from medcap_tf.text import Vocabulary


class ImageCaptioner:
    """What a run knows beside its network: its settings, its words, its concepts."""

    concept_threshold: float  # from which score on a concept is named

    def __init__(self, config: Config, vocabulary: Vocabulary, concepts: ConceptList):
        """`concept_threshold` is whoever runs the network's to set."""
        self.config, self.vocabulary = config, vocabulary
        self.concepts, self.concept_names = concepts.codes, concepts.names

    def in_batches(
        self, sources: Sequence[ImageInput], answer: Callable[[list[np.ndarray], list[int]], list[Caption]]
    ) -> Iterator[Caption]:
        """Caption images in their order; the next batch is decoded while the network works on one.

        Args:
            sources: paths of image files, or images; an unreadable one gets a `Caption` with an error.
            answer: prepared images, uint8 [S, S, 3] each, and their places among the sources -> their captions.
        """
        for start, batch in self._read_ahead(sources):
            readable = {row: item for row, item in enumerate(batch, start) if isinstance(item, np.ndarray)}
            captions = iter(answer(list(readable.values()), list(readable)))
            for source, item in zip(sources[start:], batch):
                caption = Caption(error=str(item)) if isinstance(item, InputError) else next(captions)
                yield caption.of(source)

    def _read_ahead(self, sources: Sequence[ImageInput]) -> Iterator[tuple[int, list[np.ndarray | InputError]]]:
        batch = self.config.decoding.batch_size
        with ThreadPoolExecutor() as pool:
            following = [pool.submit(self._read, source) for source in sources[:batch]]
            for start in range(0, len(sources), batch):
                current = following
                following = [pool.submit(self._read, source) for source in sources[start + batch : start + 2 * batch]]
                yield start, [future.result() for future in current]

    def _read(self, source: ImageInput) -> np.ndarray | InputError:
        try:
            return self.prepare(images.to_array(source))
        except InputError as error:
            return error

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image of any size, uint8 [H, W, 3], as the encoder sees it: uint8 [S, S, 3]."""
        return images.prepare(image, self.config.visual.image_size, self.config.data.equalize)

    def to_captions(self, out: Mapping[str, np.ndarray]) -> list[Caption]:
        """What the network answers for a batch, each array [B, ...], as its images' captions."""
        rows = range(len(out["tokens"]))
        return [self._to_caption({name: value[row] for name, value in out.items()}) for row in rows]

    def _to_caption(self, row: Mapping[str, Any]) -> Caption:
        stems, length = self.vocabulary.decode(row["tokens"]), int(row["length"])
        concepts: list[tuple[str, float]] = []
        if "concept_scores" in row:
            named = np.flatnonzero(row["concept_scores"] >= self.concept_threshold)
            concepts = [(self.concepts[i], float(row["concept_scores"][i])) for i in named]
        return Caption(
            pooled=row["pooled"],
            words=tuple(self.vocabulary.readable(stems)),
            stems=tuple(stems),
            tokens=row["tokens"][:length],
            score=float(row["score"]),
            attention=row["attention"][:length],
            evidence=shares_of(row["evidence"][:length]) if "evidence" in row else None,
            image_share=row["image_share"][:length] if "image_share" in row else None,
            word_importance=row["word_importance"][:length] if "word_importance" in row else None,
            concepts=tuple(sorted(concepts, key=lambda pair: -pair[1])),
            concept_names=self.concept_names,
            concept_scores=row.get("concept_scores"),
            word_scores=row.get("word_scores") if length else None,
            confidence=_number(row, "confidence"),
            novelty=_number(row, "novelty"),
            signals={name: float(row[name]) for name in (*OF_CONFIDENCE, *OF_NOVELTY) if name in row},
        )


def _number(row: Mapping[str, Any], name: str) -> float | None:
    return float(row[name]) if name in row else None
