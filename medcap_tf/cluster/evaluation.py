"""A split captioned by many workers, and scored here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.caption import Caption, ImageInput
from medcap_tf.cluster.engine import Resources
from medcap_tf.cluster.worker import Model, prepare_process
from medcap_tf.run_folder import RunFolder

_IMAGES = 64  # a task


class Images(NamedTuple):
    """What one worker captions at a time."""

    start: int
    sources: Sequence[ImageInput]
    references: Sequence[str] | None
    own: np.ndarray | None  # int32, of each source: see `RunCaptioner.caption`


class SplitWorker:
    """Captions images of a split, with everything that a caption says."""

    def __init__(self, model: Model, resources: Resources):
        """Nothing is loaded yet."""
        self._model, self._resources = model, resources
        self._captioner: Any = None

    def load(self) -> None:
        """Load the run; raises InputError where this machine does not have it."""
        prepare_process(self._resources)
        from medcap_tf.captioner import RunCaptioner

        self._captioner = RunCaptioner.load(self._model.path, dict(self._model.settings))

    def run(self, images: Images) -> list[Caption]:
        """The captions, in order."""
        return list(self._captioner.caption(images.sources, images.references, images.own))


class SharedCaptioner:
    """A run's captioner as an evaluation asks it, whose work many do; inside `engine.connected`."""

    def __init__(self, model: Model, resources: Resources, workers: int):
        """Raises InputError where this is no run."""
        run = RunFolder(model.path)
        self.config = run.read_config().replace(dict(model.settings))
        concepts = run.read_concepts()
        self.concepts, self.concept_names = concepts.codes, concepts.names
        self._model, self._resources, self._workers = model, resources, workers

    def caption(
        self,
        sources: Sequence[ImageInput],
        references: Sequence[str] | None = None,
        own: np.ndarray | None = None,
    ) -> Iterator[Caption]:
        """As `RunCaptioner.caption`, in the order of the sources."""
        import ray

        from medcap_tf.cluster.pool import run_tasks

        def cut(values: Any, start: int) -> Any:
            return None if values is None else values[start : start + _IMAGES]

        tasks = [
            Images(start, cut(sources, start), cut(references, start), cut(own, start))
            for start in range(0, len(sources), _IMAGES)
        ]
        actor = ray.remote(SplitWorker).options(**self._resources.of_worker)
        done, following = {}, 0
        names = run_tasks(lambda: actor.remote(self._model, self._resources), tasks, self._workers, _describe)
        for task, captions in names:
            done[task.start] = captions
            while following in done:
                yield from done.pop(following)
                following += _IMAGES


def _describe(images: Images) -> str:
    return f"images {images.sources[0]} to {images.sources[-1]}"
