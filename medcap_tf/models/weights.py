"""A network's weights on disk: an .h5 file a part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import h5py
import keras

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
            if name == "decoder" and _holds_concept_head(path):
                _load_by_name(model.parts()[name], path)
            else:
                model.parts()[name].load_weights(path)
        except (KeyError, ValueError, OSError) as error:
            raise InputError(f"{path}: does not fit the run's config.json ({error})") from error


def _holds_concept_head(path: Path) -> bool:
    """Whether a decoder was written when the concept head sat inside it."""
    with h5py.File(path, "r") as file:
        return "concept_logits" in file.get("decoder_begin", ())


def _load_by_name(part: keras.Model, path: Path) -> None:
    with h5py.File(path, "r") as file:
        for layer in part.layers:
            layer.set_weights([file[layer.name][weight.name][()] for weight in layer.weights])
