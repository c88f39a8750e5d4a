"""Every setting, by section: frozen, checked once, JSON in and out, `section.field=value` from the command line."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from medcap_tf.errors import InputError
from medcap_tf.setting_values import read_value, shown, wrong_type

_MOST = 65_536  # units of a layer, images of a batch: far above use, far below what exhausts memory at once


# Settings by the names that they had in earlier versions.
RENAMED = {"decoding.neighbours": "decoding.neighbors"}

# What a section's name stands for where it is set as a whole: `text=natural`.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "text": {
        "paper": {"stemmer": "snowball", "remove_stop_words": True, "punctuation": False},
        "natural": {"stemmer": "none", "remove_stop_words": False, "punctuation": True},
    }
}


def _choice(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"choices": (default, *choices)})


def _number(default: float, low: float, high: float = float("inf"), **words: float) -> Any:
    """`words` stand for numbers, as `auto` does for 0."""
    return field(default=default, metadata={"range": (low, high), "words": words})


@dataclass(frozen=True)
class DataConfig:
    """Which splits are read and how images vary in training."""

    train_split: str = "train"
    valid_split: str = "valid"  # absent, or the same as train_split: valid_fraction of the training captions
    test_split: str = "test"
    captions: str = _choice("first", "all")  # of images that have several: which ones are trained on
    valid_fraction: float = _number(0.1, 0.01, 0.5)
    min_concept_count: int = _number(5, 1)  # rarer concepts are not learned, but count
    equalize: bool = False  # contrast-limited histogram equalization (CLAHE)
    horizontal_flip: bool = True  # wrong where captions name left and right
    vertical_flip: bool = False
    crop: float = _number(0.8, 0.3, 1.0)  # smallest share of each side that a random crop keeps; 1: none
    erase: float = _number(0.0, 0, 1)  # share of the images that lose a part at random while concepts are learned
    feature_cache: str = ""  # a folder; empty: `.features` beside the run folder


@dataclass(frozen=True)
class TextConfig:
    """From a caption to token ids."""

    stemmer: str = _choice("snowball", "porter", "lancaster", "none")
    remove_stop_words: bool = True
    punctuation: bool = False  # marks are words of their own, and captions are written as sentences
    min_count: int = _number(2, 1)
    max_words: int = _number(40, 1, _MOST)  # longer captions are cut in training


@dataclass(frozen=True)
class VisualConfig:
    """ResNet50 and its concept head."""

    image_size: int = _number(224, 32, 4096)  # pixels, both sides
    layer: str = "conv5_block3_out"
    grid: int = _number(0, 0, 512)  # places a side of the finer grid on which concepts have their maps; 0: none
    weights: str = "imagenet"  # imagenet, none, an .h5 in Keras' layout, or a run folder: its encoder and concepts
    trainable: str = _choice("none", "last_stage", "all")  # while captions are learned
    small_epochs: int = _number(0, 0)  # on smaller images, before concept_epochs
    small_size: int = _number(64, 32, 4096)  # pixels, both sides of these
    concept_epochs: int = _number(0, 0)
    concept_trainable: str = _choice("all", "last_stage", "none")  # while concepts are learned
    concept_learning_rate: float = _number(1e-3, 0)
    concept_dropout: float = _number(0.2, 0, 0.9)
    ema_decay: float = _number(0.0, 0, 0.99999)  # of the weights' moving average while concepts are learned; 0: none
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

    embedding_size: int = _number(128, 1, _MOST)
    units: int = _number(256, 1, _MOST)
    attention_units: int = _number(128, 1, _MOST)
    dropout: float = _number(0.3, 0, 0.9)
    output: str = _choice("deep", "sum")  # deep: as in the paper; sum: a concept is a sum over words
    epochs: int = _number(15, 0)
    learning_rate: float = _number(2e-3, 0)
    loss: str = _choice("focal", "cross_entropy")


@dataclass(frozen=True)
class DecoderConfig:
    """The attention LSTM that generates the caption."""

    embedding_size: int = _number(256, 1, _MOST)
    units: int = _number(512, 1, _MOST)
    attention_units: int = _number(256, 1, _MOST)
    dropout: float = _number(0.5, 0, 0.9)
    image_concepts: bool = True  # read the concepts seen in the image too, where they were learned
    output: str = _choice("deep", "sum")  # deep: as in the paper; sum: words have evidence, place by place
    semantic_source: str = _choice("prefix", "none", "reference")  # reference: an oracle that reads the answer


@dataclass(frozen=True)
class TrainingConfig:
    """The loop: what it optimizes and when it stops."""

    epochs: int = _number(30, 0)
    batch_size: int = _number(32, 0, _MOST, auto=0)  # auto: as many as fit into memory
    learning_rate: float = _number(1e-3, 0)
    weight_decay: float = _number(1e-3, 0)
    warmup_epochs: float = _number(1, 0)
    clip_norm: float = _number(5.0, 0)
    label_smoothing: float = _number(0.1, 0, 0.5)
    scheduled_sampling: float = _number(0.0, 0, 1)  # probability reached in the last epoch, from 0 in the first
    self_critical_epochs: int = _number(0, 0)  # after `epochs`, rewarded by CIDEr-D
    self_critical_learning_rate: float = _number(1e-4, 0)
    patience: int = _number(8, 1)  # epochs without a better validation score
    explain_every: int = _number(0, 0)  # epochs between tf-explain pictures; 0: never
    explain_images: int = _number(4, 1)
    precision: str = _choice("auto", "float32", "mixed_bfloat16", "mixed_float16")
    xla: bool = False  # for the steps on images and on captions
    profile: str = ""  # first:last, batches that TensorBoard's profiler records; empty: none
    deterministic: bool = False
    seed: int = _number(0, 0, 2**32 - 1)

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """The first and the last batch of `profile`, from 1; raises InputError where it does not name them."""
        if not self.profile:
            return None
        first, _, last = self.profile.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise InputError(
                f"setting training.profile: {self.profile!r} should be first:last, the numbers of batches, as in 10:20"
            )
        return int(first), int(last)


@dataclass(frozen=True)
class DecodingConfig:
    """The search for the caption."""

    beam_width: int = _number(3, 1, 64)
    max_length: int = _number(30, 1, _MOST)  # tokens, <end> included
    length_penalty: float = _number(1.0, 0)  # beams are ranked by log-probability / length ** length_penalty
    neighbors: int = _number(32, 0, 1000)  # similar training images that are interpolated with the decoder; 0: none
    no_repeat_ngram: int = _number(0, 0)  # no sequence of so many tokens occurs twice in a caption; 0: all may repeat
    batch_size: int = _number(16, 1, _MOST)


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
        _ = self.training.profiled_steps  # which checks it
        if self.training.xla and self.training.deterministic:
            raise InputError(
                "settings training.xla and training.deterministic: XLA has no deterministic gradient of max pooling; "
                "set one of them alone"
            )
        if self.visual.small_epochs and not self.visual.concept_epochs:
            raise InputError(
                "settings visual.small_epochs and visual.concept_epochs: after smaller images the encoder has to learn "
                "at its own size; set visual.concept_epochs above 0"
            )
        if self.training.self_critical_epochs and self.decoder.semantic_source == "reference":
            raise InputError(
                "settings training.self_critical_epochs and decoder.semantic_source=reference: an oracle draws no "
                "captions of its own; set training.self_critical_epochs=0"
            )

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The sections as plain dictionaries."""
        return dataclasses.asdict(self)

    def replace(self, values: Mapping[str, Any]) -> Config:
        """A copy with `{"section.field": value}` changed; strings are read as the field's type. `{"text": "natural"}`
        is what PRESETS says.

        Raises:
            InputError: no such section, field or preset, or a value that does not fit.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name, value in _without_presets(values):
            section, _, key = RENAMED.get(name, name).partition(".")
            if RENAMED.get(name) in values and values[RENAMED[name]] != value:
                raise InputError(f"setting {name}: is an older name of {RENAMED[name]}, which is given too; keep one")
            sections.setdefault(section, {})[key] = _convert(self, section, key, value)
        return dataclasses.replace(
            self, **{s: dataclasses.replace(getattr(self, s), **fields) for s, fields in sections.items()}
        )


def _without_presets(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Presets first: a field that is given beside one counts, in whatever order."""
    for name in PRESETS.keys() & values.keys():
        if not (isinstance(values[name], str) and values[name] in PRESETS[name]):
            raise InputError(f"settings: {name}={shown(values[name])} is none of {', '.join(PRESETS[name])}")
        yield from ((f"{name}.{key}", own) for key, own in PRESETS[name][values[name]].items())
    yield from ((name, value) for name, value in values.items() if name not in PRESETS)


