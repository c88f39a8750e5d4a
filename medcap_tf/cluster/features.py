"""The cache of a frozen encoder's features, filled by many workers before a training that would fill it by one.

Each worker writes a part into a cache of its own, inside the cache that the training will read; the parts are then
taken over there one after another. What is killed in between leaves parts, whose rows are not computed again.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from medcap_tf.cluster.engine import Resources, connected
from medcap_tf.cluster.worker import prepare_process
from medcap_tf.config import Config
from medcap_tf.data.feature_cache import FeatureCache, cache_folder, fingerprint, views
from medcap_tf.data.records import Record, read_dataset
from medcap_tf.data.splits import check_images, choose_splits
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder

_IMAGES = 256  # a part
_PARTS = ".parts"


class Part(NamedTuple):
    """What one worker computes at a time."""

    number: int
    view: str
    split: str
    records: list[Record]


class Done(NamedTuple):
    """What has become of a part."""

    folder: Path  # its cache
    shape: tuple[int, ...]  # of what is kept of an image
    unreadable: int


class FeatureWorker:
    """Computes parts with the encoder that the settings begin with."""

    def __init__(self, config: Config, folder: Path, resources: Resources):
        """`folder`: of all caches."""
        self._config, self._folder, self._resources = config, folder, resources
        self._models: list[Any] = []
        self._compute: Any = None
        self._shape: tuple[int, ...] = ()

    def load(self) -> None:
        """Build the encoder and, of a run, its concept head; raises InputError where weights cannot be had."""
        prepare_process(self._resources)
        from medcap_tf.graphs import graph_function
        from medcap_tf.models.concept_head import build_concept_head
        from medcap_tf.models.visual import build_visual_encoder, pack, packed_size, see
        from medcap_tf.training.device import prepare_device

        precision = prepare_device(self._config.training).encoder_precision
        visual = self._config.visual
        encoder, head = build_visual_encoder(visual, True, precision), None
        if visual.weights_of_run:
            run = RunFolder(visual.weights)
            head = build_concept_head(visual, encoder, len(run.read_concepts().codes))
            head.load_weights(run.best / "concept_head.h5")
        self._models, self._shape = [encoder, head], (packed_size(encoder, head),)
        self._compute = graph_function(lambda x: pack(see(encoder, head, x)), reduce_retracing=True)

    def run(self, part: Part) -> Done:
        """Compute a part; images that cannot be read are left out, as a training leaves them out."""
        from medcap_tf.training.stages import pixels_of

        files = check_images(part.records, part.split)
        records = [record for record, file in zip(part.records, files) if file.problem is None]
        config = self._config
        name = fingerprint(self._models, config.visual.image_size, config.data.equalize)
        folder = self._folder / name / _PARTS / f"{part.view}-{part.number}"
        cache = FeatureCache(folder, self._shape)
        if records:
            cache.fill(records, part.view, self._compute, lambda record, view: pixels_of(record, view, config))
        return Done(folder, self._shape, len(part.records) - len(records))


def fill_cache(data: Path, run: Path, config: Config, resources: Resources) -> dict[str, Any]:
    """Fill the cache that a training of `run` with these settings reads.

    Returns:
        `folder`, `images` by view, `new`, and how many were `unreadable`.

    Raises:
        InputError: settings whose training changes the encoder first, or reads no features.
    """
    visual = config.visual
    if visual.trainable != "none":
        raise InputError(f"setting visual.trainable: {visual.trainable}: the encoder learns along, nothing is cached")
    if visual.concept_epochs and visual.names_concepts:
        raise InputError(
            "setting visual.concept_epochs: the encoder learns concepts before its features are cached; train that "
            "first and give its run by --set visual.weights=RUN visual.concept_epochs=0"
        )
    dataset = read_dataset(data, config.data.train_split if config.data.captions == "all" else None)
    splits = choose_splits(dataset, config.data, config.training.seed)
    wanted = [(view, "train", splits.train) for view in views(config.data)] + [("identity", "valid", splits.valid)]
    folder = cache_folder(config.data, run).resolve()
    with connected(resources) as workers:
        return _fill(config, folder, list(_parts(wanted)), resources, workers)


def _parts(wanted: Sequence[tuple[str, str, list[Record]]]) -> Iterator[Part]:
    number = itertools.count()
    for view, split, records in wanted:
        with_image = [record for record in records if record.image_path]
        for start in range(0, len(with_image), _IMAGES):
            yield Part(next(number), view, split, with_image[start : start + _IMAGES])


def _fill(config: Config, folder: Path, parts: list[Part], resources: Resources, workers: int) -> dict[str, Any]:
    import ray

    from medcap_tf.cluster.pool import run_tasks

    actor = ray.remote(FeatureWorker).options(**resources.of_worker)
    total = sum(len(part.records) for part in parts)
    summary: dict[str, Any] = {"folder": "", "images": total, "new": 0, "unreadable": 0}
    done = run_tasks(lambda: actor.remote(config, folder, resources), parts, workers, _describe)
    with tqdm(total=total, desc="features", unit="image", mininterval=1.0) as bar:
        for part, result in done:
            cache = FeatureCache(result.folder.parents[1], result.shape)
            summary["new"] += cache.take_over(FeatureCache(result.folder, result.shape), part.view)
            summary["unreadable"] += result.unreadable
            summary["folder"] = str(cache.folder)
            shutil.rmtree(result.folder, ignore_errors=True)
            bar.update(len(part.records))
    return summary


def _describe(part: Part) -> str:
    return f"features of {part.split} images {part.records[0].image_id} to {part.records[-1].image_id}"
