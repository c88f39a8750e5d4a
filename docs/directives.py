"""Directives for the pages: every setting with its reason, every command's help, and the modules of a room."""

from __future__ import annotations

import argparse
import dataclasses
import html
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from medcap_tf.cli.main import build_parser
from medcap_tf.config import Config

PACKAGE = Path(__file__).resolve().parents[1] / "medcap_tf"


def read_reasons(lines: list[str]) -> dict[str, str]:
    """`name: reason` a line, further lines indented -> reasons by name."""
    reasons: dict[str, str] = {}
    for line in filter(str.strip, lines):
        if line[0].isspace():
            reasons[next(reversed(reasons))] += " " + line.strip()
        else:
            name, _, reason = line.partition(":")
            reasons[name.strip()] = reason.strip()
    return reasons


def settings_table(section: str, reasons: Mapping[str, str]) -> list[str]:
    """The section's settings as a table in Markdown: name, default, what may be given, and why.

    Raises:
        ValueError: a setting without a reason, or a reason without a setting.
    """
    factory: Any = next(item.default_factory for item in dataclasses.fields(Config) if item.name == section)
    settings = {item.name: item for item in dataclasses.fields(factory)}
    wrong = sorted(set(settings) ^ set(reasons))
    if wrong:
        raise ValueError(f"section {section}: a setting without a reason, or a reason without a setting: {wrong}")
    rows = ["| setting | default | may be | what it does, and why |", "|---|---|---|---|"]
    for name, item in settings.items():
        default = "empty" if item.default == "" else f"`{_shown(item.default)}`"
        rows.append(f"| `{section}.{name}` | {default} | {_limits(item)} | {reasons[name]} |")
    return rows


def _limits(item: dataclasses.Field) -> str:
    if "choices" in item.metadata:
        return ", ".join(f"`{choice}`" for choice in item.metadata["choices"])
    if "range" in item.metadata:
        low, high = item.metadata["range"]
        return f"from {low}" if high == float("inf") else f"{low} to {high}"
    return {"bool": "`true`, `false`", "str": "text"}[str(item.type)]


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else html.escape(str(value))


def room_modules(room: str) -> list[str]:
    """The modules of a room, or the one module of that name, dotted; files without a docstring have nothing to say."""
    folder = PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]
    if not all(map(Path.is_file, files)) or not files:
        raise ValueError(f"no room and no module {room!r} in {PACKAGE}")
    named = [path.parent if path.stem == "__init__" else path.with_suffix("") for path in files if path.stat().st_size]
    return [".".join(path.relative_to(PACKAGE.parent).parts) for path in named]


def commands_help() -> dict[str, str]:
    """What `medcap COMMAND --help` prints, by command, in lines of 100 characters."""
    os.environ["COLUMNS"] = "100"
    return dict(_help_of(build_parser(), ""))


def _help_of(parser: argparse.ArgumentParser, above: str) -> Iterator[tuple[str, str]]:
    """Of a parser's commands, and of theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield f"{above}{name}", command.format_help()
                yield from _help_of(command, f"{above}{name} ")


def _section(module: str) -> str:
    """The page's section of a module; what a package only re-exports stands with its own module."""
    members = "" if (PACKAGE.parent / module.replace(".", "/")).is_dir() else "   :members:\n"
    return f"## {module.partition('.')[2]}\n\n```{{eval-rst}}\n.. automodule:: {module}\n{members}```\n"


class Settings(SphinxDirective):
    """A section's settings; the content gives the reasons, `name: reason` a line."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the table in the page."""
        try:
            table = settings_table(self.arguments[0], read_reasons(list(self.content)))
        except ValueError as error:
            raise self.error(str(error)) from error
        return self.parse_text_to_nodes("\n".join(table))


class Modules(SphinxDirective):
    """Every module of the given rooms with its public names."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Parse an `automodule` for each."""
        try:
            modules = [name for room in self.arguments[0].split() for name in room_modules(room)]
        except ValueError as error:
            raise self.error(str(error)) from error
        return self.parse_text_to_nodes("\n".join(map(_section, modules)), allow_section_headings=True)


class Commands(SphinxDirective):
    """A section a command, with its help."""

    def run(self) -> list[nodes.Node]:
        """Parse each as text."""
        parts = [f"## {name}\n\n```text\n{text}```\n" for name, text in commands_help().items()]
        return self.parse_text_to_nodes("\n".join(parts), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register them."""
    app.add_directive("settings", Settings)
    app.add_directive("commands", Commands)
    app.add_directive("modules", Modules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
