"""A network's weights on disk: an .h5 file a part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from medcap_tf.errors import InputError
from medcap_tf.models.captioning import CaptioningModel


def save_weights(model: CaptioningModel, folder: Path, names: Iterable[str] | None = None) -> None:
    """Write each part's weights (all parts, or those named) to `folder/NAME.h5`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in model.parts() if names is None else names:
        beside = folder / f".{name}.h5"
        model.parts()[name].save_weights(beside)
        os.replace(beside, folder / f"{name}.h5")


def load_weights(model: CaptioningModel, folder: Path, names: Iterable[str] | None = None) -> None:
    """Read what `save_weights` wrote; raises InputError where a file is missing or of another architecture."""
    for name in model.parts() if names is None else names:
        path = folder / f"{name}.h5"
        if not path.is_file():
            raise InputError(f"{path}: no such file; the run is not finished: train it with --resume")
        try:
            model.parts()[name].load_weights(path)
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: does not fit the run's config.json ({error})") from error