def from_json(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """`{"section": {"field": value}}` over the defaults (or over `base`); raises InputError on unknown ones."""
    flat = {}
    for section, fields in values.items():
        if section in PRESETS and isinstance(fields, str):
            flat[section] = fields
            continue
        if not isinstance(fields, Mapping):
            raise InputError(f"configuration: section {section!r} should hold fields, found {shown(fields)}")
        flat.update({f"{section}.{key}": value for key, value in fields.items()})
    return (base or Config()).replace(flat)


def load(path: Path, base: Config | None = None) -> Config:
    """Read a JSON file of settings; a run's own `config.json` (settings under `"config"`) is read too."""
    layout = "{section: {field: value}}"
    try:
        # Of bytes, the encoding is found by the byte order mark that editors on Windows write.
        values = json.loads(Path(path).read_bytes(), object_pairs_hook=_without_repeats)
        if not isinstance(values, dict):
            raise InputError(f"should hold {layout}, found {'null' if values is None else type(values).__name__}")
        return from_json(_settings_of(values), base)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); it should hold {layout}") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which the last of several equal keys would win in silence."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"key {repeated!r} stands twice in one object; keep one")
    return values


def _settings_of(values: dict[str, Any]) -> dict[str, Any]:
    """The sections of a file, which a run keeps under `"config"`, beside what is no setting."""
    if "config" not in values:
        return values
    own = {name: value for name, value in values.items() if name not in ("config", "data_digest", "versions")}
    beside = [name for name, value in own.items() if isinstance(value, dict) or name in PRESETS]
    if beside:
        raise InputError(f"section {beside[0]!r} stands beside 'config'; move it into 'config'")
    if not isinstance(values["config"], dict):
        raise InputError(f"'config' should hold sections, found {shown(values['config'])}")
    return values["config"]


