"""Every setting, by section: frozen, checked once, JSON in and out, `section.field=value` from the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from medcap_tf.errors import InputError


def _choice(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"choices": (default, *choices)})


def _number(default: float, low: float, high: float = float("inf")) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class DataConfig:
    """Which splits are read and how images vary in training."""

    train_split: str = "train"
    valid_split: str = "valid"  # absent, or the same as train_split: valid_fraction of the training captions
    test_split: str = "test"
    valid_fraction: float = _number(0.1, 0.01, 0.5)
    min_concept_count: int = _number(5, 1)  # rarer concepts are not learned, but count
    equalize: bool = False  # contrast-limited histogram equalisation (CLAHE)
    horizontal_flip: bool = True  # wrong where captions name left and right
    vertical_flip: bool = False
    crop: float = _number(0.8, 0.3, 1.0)  # smallest share of each side that a random crop keeps; 1: none
    feature_cache: str = ""  # a folder; empty: `.features` beside the run folder


@dataclass(frozen=True)
class TextConfig:
    """From a caption to token ids."""

    stemmer: str = _choice("snowball", "porter", "lancaster", "none")
    remove_stop_words: bool = True
    min_count: int = _number(2, 1)
    max_words: int = _number(40, 1)  # longer captions are cut in training


@dataclass(frozen=True)
class VisualConfig:
    """ResNet50 and its concept head."""

    image_size: int = _number(224, 32)  # pixels, both sides
    layer: str = "conv5_block3_out"
    weights: str = "imagenet"  # imagenet, none, an .h5 in Keras' layout, or a run folder: its encoder and concepts
    trainable: str = _choice("none", "last_stage", "all")  # while captions are learned
    concept_epochs: int = _number(0, 0)
    concept_trainable: str = _choice("all", "last_stage", "none")  # while concepts are learned
    concept_learning_rate: float = _number(1e-3, 0)
    concept_dropout: float = _number(0.2, 0, 0.9)
    concept_loss: str = _choice("cross_entropy", "focal")

    @property
    def weights_of_run(self) -> bool:
        """Whether the encoder comes, with its concept head, from another run."""
        return self.weights not in ("imagenet", "none") and not self.weights.endswith((".h5", ".hdf5"))

    @property
    def names_concepts(self) -> bool:
        """Whether the concept head is a trained one."""
        return self.concept_epochs > 0 or self.weights_of_run


@dataclass(frozen=True)
class SemanticConfig:
    """The reader of words: embedding, GRU, causal self-attention, concepts."""

    embedding_size: int = _number(128, 1)
    units: int = _number(256, 1)
    attention_units: int = _number(128, 1)
    dropout: float = _number(0.3, 0, 0.9)
    epochs: int = _number(15, 0)
    learning_rate: float = _number(2e-3, 0)
    loss: str = _choice("focal", "cross_entropy")


@dataclass(frozen=True)
class DecoderConfig:
    """The attention LSTM that writes the caption."""

    embedding_size: int = _number(256, 1)
    units: int = _number(512, 1)
    attention_units: int = _number(256, 1)
    dropout: float = _number(0.5, 0, 0.9)
    image_concepts: bool = True  # start from the concepts seen in the image too, where they were learned
    semantic_source: str = _choice("prefix", "none", "reference")  # reference: an oracle that reads the answer


@dataclass(frozen=True)
class TrainingConfig:
    """The loop: what it optimises and when it stops."""

    epochs: int = _number(30, 0)
    batch_size: int = _number(32, 1)
    learning_rate: float = _number(1e-3, 0)
    weight_decay: float = _number(1e-3, 0)
    warmup_epochs: float = _number(1, 0)
    clip_norm: float = _number(5.0, 0)
    label_smoothing: float = _number(0.1, 0, 0.5)
    scheduled_sampling: float = _number(0.0, 0, 1)  # probability reached in the last epoch, from 0 in the first
    patience: int = _number(8, 1)  # epochs without a better validation score
    explain_every: int = _number(0, 0)  # epochs between tf-explain pictures; 0: never
    explain_images: int = _number(4, 1)
    precision: str = _choice("auto", "float32", "mixed_bfloat16", "mixed_float16")
    xla: bool = False
    deterministic: bool = False
    seed: int = _number(0, 0)


@dataclass(frozen=True)
class DecodingConfig:
    """The search for the caption."""

    beam_width: int = _number(3, 1, 64)
    max_length: int = _number(30, 1)  # tokens, <end> included
    length_penalty: float = _number(1.0, 0)  # beams are ranked by log-probability / length ** length_penalty
    neighbours: int = _number(32, 0, 1000)  # similar training images with a say in each word and concept; 0: none
    batch_size: int = _number(16, 1)


@dataclass(frozen=True)
class Config:
    """All sections.

    Raises:
        InputError: a field is of the wrong type, out of its range or not among its choices.
    """

    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    visual: VisualConfig = field(default_factory=VisualConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        for section in dataclasses.fields(self):
            _check_section(section.name, getattr(self, section.name))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The sections as plain dictionaries."""
        return dataclasses.asdict(self)

    def replace(self, values: Mapping[str, Any]) -> Config:
        """A copy with `{"section.field": value}` changed; strings are read as the field's type.

        Raises:
            InputError: no such section or field, or a value that does not fit.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            section, _, key = name.partition(".")
            sections.setdefault(section, {})[key] = _convert(self, section, key, value)
        return dataclasses.replace(
            self, **{s: dataclasses.replace(getattr(self, s), **fields) for s, fields in sections.items()}
        )


def from_json(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """`{"section": {"field": value}}` over the defaults (or over `base`); raises InputError on unknown ones."""
    flat = {}
    for section, fields in values.items():
        if not isinstance(fields, Mapping):
            raise InputError(f"configuration: section {section!r} should hold fields, found {fields!r}")
        flat.update({f"{section}.{key}": value for key, value in fields.items()})
    return (base or Config()).replace(flat)


def load(path: Path, base: Config | None = None) -> Config:
    """Read a JSON file of settings; a run's own `config.json` (settings under `"config"`) is read too."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a JSON file") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); it should hold {{section: {{field: value}}}}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: should hold {{section: {{field: value}}}}, found {type(values).__name__}")
    try:
        return from_json(values.get("config", values), base)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """`["section.field=value", ...]` -> `{"section.field": "value"}`; raises InputError on another form."""
    result = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: should be section.field=value, as in --set decoding.beam_width=5")
        result[name.strip()] = value.strip()
    return result


