"""Who may import whom, read from the sources with `ast`: imports run downwards only, siblings stay apart.

A unit is a module (`config`, `models/visual`) or, where a folder is one thing, the folder (`phantoms`, `metrics`,
`explain`, `serving`, `training`). Inside a folder's unit anything may import anything. Imports count wherever they
stand, inside functions and under `TYPE_CHECKING` too.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "medcap_tf"

# What the layers above the waist may use beside it.
LEAVES = {"caption", "config", "folders", "formats", "tables", "records", "text", "images", "metrics"}
MODELS = {"models", *(f"models/{name}" for name in ("attention", "dropout", "visual", "fold", "semantic", "decoder"))}

# Unit -> the units of ours it may import. Everybody may import `errors`, `files`, and `medcap_tf` itself (the version).
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "config": set(),
    "cells": set(),
    "formats": set(),
    "folders": {"formats"},
    "text_tables": set(),
    "workbooks": {"cells", "text_tables"},
    "columns": {"cells", "folders"},
    "sheets": {"cells", "columns", "text_tables", "workbooks"},
    "tables": {"cells", "columns", "folders", "sheets"},
    "records": {"columns", "folders", "sheets", "tables"},
    "text": set(),
    "pixels": set(),
    "dicom_display": {"pixels"},
    "codecs": set(),
    "dicom_codec": {"codecs"},
    "dicom": {"dicom_codec", "dicom_display", "pixels"},
    "decoders": {"codecs", "formats", "pixels"},
    "images": {"decoders", "pixels", "dicom", "folders", "formats"},
    "metrics": {"text"},  # one normaliser: the official score cuts words as the paper's models do
    "caption": set(),
    "decoding": set(),
    "phantoms": set(),
    "doctor": {"records", "text", "images"},
    "data": {"config", "records", "text", "images"},
    "feature_cache": {"data", "records"},
    "library": {"records"},
    "neighbours": {"config", "data", "library", "text"},
    "models": set(),
    "models/attention": set(),
    "models/dropout": set(),
    "models/visual": {"models/dropout", "config"},
    "models/fold": set(),
    "models/semantic": {"models/attention", "models/dropout", "config"},
    "models/decoder": {"models/attention", "models/dropout", "config"},
    "networks": MODELS | {"config"},
    "writing": {"models/semantic", "config", "decoding", "neighbours", "networks", "text"},
    "captioner": {"caption", "library", "neighbours", "networks", "writing", "records", "text", "images", "config"}
    | {"models/fold", "models/visual"},
    "groups": {"metrics", "records"},
    "submission": {"sheets"},
    "baselines": {"metrics", "records", "text"},
    "evaluation": {"baselines", "caption", "captioner", "data", "groups", "library", "metrics", "records"},
    "explain": {"captioner", "data", "phantoms"} | LEAVES,  # phantoms: which of their words name what a mask shows
    "serving": {"captioner", "data", "decoding", "models/fold", "neighbours", "writing"} | LEAVES,
    "training": {
        "evaluation",
        "captioner",
        "networks",
        "writing",
        "decoding",
        "data",
        "feature_cache",
        "library",
        "neighbours",
    }
    | {"phantoms", "doctor"}
    | MODELS
    | LEAVES,
}
# What a person sees of both siblings: a server's answer, in the report's view.
ALLOWED["webpage"] = {"serving", "explain", "caption", "images"}
ALLOWED["cli_options"] = {"captioner", "records"}
ALLOWED["cli_serving"] = {"cli_options", "webpage", "serving", "explain", "captioner", "folders", "images"}
ALLOWED["cli_explain"] = {"cli_options", "explain", "folders", "tables"}
ALLOWED["cli_scores"] = {"cli_options", "library", "evaluation", "metrics", "records", "tables", "submission"}
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}
ALLOWED["__init__"] = set()

FOLDERS = {"phantoms", "explain", "serving", "training", "metrics"}  # one unit each
FREE_FOR_ALL = {"errors", "files", "__init__"}
WITHOUT_TENSORFLOW = {
    *(
        "errors",
        "files",
        "config",
        "formats",
        "folders",
        "cells",
        "text_tables",
        "workbooks",
        "columns",
        "sheets",
        "tables",
        "records",
        "text",
        "pixels",
        "dicom_display",
        "codecs",
        "dicom_codec",
        "dicom",
        "decoders",
        "images",
        "metrics",
        "phantoms",
    ),
    *("caption", "doctor", "groups", "library", "submission"),
}
TENSORFLOW = {"tensorflow", "keras", "tf_keras", "tensorflow_addons", "tf_explain"}

SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
SCRIPTS = [path for path in (ROOT / "train.py", ROOT / "export.py") if path.exists()]


class Import(NamedTuple):
    """One imported name: `module` is dotted and absolute, `deferred` says that it stands inside a function."""

    module: str
    line: int
    deferred: bool


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Every import in `source`, a module of the dotted `package`. `from a import b` yields both `a` and `a.b`."""

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield Import(base, node.lineno, deferred)
            yield from (Import(f"{base}.{alias.name}", node.lineno, deferred) for alias in node.names)
        inside = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(ast.parse(source), False)


