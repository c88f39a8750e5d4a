"""A run's captioner from the graph that lies beside its weights: the same captions, without Python's TensorFlow.

To build the networks and to trace them again takes three times as long as to load what was traced before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medcap_tf.caption import Caption, ImageInput
from medcap_tf.config import Config
from medcap_tf.errors import InputError
from medcap_tf.image_captioner import ImageCaptioner
from medcap_tf.memory import naming_settings
from medcap_tf.run_folder import ConceptList, RunFolder
from medcap_tf.serving.capi import ServedModel
from medcap_tf.text import Vocabulary


class RunGraph(ImageCaptioner):
    """A run, ready to caption as its own settings say."""

    def __init__(self, config: Config, vocabulary: Vocabulary, concepts: ConceptList, graph: ServedModel, made_of: str):
        """`graph`: what `RunCaptioner.save_graph` wrote; `made_of`: `RunFolder.graph_digest` of that run."""
        super().__init__(config, vocabulary, concepts)
        self.made_of = made_of
        threshold = graph.variable("concept_threshold")
        assert threshold is not None  # its writer's version is this one
        self._graph, self.concept_threshold = graph, float(threshold)

    @classmethod
    def find(cls, run: RunFolder, settings: Mapping[str, Any] | None = None) -> RunGraph | None:
        """Load; None where the run has no graph, or has changed since it was written, and for other settings than its
        own.

        Raises:
            InputError: no run folder, or files that cannot be read.
        """
        made_of = None if settings else run.graph_made_of()
        if made_of is None:
            return None
        try:
            graph = ServedModel(run.graph, as_server=False)
        except InputError as error:
            print(f"{error}; captioning by the run's weights instead", file=sys.stderr)
            return None
        return cls(run.read_config(), run.read_vocabulary(), run.read_concepts(), graph, made_of)

    def caption(self, sources: Sequence[ImageInput]) -> Iterator[Caption]:
        """Caption images, files or arrays, in their order; an unreadable one gets a `Caption` with an error."""
        return self.in_batches(sources, lambda pixels, _: self._caption_pixels(pixels))

    def _caption_pixels(self, pixels: Sequence[np.ndarray]) -> list[Caption]:
        if not pixels:
            return []
        with naming_settings(f"{len(pixels)} images", [f"decoding.batch_size={self.config.decoding.batch_size}"]):
            answer = self._graph.run("caption", {"pixels": np.stack(pixels)})
        return self.to_captions(answer)
