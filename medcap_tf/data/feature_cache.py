"""The on-disk cache of a frozen encoder's features.

Axes: S pixels a side, h x w grid of regions of C channels.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from medcap_tf.config import DataConfig
from medcap_tf.data.pipeline import Loader
from medcap_tf.data.records import Record
from medcap_tf.data.splits import content_digest


def views(config: DataConfig) -> list[str]:
    """The views of each image that a frozen encoder's features are cached for."""
    wanted = {
        "identity": True,
        "horizontal_flip": config.horizontal_flip,
        "vertical_flip": config.vertical_flip,
        "center_crop": config.crop < 1,
    }
    return [view for view, used in wanted.items() if used]


def fingerprint(encoder: keras.Model, size: int, equalize: bool) -> str:
    """A name for what decides an encoder's features: weights, layer, input size, equalization, compute type."""
    digest = hashlib.sha256()
    for weight in encoder.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    policy = encoder.layers[-1].compute_dtype
    digest.update(json.dumps([encoder.layers[-1].name, size, equalize, policy]).encode())
    return digest.hexdigest()[:20]


class FeatureCache:
    """float16 [h, w, C] for each image and view, on disk, found by the image's content.

    A view has two files: `VIEW.features`, rows of equal size, and `VIEW.index`, a line `sha256 crc32` for each row,
    appended after the row is on disk. An interrupted run leaves whole rows only; what an index line does not cover is
    written again, and a row whose checksum is wrong is computed again.
    """

    def __init__(self, folder: Path, region_shape: tuple[int, int, int]):
        self.folder, self.region_shape = Path(folder), tuple(region_shape)
        self._row_bytes = int(np.prod(self.region_shape)) * 2
        self._rows: dict[str, dict[str, int]] = {}

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
        with ThreadPoolExecutor() as pool:
            keys = list(pool.map(_content_key, records))
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):  # runs that share the folder write one after another
            self._rows.pop(view, None)  # another run may have written meanwhile
            known = self._open(view)
            missing = {key: record for key, record in zip(keys, records) if key not in known}
            if missing:
                self._append(view, missing, compute, prepared)
        return np.array([self._rows[view][key] for key in keys], np.int64)

    def features(self, view: str) -> np.ndarray:
        """All rows of a view, float16 [rows, h, w, C], mapped from disk."""
        path = self.folder / f"{view}.features"
        return np.memmap(path, np.float16, "r", shape=(len(self._open(view)), *self.region_shape))

    def _open(self, view: str) -> dict[str, int]:
        """Content key -> row; checks every row's checksum the first time."""
        if view not in self._rows:
            self._rows[view] = self._verify(self.folder / f"{view}.features", self.folder / f"{view}.index")
        return self._rows[view]

    def _verify(self, data: Path, index: Path) -> dict[str, int]:
        lines = index.read_text().splitlines(keepends=True) if index.exists() and data.exists() else []
        good: list[str] = []
        with open(data, "r+b" if data.exists() else "w+b") as file:
            for line in lines:
                row, parts = file.read(self._row_bytes), line.split()
                # Rows after a bad one would move, so all of them are computed again: it has to be rare.
                whole = line.endswith("\n") and len(parts) == 2 and len(row) == self._row_bytes
                if not whole or f"{zlib.crc32(row):08x}" != parts[1]:
                    break
                good.append(line)
            file.truncate(len(good) * self._row_bytes)
        if len(good) < len(lines):
            index.write_text("".join(good))
        return {line.split()[0]: row for row, line in enumerate(good)}

    def _append(self, view: str, missing: dict[str, Record], compute: Any, prepared: Any) -> None:
        rows, keys = self._rows[view], list(missing)
        bar = tqdm(total=len(keys), desc=f"features of {view.replace('_', ' ')}", unit="image", mininterval=1.0)
        with open(self.folder / f"{view}.features", "ab") as data, open(self.folder / f"{view}.index", "a") as index:
            for start, pixels in _ahead(keys, lambda key: prepared(missing[key], view), 32):
                chunk = keys[start : start + len(pixels)]
                features = np.asarray(compute(pixels)).astype(np.float16)
                data.write(features.tobytes())
                data.flush()
                index.writelines(f"{k} {zlib.crc32(f.tobytes()):08x}\n" for k, f in zip(chunk, features))
                index.flush()
                rows.update({key: len(rows) + i for i, key in enumerate(chunk)})
                bar.update(len(chunk))
        bar.close()


def feature_loader(cache: FeatureCache, rows_by_view: dict[str, np.ndarray]) -> Loader:
    """Rows to cached features float16 [n, h, w, C]; a random one of the views for each row."""
    names = list(rows_by_view)
    features = {view: cache.features(view) for view in names}

    def load(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn = rng.integers(len(names), size=len(rows))
        return np.stack([features[names[v]][rows_by_view[names[v]][row]] for v, row in zip(drawn, rows)])

    return load


def _content_key(record: Record) -> str:
    return content_digest(record.image_file.read_bytes())


def _ahead(items: Sequence[Any], load: Callable[[Any], np.ndarray], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Chunks of loaded items with their first index, the next chunk loading while one is in use."""
    with ThreadPoolExecutor() as pool:
        following = [pool.submit(load, item) for item in items[:size]]
        for start in range(0, len(items), size):
            current = following
            following = [pool.submit(load, item) for item in items[start + size : start + 2 * size]]
            yield start, np.stack([future.result() for future in current])
