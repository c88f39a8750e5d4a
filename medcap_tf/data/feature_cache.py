"""The on-disk cache of a frozen encoder's features.

Axes: S pixels a side, h x w grid of regions of C channels.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from medcap_tf.config import DataConfig
from medcap_tf.data.pipeline import EVERY, Loader
from medcap_tf.data.records import Record
from medcap_tf.data.splits import file_digest
from medcap_tf.errors import InputError

_LINE = 64 + 1 + 8 + 1  # characters of a line of an index


def views(config: DataConfig) -> list[str]:
    """The views of each image that a frozen encoder's features are cached for."""
    wanted = {
        "identity": True,
        "horizontal_flip": config.horizontal_flip,
        "vertical_flip": config.vertical_flip,
        "center_crop": config.crop < 1,
    }
    return [view for view, used in wanted.items() if used]


def fingerprint(models: Sequence[keras.Model | None], size: int, equalize: bool) -> str:
    """A name for what decides the features of models: weights, outputs, input size, equalization, compute type."""
    digest, present = hashlib.sha256(), [model for model in models if model is not None]
    for weight in [weight for model in present for weight in model.get_weights()]:
        digest.update(np.ascontiguousarray(weight).data)
    outputs = [[model.output_names, model.layers[-1].compute_dtype] for model in present]
    digest.update(json.dumps([outputs, size, equalize]).encode())
    return digest.hexdigest()[:20]


def cache_folder(config: DataConfig, run: Path) -> Path:
    """Where a run's features are: the setting, or beside the run, where other runs find them too."""
    return Path(config.feature_cache or run.parent / ".features")


class CachedRows:
    """Rows of a view on disk, each held against its checksum when this process reads it first."""

    def __init__(self, rows: np.ndarray, checksums: Sequence[int], repair: Callable[[int], None]):
        """Of rows float16 [N, h, w, C]; `repair` computes one again, whose checksum is wrong."""
        self._rows, self._checksums, self._repair = rows, checksums, repair
        self._checked = np.zeros(len(rows), bool)

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        """Some rows, int64 [n] -> float16 [n, h, w, C]; of one number the row alone."""
        wanted = np.atleast_1d(rows)
        for row in np.unique(wanted[~self._checked[wanted]]).tolist():
            if zlib.crc32(self._rows[row].tobytes()) != self._checksums[row]:
                self._repair(row)
            self._checked[row] = True
        return np.asarray(self._rows[rows])


class _View:
    """What is known of one view: which content has which row, and where a row comes from."""

    def __init__(self, lines: Sequence[str]):
        self.rows = {line.split()[0]: row for row, line in enumerate(lines)}
        self.checksums = [int(line.split()[1], 16) for line in lines]
        self.sources: dict[int, Callable[[], np.ndarray]] = {}  # row -> features [h, w, C], computed

    def add(self, key: str, checksum: int) -> None:
        self.rows[key] = len(self.checksums)
        self.checksums.append(checksum)


