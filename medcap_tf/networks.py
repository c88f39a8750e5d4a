"""A captioner's networks: built together under their precisions, their weights kept together in a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import keras

from medcap_tf.config import Config
from medcap_tf.errors import InputError
from medcap_tf.models.decoder import DecoderModels, build_decoder
from medcap_tf.models.semantic import SemanticModels, build_semantic
from medcap_tf.models.visual import build_concept_head, build_visual_encoder


class Models(NamedTuple):
    """A captioner's networks; without concepts in the data there is neither head nor semantic encoder."""

    encoder: keras.Model
    head: keras.Model | None
    semantic: SemanticModels | None
    decoder: DecoderModels

    def parts(self) -> dict[str, keras.Model]:
        """The models that hold all weights, by the name of their file in a run."""
        found = {"encoder": self.encoder, "concept_head": self.head, "decoder": self.decoder.teacher}
        found["semantic"] = self.semantic and self.semantic.classifier
        return {name: model for name, model in found.items() if model is not None}


def build_models(
    config: Config,
    vocabulary: int,
    concepts: int,
    *,
    precision: str = "float32",
    encoder_precision: str = "float32",
    with_weights: bool = True,
) -> Models:
    """Build every network under its Keras precision policy; `with_weights`: the encoder starts from `visual.weights`.

    Raises:
        InputError: `decoder.semantic_source` needs concepts and there are none.
    """
    source = config.decoder.semantic_source
    if source != "none" and not concepts:
        raise InputError(
            f"decoder.semantic_source={source} needs concepts to learn from, and the data has none frequent enough; "
            "add a table of concepts, lower data.min_concept_count, or --set decoder.semantic_source=none"
        )
    before = keras.mixed_precision.global_policy()
    try:
        keras.mixed_precision.set_global_policy(encoder_precision)
        encoder = build_visual_encoder(config.visual, with_weights)
        keras.mixed_precision.set_global_policy(precision)
        region_shape = encoder.output_shape[1:]
        head = build_concept_head(config.visual, region_shape, concepts) if concepts else None
        semantic = build_semantic(config.semantic, vocabulary, concepts) if concepts else None
        meaning = config.semantic.units if source != "none" else 0
        told = head if config.decoder.image_concepts and config.visual.names_concepts else None
        decoder = build_decoder(config.decoder, vocabulary, region_shape, meaning, told)
        return Models(encoder, head, semantic, decoder)
    finally:
        keras.mixed_precision.set_global_policy(before)


def save_weights(models: Models, folder: Path, names: Iterable[str] | None = None) -> None:
    """Write each part's weights to `folder/NAME.h5` (all parts, or those named), each by rename."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in models.parts() if names is None else names:
        beside = folder / f".{name}.h5"
        models.parts()[name].save_weights(beside)
        os.replace(beside, folder / f"{name}.h5")


def load_weights(models: Models, folder: Path, names: Iterable[str] | None = None) -> None:
    """Read what `save_weights` wrote; raises InputError where a file is missing or of another architecture."""
    for name in models.parts() if names is None else names:
        path = folder / f"{name}.h5"
        if not path.is_file():
            raise InputError(f"{path}: no such file; the run is not finished: train it with --resume")
        try:
            models.parts()[name].load_weights(path)
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: does not fit the run's config.json ({error})") from error
