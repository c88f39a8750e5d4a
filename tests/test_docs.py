"""The documents say what is there: links, commands, make targets, files and settings that they name exist."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from medcap_tf.cli.main import build_parser
from medcap_tf.config import Config
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OF_THE_ROOT = [page for page in PAGES if page.parent == ROOT]


def named(page):
    return page.relative_to(ROOT).as_posix()


def commands(page):
    """Every `medcap ...` in the page's blocks of shell, whole, without comments."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["medcap"]:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=named)
def test_commands_are_understood(page):
    for words in commands(page):
        build_parser().parse_args(words)  # exits where it is not


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_has_the_targets(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text("utf-8"), re.M)) <= targets


@pytest.mark.parametrize("page", OF_THE_ROOT, ids=named)
def test_files_are_there(page):
    names = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|md|txt|toml|cfg))`", page.read_text("utf-8")))
    gone = [name for name in names if not any((home / name).exists() for home in (ROOT, ROOT / "medcap_tf"))]
    short = {path.name for path in (ROOT / "medcap_tf").rglob("*.py")}
    assert not [name for name in gone if name not in short and name != "utils.py"]


def test_every_setting_has_its_reason():
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    blocks = dict(re.findall(r"^```\{settings\} (\w+)\n(.*?)^```", text, re.M | re.S))
    assert list(blocks) == [section.name for section in dataclasses.fields(Config)]
    for section, reasons in blocks.items():
        settings = [item.name for item in dataclasses.fields(getattr(Config(), section))]
        assert re.findall(r"^(\w+):", reasons, re.M) == settings