class FeatureCache:
    """float16 [h, w, C] for each image and view, on disk, found by the image's content.

    A view has two files: `VIEW.features`, rows of equal size, and `VIEW.index`, a line `sha256 crc32` for each row,
    appended after the row is on disk. An interrupted run leaves whole rows only; what an index line does not cover is
    written again. Opening reads the index alone: a row is held against its checksum when it is first read, and computed
    again where that is wrong.
    """

    def __init__(self, folder: Path, region_shape: tuple[int, ...]):
        self.folder, self.region_shape = Path(folder), tuple(region_shape)
        self._row_bytes = int(np.prod(self.region_shape)) * 2
        self._views: dict[str, _View] = {}

    def reserve(self, wanted: Mapping[str, Sequence[Record]]) -> str:
        """What filling it will write, for people; empty where nothing is missing.

        Args:
            wanted: the records by view.

        Raises:
            InputError: the disk has no room for it.
        """
        missing = {view: set(_content_keys(records)) - set(self._open(view).rows) for view, records in wanted.items()}
        images, used = len(set().union(*missing.values())), sum(map(bool, missing.values()))
        size = self._row_bytes * sum(map(len, missing.values()))
        if not size:
            return ""
        free = shutil.disk_usage(next(path for path in (self.folder, *self.folder.parents) if path.exists())).free
        needs = f"{_readable(size)} ({images:,} images in {used} view{'s' if used > 1 else ''})"
        if size > free:
            raise InputError(
                f"{self.folder.parent}: the feature cache needs {needs}, and {_readable(free)} are free; name another "
                "folder by data.feature_cache, leave out views by data.crop=1 and data.horizontal_flip=false, lower "
                "visual.image_size, or train without a cache by visual.trainable=last_stage"
            )
        return f"feature cache: {needs} to be written to {self.folder.parent}; {_readable(free)} are free"

    def fill(
        self, records: Sequence[Record], view: str, compute: Callable[[np.ndarray], np.ndarray], prepared: Any
    ) -> np.ndarray:
        """Compute what is missing; returns each record's row of `features(view)`, int64 [len(records)].

        Args:
            records: records with readable images.
            view: one of `images.VIEWS`.
            compute: pixels uint8 [n, S, S, 3] -> features [n, h, w, C].
            prepared: `(record, view) -> uint8 [S, S, 3]`.
        """
        keys = _content_keys(records)
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):  # runs that share the folder write one after another
            sources = self._views.pop(view).sources if view in self._views else {}
            known = self._open(view)  # another run may have written meanwhile
            self._truncate(view)
            missing = {key: record for key, record in zip(keys, records) if key not in known.rows}
            if missing:
                self._append(view, missing, compute, prepared)
        rows = [known.rows[key] for key in keys]
        known.sources.update(sources)
        for row, record in zip(rows, records):
            known.sources[row] = functools.partial(_computed, record, view, compute, prepared)
        return np.array(rows, np.int64)

    def take_over(self, other: FeatureCache, view: str) -> int:
        """Append the rows of another cache that this one lacks; returns how many these were."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            self._views.pop(view, None)
            own, given = self._open(view).rows, other._open(view).rows
            self._truncate(view)
            new = {key: row for key, row in given.items() if key not in own}
            if new:
                self._write(view, list(new), other.features(view)[np.array(list(new.values()))])
        return len(new)

    def features(self, view: str) -> CachedRows:
        """All rows of a view, float16 [rows, h, w, C], mapped from disk; those that were filled may be read."""
        path, known = self.folder / f"{view}.features", self._open(view)
        rows = np.memmap(path, np.float16, "r", shape=(len(known.checksums), *self.region_shape))
        return CachedRows(rows, known.checksums, lambda row: self._repair(view, row))

    def _open(self, view: str) -> _View:
        """What the index says of whole rows."""
        if view not in self._views:
            data, index = self.folder / f"{view}.features", self.folder / f"{view}.index"
            lines = index.read_text().splitlines(keepends=True) if index.exists() and data.exists() else []
            whole = data.stat().st_size // self._row_bytes if lines else 0
            good = list(itertools.takewhile(lambda line: len(line) == _LINE and line.endswith("\n"), lines[:whole]))
            self._views[view] = _View(good)
        return self._views[view]

    def _truncate(self, view: str) -> None:
        """Cut off what an interrupted run left, rows without a line or a line without its row."""
        count = len(self._open(view).checksums)
        for path, size in ((f"{view}.features", self._row_bytes), (f"{view}.index", _LINE)):
            with open(self.folder / path, "ab") as file:
                file.truncate(count * size)

    def _append(self, view: str, missing: dict[str, Record], compute: Any, prepared: Any) -> None:
        keys = list(missing)
        bar = tqdm(total=len(keys), desc=f"features of {view.replace('_', ' ')}", unit="image", mininterval=1.0)
        for start, pixels in _ahead(keys, lambda key: prepared(missing[key], view), 32):
            self._write(view, keys[start : start + len(pixels)], np.asarray(compute(pixels)).astype(np.float16))
            bar.update(len(pixels))
        bar.close()

    def _write(self, view: str, keys: Sequence[str], features: np.ndarray) -> None:
        with open(self.folder / f"{view}.features", "ab") as data:
            data.write(features.tobytes())
        checksums = [zlib.crc32(row.tobytes()) for row in features]
        with open(self.folder / f"{view}.index", "a") as index:
            index.writelines(f"{key} {checksum:08x}\n" for key, checksum in zip(keys, checksums))
        for key, checksum in zip(keys, checksums):
            self._views[view].add(key, checksum)

    def _repair(self, view: str, row: int) -> None:
        """Compute a row again, and put it and its checksum in place of what is there."""
        known = self._open(view)
        values = known.sources[row]().tobytes()
        known.checksums[row] = zlib.crc32(values)
        with FileLock(self.folder / ".lock"):
            for path, place, content in (
                (f"{view}.features", row * self._row_bytes, values),
                (f"{view}.index", (row + 1) * _LINE - 9, f"{known.checksums[row]:08x}".encode()),
            ):
                with open(self.folder / path, "r+b") as file:
                    file.seek(place)
                    file.write(content)


def _computed(record: Record, view: str, compute: Any, prepared: Any) -> np.ndarray:
    return np.asarray(compute(prepared(record, view)[None]))[0].astype(np.float16)


def _content_keys(records: Sequence[Record]) -> list[str]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda record: file_digest(record.image_file), records))


def _readable(size: float) -> str:
    unit = "GB" if size >= 1e8 else "MB"
    return f"{size / (1e9 if unit == 'GB' else 1e6):,.1f} {unit}"


def feature_loader(cache: FeatureCache, rows_by_view: dict[str, np.ndarray]) -> Loader:
    """Rows to cached features float16 [n, h, w, C]; a random one of the views for each row."""
    names = list(rows_by_view)
    features = {view: cache.features(view) for view in names}

    def load(rows: np.ndarray, rng: np.random.Generator, own: slice = EVERY) -> np.ndarray:
        drawn = rng.integers(len(names), size=len(rows))
        return np.stack([features[names[v]][rows_by_view[names[v]][row]] for v, row in zip(drawn[own], rows[own])])

    return load


def _ahead(items: Sequence[Any], load: Callable[[Any], np.ndarray], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Chunks of loaded items with their first index, the next chunk loading while one is in use."""
    with ThreadPoolExecutor() as pool:
        following = [pool.submit(load, item) for item in items[:size]]
        for start in range(0, len(items), size):
            current = following
            following = [pool.submit(load, item) for item in items[start + size : start + 2 * size]]
            yield start, np.stack([future.result() for future in current])
