"""Who may import whom, read from the sources with `ast`: imports run downwards only, siblings stay apart.

A unit is a module (`config`, `models/visual`) or, where a room is one thing, the folder (`data`, `evaluation`,
`explain`, ...). Inside a folder's unit anything may import anything. Imports count wherever they
stand, inside functions and under `TYPE_CHECKING` too.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import run_command

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "medcap_tf"

# Unit -> the units of ours it may import. Everybody may import `errors`, `files`, and `medcap_tf` itself (the version).
LOW = {"caption", "config", "text", "run_folder", "decoding"}
MODELS = {
    "models",
    "models/calibration",
    "models/captioning",
    "models/concept_head",
    "models/fold",
    "models/inverted_lists",
    "models/retrieval",
    "models/visual",
    "models/weights",
}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "text": set(),
    "config": {"setting_values"},
    "setting_values": set(),
    "caption": set(),
    "decoding": set(),
    "gpu": set(),
    "graphs": set(),
    "memory": set(),
    "phantoms": {"data"},  # which real images there are to draw into
    "run_folder": {"config", "text"},
    "data": {"caption", "config", "graphs", "run_folder", "text"},
    "models": set(),
    "models/attention": set(),
    "models/dropout": set(),
    "models/inverted_lists": set(),
    "models/retrieval": {"models/inverted_lists", "text"},
    "models/visual": {"models/concept_head", "config"},
    "models/concept_head": {"models/dropout", "config"},
    "models/fold": {"graphs", "models/visual"},
    "models/semantic": {"models/attention", "models/dropout", "config"},
    "models/decoder": {"models/attention", "models/dropout", "config"},
    "models/evidence_decoder": {"models/attention", "models/decoder", "models/dropout", "config"},
    "models/evidence": {"models/concept_head", "models/visual"},
    "models/captioning": {"config", "decoding", "graphs", "text"}
    | {
        f"models/{name}"
        for name in (
            "concept_head",
            "decoder",
            "evidence",
            "evidence_decoder",
            "fold",
            "retrieval",
            "semantic",
            "visual",
        )
    },
    "models/weights": {"models/captioning"},
    "models/calibration": {"caption", "models/captioning"},
    "image_captioner": {"caption", "config", "data", "run_folder", "text"},
    "captioner": LOW | MODELS | {"data", "graphs", "image_captioner", "memory"},
    "evaluation": LOW | {"captioner", "data", "models/calibration"},
    "training": LOW | MODELS | {"gpu", "graphs", "memory", "models/dropout", "captioner", "data", "evaluation"},
    # phantoms: which of their words name what a mask shows; metrics: which captions need looking at most
    "explain": LOW | MODELS | {"captioner", "data", "evaluation", "graphs", "phantoms"},
    "serving": LOW | MODELS | {"captioner", "data", "graphs", "image_captioner", "memory"},
}
# What stands above the siblings: a server's answer in the report's view, and what people who program call.
ALLOWED["webpage"] = {"serving", "explain", "caption", "data"}
ALLOWED["api"] = {"caption", "captioner", "config", "data", "explain", "run_folder", "serving", "training"}
# Many machines call what one calls.
ALLOWED["cluster"] = {
    "api",
    "caption",
    "captioner",
    "config",
    "data",
    "evaluation",
    "explain",
    "graphs",
    "models/concept_head",
    "models/visual",
}
ALLOWED["cluster"] |= {"run_folder", "serving", "training"}
ALLOWED["cli"] = set(ALLOWED) - {"api"}
ALLOWED["__main__"] = {"cli"}
ALLOWED["__init__"] = set()

FOLDERS = {"cli", "cluster", "data", "evaluation", "explain", "phantoms", "serving", "training"}  # one unit each
FREE_FOR_ALL = {"errors", "files", "__init__"}
# Commands that need no TensorFlow start at once: so do these modules, with all that they import.
LIGHT = (
    *("api", "caption", "cli.main", "data.datastore", "data.doctor", "data.images", "data.records", "data.tables"),
    *("evaluation.metrics", "evaluation.subgroups", "evaluation.submission", "explain.entries", "explain.explanation"),
    *("explain.figures", "explain.report", "phantoms", "run_folder", "serving.client", "serving.remote_captioner"),
    *("gpu", "memory", "serving.export_captioner", "serving.run_graph", "serving.upload", "webpage"),
)
MOST_LINES = 350
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


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=named)
def test_ray_and_what_comes_with_it_stay_in_cluster(path):
    if path not in SCRIPTS and unit_of(path) == "cluster":
        return
    found = [one for one in read_imports(path) if outside(one.module) in {"ray", "pyarrow", "fsspec"}]
    assert not found, f"{named(path)}:{found[0].line} imports {found[0].module}: it comes with the extra `cluster`"
    # And what is in `cluster` is imported when one of its commands is given.
    early = [one for one in read_imports(path) if one.module.startswith(f"{PACKAGE}.cluster") and not one.deferred]
    assert not early, f"{named(path)}:{early[0].line} imports {early[0].module} on loading: do it inside a function"


def test_light_modules_load_no_tensorflow():
    script = "import sys, importlib\n" + "".join(
        f"importlib.import_module('{name}')\nassert 'tensorflow' not in sys.modules, '{name}'\n"
        for name in (PACKAGE, *(f"{PACKAGE}.{light}" for light in LIGHT))
    )
    run_command("-c", script)


def test_no_file_is_too_long_to_be_read_at_once():
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_table_runs_downwards():
    names = set(ALLOWED)
    for unit, allowed in ALLOWED.items():
        assert allowed <= names, f"{unit} may import {sorted(allowed - names)}, which the table does not know"
    below = {unit: allowed - {unit} for unit, allowed in ALLOWED.items() if unit not in {"cli", "__main__"}}
    list(graphlib.TopologicalSorter(below).static_order())  # raises CycleError where two units import each other


def file_imported(module: str) -> Path | None:
    """The source file that a dotted name is or lies in; None for other people's."""
    path = ROOT.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file in SOURCES), None)


def test_no_module_imports_another_in_a_circle():
    # Deferred imports too: those make a circle start, but not easier to read.
    below = {path: {file_imported(found.module) for found in read_imports(path)} - {None} for path in SOURCES}
    list(graphlib.TopologicalSorter(below).static_order())  # raises CycleError, which names the circle


def test_siblings_do_not_import_each_other():
    siblings = {"explain", "serving", "training"}
    for unit in siblings:
        assert not ALLOWED[unit] & (siblings | {"webpage", "api", "cluster", "cli"})
    assert not ALLOWED["models"] & {"data"} and not ALLOWED["data"] & MODELS


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
        ("medcap_tf.evaluation.metrics", "evaluation"),
        ("medcap_tf.text.Vocabulary", None),
        ("medcap_tf.models", "models"),
        ("medcap_tf.training", "training"),
        ("medcap_tf.phantoms", "phantoms"),
        ("medcap_tf.phantoms.canvas", "phantoms"),
    ],
)
def test_imported_names_lead_to_units(module, unit):
    assert unit_imported(module) == unit
