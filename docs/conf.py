"""How Sphinx builds the pages: `make docs`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sphinx.application import Sphinx  # noqa: E402
from sphinx.pycode import parser  # noqa: E402

import medcap_tf  # noqa: E402

# The comment beside a field or above a constant is its documentation; Sphinx itself asks for the mark `#:`.
parser.comment_re = re.compile(r"^\s*#:? ?(.*)\r?\n?$")

project, author = "medcap_tf", "the medcap_tf authors"
version = release = medcap_tf.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "directives"]
html_theme = "furo"
html_title = f"medcap_tf {release}"
exclude_patterns = ["__pycache__"]
suppress_warnings = ["ref.python"]  # a type's short name may be that of classes in two modules

myst_heading_anchors = 3
myst_enable_extensions = ["fieldlist"]

# Docstrings quote code in single backticks, as Markdown does.
default_role = "code"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_use_type_comments = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


def include_pages_of_the_root(app: Sphinx, docname: str, source: list[str]) -> None:
    """MyST's own `include` would leave their links as they are: from the root on."""

    def text(match: re.Match[str]) -> str:
        page = (HERE / match[1]).read_text(encoding="utf-8").replace("](docs/", "](")
        return re.sub(r"\]\(([A-Z]+)\.md", lambda link: f"]({link[1].lower()}.md", page)

    source[0] = re.sub(r"^```\{include\} (\S+)\n```$", text, source[0], flags=re.M)


def begin_with_an_empty_line(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Else Napoleon reads `what it is: how` beside a field as a type and its description."""
    if what in ("attribute", "data"):
        lines.insert(0, "")


def setup(app: Sphinx) -> None:
    """Connect both."""
    app.connect("source-read", include_pages_of_the_root)
    app.connect("autodoc-process-docstring", begin_with_an_empty_line, priority=100)  # before Napoleon