def read_imports(path: Path) -> list[Import]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return list(imports_of(path.read_text(encoding="utf-8"), package))


def unit_of(path: Path) -> str:
    """The unit a source file belongs to, whether the table knows it or not."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    if parts[0] in FOLDERS:
        return parts[0]
    return "/".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def unit_imported(module: str) -> str | None:
    """The unit that a dotted name of ours leads to; None for other people's modules and for names inside a module."""
    head, *parts = module.split(".")
    if head != PACKAGE:
        return None
    if not parts:
        return "__init__"
    path = (ROOT / PACKAGE).joinpath(*parts)
    if path.with_suffix(".py").exists():
        return unit_of(path.with_suffix(".py"))
    return unit_of(path / "__init__.py") if path.is_dir() else None


def outside(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_module_imports_only_what_the_table_allows(path):
    unit = unit_of(path)
    assert unit in ALLOWED, (
        f"{named(path)} is not in the table of who may import whom: add {unit!r} to ALLOWED in tests/test_imports.py"
    )
    allowed = ALLOWED[unit] | FREE_FOR_ALL | {unit}
    wrong = [
        f"{named(path)}:{found.line} imports {found.module}; {unit} may import {', '.join(sorted(allowed - {unit}))}"
        for found in read_imports(path)
        if unit_imported(found.module) not in allowed | {None}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=named)
def test_addons_and_tf_explain_stay_where_they_can_be_left_behind(path):
    for found in read_imports(path):
        if outside(found.module) not in {"tensorflow_addons", "tf_explain"}:
            continue
        homes = {"training"} if outside(found.module) == "tensorflow_addons" else {"training", "explain"}
        assert path not in SCRIPTS and unit_of(path) in homes, (
            f"{named(path)}:{found.line} imports {found.module}, which belongs in {' or '.join(sorted(homes))}"
        )
        assert found.deferred, f"{named(path)}:{found.line} imports {found.module} on loading: do it inside a function"


def test_tf_explain_is_in_one_file_of_explain_at_most():
    users = [
        named(path)
        for path in SOURCES
        if unit_of(path) == "explain" and any(outside(found.module) == "tf_explain" for found in read_imports(path))
    ]
    assert len(users) <= 1, f"tf_explain is imported in {' and '.join(users)}: one file of explain/ is enough"


@pytest.mark.parametrize("path", [path for path in SOURCES if unit_of(path) in WITHOUT_TENSORFLOW], ids=named)
def test_module_does_without_tensorflow(path):
    wrong = [f"{named(path)}:{found.line} imports {found.module}" for found in read_imports(path)]
    wrong = [line for line in wrong if outside(line.split()[-1]) in TENSORFLOW]
    assert not wrong, "\n".join(wrong)


def test_modules_without_tensorflow_import_none_that_have_it():
    for unit in WITHOUT_TENSORFLOW:
        assert ALLOWED[unit] <= WITHOUT_TENSORFLOW, f"{unit} would load TensorFlow by way of what it may import"


def test_table_runs_downwards():
    names = set(ALLOWED)
    for unit, allowed in ALLOWED.items():
        assert allowed <= names, f"{unit} may import {sorted(allowed - names)}, which the table does not know"
    below = {unit: allowed - {unit} for unit, allowed in ALLOWED.items() if unit not in {"cli", "__main__"}}
    list(graphlib.TopologicalSorter(below).static_order())  # raises CycleError where two units import each other


def test_siblings_do_not_import_each_other():
    for unit in ("explain", "serving", "evaluation"):
        assert not ALLOWED[unit] & {"explain", "serving", "evaluation", "training", "cli"}
    assert not ALLOWED["training"] & {"explain", "serving", "cli"}


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import os, medcap_tf.text", "medcap_tf", [("os", False), ("medcap_tf.text", False)]),
        ("from medcap_tf import text", "medcap_tf", [("medcap_tf", False), ("medcap_tf.text", False)]),
        ("from . import text", "medcap_tf", [("medcap_tf", False), ("medcap_tf.text", False)]),
        ("from ..text import A", "medcap_tf.explain", [("medcap_tf.text", False), ("medcap_tf.text.A", False)]),
        ("def f():\n    import tf_explain", "medcap_tf.explain", [("tf_explain", True)]),
        ("class C:\n    import tf_explain", "medcap_tf.explain", [("tf_explain", False)]),
        ("if 1:\n    import os\n    def f():\n        import re", "medcap_tf", [("os", False), ("re", True)]),
    ],
)
def test_imports_are_read_right(source, package, expected):
    assert [(found.module, found.deferred) for found in imports_of(source, package)] == expected


@pytest.mark.parametrize(
    ("module", "unit"),
    [
        ("numpy", None),
        ("medcap_tf", "__init__"),
        ("medcap_tf.__version__", None),
        ("medcap_tf.metrics", "metrics"),
        ("medcap_tf.metrics.concept_f1", None),
        ("medcap_tf.models", "models"),
        ("medcap_tf.training", "training"),
        ("medcap_tf.phantoms", "phantoms"),
        ("medcap_tf.phantoms.canvas", "phantoms"),
    ],
)
def test_imported_names_lead_to_units(module, unit):
    assert unit_imported(module) == unit