def describe() -> str:
    """Every setting with its default and its choices or range, one a line, for `--help`."""
    lines = []
    defaults = Config()
    for section in dataclasses.fields(defaults):
        for item in dataclasses.fields(getattr(defaults, section.name)):
            limits = item.metadata.get("choices") or item.metadata.get("range")
            hint = "" if not limits else "  " + (" | " if "choices" in item.metadata else " to ").join(map(str, limits))
            lines.append(f"  {section.name}.{item.name}={item.default}{hint}")
    return "\n".join(lines)


def _convert(config: Config, section: str, key: str, value: Any) -> Any:
    known = {f.name: get_type_hints(type(getattr(config, f.name))) for f in dataclasses.fields(config)}
    name = f"{section}.{key}" if key else section
    if key not in known.get(section, ()):
        closest = _closest(section, key, [f"{s}.{k}" for s, fields in known.items() for k in fields])
        meant = f"; did you mean {closest}?" if closest else ";"
        if section in known:
            raise InputError(f"setting {name}: no such field{meant} Section {section} has {', '.join(known[section])}")
        raise InputError(f"setting {name}: no section {section!r}{meant} There are {', '.join(known)}")
    words = type(getattr(config, section)).__dataclass_fields__[key].metadata.get("words", {})
    return read_value(name, known[section][key], words.get(value, value) if isinstance(value, str) else value)


def _closest(section: str, key: str, known: list[str]) -> str | None:
    """The setting that was meant, most likely: the same field of another section, else the most similar name."""
    field_name = (key or section).lower()
    same = [name for name in known if name.partition(".")[2] == field_name]
    similar = difflib.get_close_matches(f"{section}.{key}".lower(), known, n=1, cutoff=0.7)
    return next(iter([*(same if len(same) == 1 else ()), *similar, *same]), None)


def _check_section(section: str, values: Any) -> None:
    kinds = get_type_hints(type(values))
    for item in dataclasses.fields(values):
        name, kind, value = f"{section}.{item.name}", kinds[item.name], getattr(values, item.name)
        allowed = (int, float) if kind is float else kind
        fits = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
        if not fits or (kind is float and not math.isfinite(value)):
            raise wrong_type(name, kind, value)
        choices, limits = item.metadata.get("choices"), item.metadata.get("range")
        if choices and value not in choices:
            raise InputError(f"setting {name}: {shown(value)} is none of {', '.join(choices)}")
        if limits and not limits[0] <= value <= limits[1]:
            raise InputError(f"setting {name}: {value} lies outside {limits[0]} to {limits[1]}")
