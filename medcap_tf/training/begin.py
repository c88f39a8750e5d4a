"""How a run folder is begun, or gone on with: every check stands before the first write."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import Any

import h5py

from medcap_tf import __version__
from medcap_tf.config import Config
from medcap_tf.data.records import Problem
from medcap_tf.data.splits import ImageFile, Splits
from medcap_tf.errors import InputError
from medcap_tf.files import read_json, write_text
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import Vocabulary
from medcap_tf.training.history import History
from medcap_tf.training.identity import Identity, check_same_data, describe_data

PACKAGES = (
    "tensorflow", "keras", "nltk", "pandas", "openpyxl", "opencv-python-headless", "matplotlib", "tf-explain",
    "tensorflow-addons",
)  # fmt: skip


def read_begun(run: RunFolder, config: Config, resume: bool) -> dict[str, Any] | None:
    """The `config.json` of a run that was begun with the same settings; None where there is none yet."""
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"--out {run.path}: is a file; give a folder")
    if not run.config.exists():
        return None
    if not resume:
        raise InputError(f"{run.path}: already holds a run; go on with it by --resume, or choose another --out")
    before, now = run.read_config().to_json(), config.to_json()
    changed = [f"{s}.{k} was {before[s][k]}, now {now[s][k]}" for s in now for k in now[s] if before[s][k] != now[s][k]]
    if changed:
        raise InputError(
            f"{run.path}: cannot be resumed with other settings ({'; '.join(changed)}); --set them as they were, or "
            "choose another --out"
        )
    return read_json(run.config)


def check_data(run: RunFolder, written: dict[str, Any] | None, data: Path, identity: Identity) -> None:
    if written is None:
        return
    if "data_digest" in written:
        check_same_data(run, written, data, identity)
    else:
        print(
            f"{run.path}: begun by an earlier version, which kept no digest of its data: it could not be checked",
            file=sys.stderr,
        )


def check_files(run: RunFolder, vocabulary: Vocabulary, concepts: list[str]) -> None:
    """Whether what a run that was begun holds belongs to what it is given now."""
    expected = {run.vocabulary: json.loads(vocabulary_text(vocabulary))["words"], run.concepts: concepts}
    for (path, value), key in zip(expected.items(), ("words", "codes")):
        if path.exists() and _ordered(read_json(path).get(key)) != _ordered(value):
            raise InputError(
                f"{path}: is not what the data gives now, and the run's weights go by it; bring the run's own "
                "data and files back, or choose another --out"
            )
    History.read(run)
    for path in run.checkpoints.glob("*/done.json"):
        read_json(path)
    for path in run.checkpoints.glob("*/best-*/[!.]*.h5"):
        try:
            h5py.File(path, "r").close()
        except OSError as error:
            stage = path.parent.parent
            raise InputError(
                f"{path}: the best weights cannot be read ({error}); remove {stage} to train again from there"
            ) from error


def _ordered(values: Any) -> Any:
    """Ids follow the order of words, which the comparison of dictionaries leaves out."""
    return list(values.items()) if isinstance(values, dict) else values


def usable_records(splits: Splits, files: list[list[ImageFile]]) -> tuple[Splits, list[Problem]]:
    """The splits without records whose image cannot be read; raises InputError where nothing is left."""
    kept, problems = [], []
    for name, records, own in zip(Splits._fields, splits, files):
        good = [record for record, file in zip(records, own) if file.problem is None]
        bad = [file.problem for file in own if file.problem]
        if not good and name != "test":
            reason = f"; the first problem: {bad[0].problem}" if bad else ""
            raise InputError(f"split {name!r} has no usable record{reason}. `python -m medcap_tf records` tells more")
        kept.append(good)
        problems += bad
    return Splits(*kept), problems


def list_problems(run: RunFolder, problems: list[Problem]) -> None:
    """Write `problems.json`, and say that there are some."""
    if problems:
        skipped = "the records concerned are skipped"
        print(f"{len(problems)} problems in the data; {skipped} (see {run.problems})", file=sys.stderr, flush=True)
    write_text(run.problems, json.dumps([dataclasses.asdict(p) for p in problems], indent=2) + "\n")


def claim_folder(
    run: RunFolder, config: Config, written: dict[str, Any] | None, data: Path, identity: Identity, batch_size: int
) -> None:
    """Write `data.csv` and `config.json` into a new run folder; in one to be resumed, where the data lies now.

    `batch_size` is what the run trains with, for one to be resumed where it was found and not given.
    """
    description = describe_data(data, identity)
    if written is None:
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        versions = {"medcap_tf": __version__, "python": platform.python_version(), **versions}
        values = {"config": config.to_json(), **description, "seed": config.training.seed, "versions": versions}
        values["batch_size"] = batch_size
    else:
        # What is not known of an older run's first data is not made up now.
        values = {**written, **(description if "data_digest" in written else {})}
    if "data_digest" in values:
        identity.save(run)
    if values != written:
        write_text(run.config, json.dumps(values, indent=2) + "\n")


def vocabulary_text(vocabulary: Vocabulary) -> str:
    """The content of `vocabulary.json`."""
    return json.dumps(vocabulary.to_json(), ensure_ascii=False, indent=0) + "\n"