def describe() -> str:
    """Every setting with its default and its choices or range, one a line, for `--help`."""
    lines = []
    for section in dataclasses.fields(Config):
        for item in dataclasses.fields(section.default_factory):  # type: ignore[arg-type]
            limits = item.metadata.get("choices") or item.metadata.get("range")
            hint = "" if not limits else "  " + (" | " if "choices" in item.metadata else " to ").join(map(str, limits))
            lines.append(f"  {section.name}.{item.name}={item.default}{hint}")
    return "\n".join(lines)


def _convert(config: Config, section: str, key: str, value: Any) -> Any:
    known = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    if section not in known:
        raise InputError(f"setting {section}.{key}: no section {section!r}; there are {', '.join(known)}")
    types = get_type_hints(type(known[section]))
    if key not in types:
        raise InputError(f"setting {section}.{key}: no such field; section {section} has {', '.join(types)}")
    kind = types[key]
    try:
        if kind is bool:
            return _to_bool(value)
        if kind is int and float(value) != int(float(value)):
            raise ValueError(value)
        return kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"setting {section}.{key}: {value!r} should be of type {kind.__name__}") from error


def _to_bool(value: Any) -> bool:
    names = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return names[str(value).lower()] if str(value).lower() in names else _refuse(value)


def _refuse(value: Any) -> bool:
    raise ValueError(value)


def _check_section(section: str, values: Any) -> None:
    for item in dataclasses.fields(values):
        value = getattr(values, item.name)
        choices, limits = item.metadata.get("choices"), item.metadata.get("range")
        if choices and value not in choices:
            raise InputError(f"setting {section}.{item.name}: {value!r} is none of {', '.join(choices)}")
        if limits and not limits[0] <= value <= limits[1]:
            raise InputError(f"setting {section}.{item.name}: {value} lies outside {limits[0]} to {limits[1]}")
