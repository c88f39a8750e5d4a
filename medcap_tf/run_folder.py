"""A run folder: the only place that spells its files."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcap_tf import __version__
from medcap_tf.config import Config
from medcap_tf.config import load as load_config
from medcap_tf.errors import InputError
from medcap_tf.files import read_json, write_text
from medcap_tf.text import Vocabulary

_MADE_OF = "made_of.txt"  # in the graph's folder: the digest of what it was made of
_TRACED = ("text", "visual", "semantic", "decoder", "decoding")  # sections of settings that a graph depends on
_SOURCES = ("captioner.py", "decoding.py", "graphs.py", "models/*.py")  # what the graph is traced from


@dataclass(frozen=True)
class ConceptList:
    """The concepts that a run learned."""

    codes: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)  # by `image` and `words`, from which one is named
    names: Mapping[str, str] = field(default_factory=dict)  # of the codes that the data named

    @classmethod
    def of(cls, codes: Sequence[str], names: Mapping[str, str]) -> ConceptList:
        """Codes without thresholds, and what the data calls them."""
        return cls(tuple(codes), {}, {code: names[code] for code in codes if code in names})


class RunFolder:
    """What training writes and everybody else reads, by name."""

    def __init__(self, path: Path | str):
        """`path` need not exist yet."""
        self.path = path = Path(path)
        self.config = path / "config.json"  # settings, versions, the data it was begun with
        self.data = path / "data.csv"  # a row a record of that data
        self.vocabulary = path / "vocabulary.json"
        self.concepts = path / "concepts.json"
        self.problems = path / "problems.json"  # of the data
        self.checkpoints = path / "checkpoints"  # a folder a stage
        self.best = path / "checkpoints" / "best"  # the weights to caption with, an .h5 a part
        self.graph = path / "graph"  # a SavedModel of what captions by those weights, to start from
        self.history, self.history_plot = path / "history.csv", path / "history.png"
        self.logs = path / "logs"  # TensorBoard
        self.datastore_records, self.datastore_features = path / "library.json", path / "library.npy"
        self.datastore_lists = path / "library_lists.npz"  # of large datastores alone
        self.retrieval = path / "neighbours.json"  # absent where similar images do not help
        self.baselines = path / "baselines.json"  # what validation images have chosen for them
        self.calibration, self.calibration_plot = path / "calibration.json", path / "calibration.png"
        self.predictions, self.predicted_concepts = path / "predictions.csv", path / "concepts.csv"
        self.scores = path / "scores.json"
        self.subgroups, self.subgroups_plot = path / "groups.csv", path / "groups.png"
        self.audit, self.audit_plot = path / "audit.json", path / "audit.png"
        self.submission = path / "submission"

    def read_config(self) -> Config:
        """The settings; raises InputError where this is no run folder."""
        if not self.config.is_file():
            raise InputError(
                f"{self.path}: no run folder (no config.json in it); give the folder that train.py wrote to"
            )
        return load_config(self.config)

    def data_folder(self) -> Path:
        """Where the data lies that the run was trained on: the absolute path, or, in runs of earlier versions and where
        that is gone, the path as it was typed."""
        written = read_json(self.config)
        places = [Path(place) for place in (written.get("data_path"), written.get("data"), "unknown") if place]
        return next((place for place in places if place.is_dir()), places[0])

    def read_vocabulary(self) -> Vocabulary:
        """The words; raises InputError where they are missing or broken."""
        values = read_json(self.vocabulary)
        with _as_written(self.vocabulary):
            return Vocabulary.from_json(values)

    def read_concepts(self) -> ConceptList:
        """The concepts; raises InputError where they are missing or broken."""
        values = read_json(self.concepts)
        with _as_written(self.concepts):
            # Runs of earlier versions hold no names.
            thresholds = {name: float(value) for name, value in values["thresholds"].items()}
            return ConceptList(tuple(values["codes"]), thresholds, values.get("names", {}))

    def write_concepts(self, concepts: ConceptList) -> None:
        """What `read_concepts` reads."""
        values = {"codes": list(concepts.codes), "thresholds": dict(concepts.thresholds), "names": dict(concepts.names)}
        write_text(self.concepts, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    def read_retrieval(self) -> dict[str, float] | None:
        """The retrieval's parameters by name; None in a run where similar images do not help.

        Raises:
            InputError: the file is broken.
        """
        values = _read_optional(self.retrieval, "finish the run again by train.py --resume")
        if values and "level" in values:  # as earlier versions called it
            values["decoder_similarity"] = values.pop("level")
        return values

    def write_retrieval(self, parameters: Mapping[str, float] | None) -> None:
        """What `read_retrieval` reads; None removes it."""
        _write_optional(self.retrieval, parameters)

    def read_baselines(self) -> dict[str, Any] | None:
        """What validation images have chosen for the baselines, by name; None in runs of earlier versions.

        Raises:
            InputError: the file is broken.
        """
        return _read_optional(self.baselines, "move it away to leave the tuned baselines out")

    def write_baselines(self, values: Mapping[str, Any]) -> None:
        """What `read_baselines` reads."""
        _write_optional(self.baselines, values)

    def read_calibration(self) -> dict[str, Any] | None:
        """What makes probabilities and percentiles of scores, by name; None in runs of earlier versions.

        Raises:
            InputError: the file is broken.
        """
        return _read_optional(self.calibration, "move it away to do without confidence and novelty")

    def write_calibration(self, values: Mapping[str, Any] | None) -> None:
        """What `read_calibration` reads; None removes it."""
        _write_optional(self.calibration, values)

    def read_scores(self) -> dict[str, Any]:
        """The scores of the test split; empty in a run that is not scored."""
        return read_json(self.scores) if self.scores.is_file() else {}

    def graph_made_of(self) -> str | None:
        """The digest of what the graph was made of, where that is the run as it is now; else None."""
        try:
            made_of = (self.graph / _MADE_OF).read_text(encoding="utf-8", errors="replace")
            return made_of if made_of == self.graph_digest() else None
        except OSError:  # what cannot be read is told of by whatever captions instead
            return None

    @contextmanager
    def new_graph(self) -> Iterator[Path]:
        """A folder to write the graph into, which takes its place at the end of the block."""
        beside = self.graph.with_name(f".{self.graph.name}")
        _remove(beside)  # of a process that was killed
        try:
            yield beside
            write_text(beside / _MADE_OF, self.graph_digest())
            _remove(self.graph)
            beside.rename(self.graph)
        finally:
            _remove(beside)

    def graph_digest(self) -> str:
        """Of all that captions come from: settings, words, concepts, weights, similar images, calibration, and the
        versions and the code that make a graph of them."""
        settings = self.read_config().to_json()
        known = [importlib.metadata.version("tensorflow"), __version__, {name: settings[name] for name in _TRACED}]
        digest = hashlib.sha256(json.dumps(known).encode())
        package = Path(__file__).parent
        files = [path for pattern in _SOURCES for path in sorted(package.glob(pattern))]
        files += [self.vocabulary, self.concepts, *sorted(self.best.glob("*.h5")), self.retrieval, self.calibration]
        for path in (*files, self.datastore_records, self.datastore_features, self.datastore_lists):
            digest.update(path.name.encode())
            if path.is_file():
                with open(path, "rb") as file:
                    while block := file.read(2**20):
                        digest.update(block)
        return digest.hexdigest()

    def listed(self, names: Sequence[str]) -> list[str]:
        """Of these attributes' files, the names of those that exist."""
        return [path.name for path in (getattr(self, name) for name in names) if path.is_file()]


def _remove(path: Path) -> None:
    """A folder with all that is in it, a file or a link; nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """Raise InputError where valid JSON is not what the block expects."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); it is not as train.py wrote it: bring it back, "
            "or train again"
        ) from error


def _read_optional(path: Path, remedy: str) -> dict[str, Any] | None:
    """The object in a JSON file that a run need not have; raises InputError where something else is in it."""
    if not path.is_file():
        return None
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: cannot be read; {remedy}")
    return values


def _write_optional(path: Path, values: Mapping[str, Any] | None) -> None:
    """What `_read_optional` reads; None removes it."""
    if values is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, json.dumps(dict(values), indent=2) + "\n")
