"""The report: one HTML file that holds everything it shows and asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from medcap_tf.explain.entries import entry_of
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.figures import LEAST_PEAK, MAP_COLORS
from medcap_tf.explain.measures import MEASURES
from medcap_tf.explain.plate import color_table
from medcap_tf.files import replacing


class Table(NamedTuple):
    """One measure of an audit, ready to print."""

    title: str
    meaning: str
    columns: list[str]
    rows: list[list[str]]


def write_report(
    path: Path,
    explanations: Iterable[Explanation],
    title: str = "Captions and their explanations",
    audit: Mapping[str, Any] | None = None,
    worst_by: str = "",
) -> Path:
    """Write the page atomically; memory holds one image at a time.

    Args:
        path: the HTML file.
        explanations: taken one after another, each written before the next is asked for.
        title: the page's heading.
        audit: the content of `audit.json`; its tables stand ahead of the images.
        worst_by: a score by which the page opens, lowest first, among those of `entries.SCORES_SHOWN`; empty: the
            page opens in the order given.

    Returns:
        The path.
    """
    entries = (entry_of(one) for one in explanations)
    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(_page(title, entries, audit or {}, worst_by))
    return path


def framed(explanation: Explanation) -> str:
    """The report of one image, without heading and search, in a frame that may run its own script and nothing else."""
    entry = entry_of(explanation)
    page = html.escape("".join(_page(entry["name"], [entry], alone=True)))
    name = html.escape(f"Caption of {entry['name']}")
    style = "display: block; width: 100%; height: 640px; border: 0"
    return f'<iframe title="{name}" sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'


def _page(
    title: str,
    entries: Iterable[dict[str, Any]],
    audit: Mapping[str, Any] | None = None,
    worst_by: str = "",
    alone: bool = False,
) -> Iterator[str]:
    return page_template("report").generate(
        title=title,
        alone=alone,
        audit=audit_tables(audit or {}),
        summary=(audit or {}).get("summary", ()),
        entries=entries,
        worst_by=worst_by,
        colors=color_table(MAP_COLORS).tolist(),
        least_peak=LEAST_PEAK,
    )


def page_template(name: str) -> Template:
    """The template of a page that holds its style sheet and script, `page/NAME.css` and `.js`, and by its
    Content-Security-Policy runs nothing else."""
    environment = Environment(
        loader=PackageLoader("medcap_tf.explain", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {}  # keys in the order given
    for kind, ending in (("style", "css"), ("script", "js")):
        text = resources.files("medcap_tf.explain").joinpath("page", f"{name}.{ending}").read_text(encoding="utf-8")
        environment.globals.update({kind: Markup(text), f"{kind}_hash": _source_hash(text)})
    return environment.get_template(f"{name}.html")


def _source_hash(text: str) -> str:
    """The source expression by which a Content-Security-Policy allows this text and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def audit_tables(audit: Mapping[str, Any]) -> list[Table]:
    """An audit's measures as tables. A measure of single values has a row a value; one of measures in turn, a row a
    name and a column a value."""
    return [_table(name, values) for name, values in audit.items() if isinstance(values, Mapping) and values]


def _table(name: str, values: Mapping[str, Any]) -> Table:
    title, meaning = MEASURES.get(name, (_plain(name), ""))
    rows = {key: value if isinstance(value, Mapping) else {"value": value} for key, value in values.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[_plain(key), *(_cell(row.get(column)) for column in columns)] for key, row in rows.items()]
    return Table(title, meaning, [_plain(column) for column in columns], cells)


def _plain(name: str) -> str:
    return str(name).replace("_", " ")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)
