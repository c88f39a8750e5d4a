"""Files to rows of fields: Excel workbooks, CSV, tab and pipe tables, whatever their names and quoting.

What is wrong with a row is listed by file and row, and only that row suffers. The text of every problem starts with its
kind and a colon, so that reports can group them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from medcap_tf.data.cells import clean_code
from medcap_tf.data.columns import (
    ID_COLUMNS,
    SPLIT_COLUMNS,
    SPLITS,
    VALUE_COLUMNS,
    find_header,
    headerless_width,
    normalize_names,
    split_named,
)
from medcap_tf.data.text_tables import Fault, Row, parse
from medcap_tf.data.workbooks import Worksheet, read_worksheets
from medcap_tf.errors import InputError

_WORKBOOKS = (".xlsx", ".xlsm", ".xls")
TABLE_SUFFIXES = (*_WORKBOOKS, ".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Problem:
    """Something to mend: `row` counts from 1, as an editor or Excel shows it; 0 where no row applies."""

    file: str
    row: int
    problem: str  # "kind: details"


class Sheet(NamedTuple):
    """A table as written: each of `rows` is its number in the file and its fields, none of them blank throughout."""

    path: Path
    header: list[str]  # letters and digits in lower case; [] where the table has no header
    rows: list[Row]
    problems: list[Problem]
    name: str  # what problems call the file
    width: int  # columns of a text table, whose rows may have more fields where a caption holds separators
    separator: str  # "" in workbooks

    def joined(self, column: int) -> Iterator[tuple[int, list[str], int]]:
        """Each row's number, its fields, and how many more it has than columns: those are a part of `column`."""
        for row, fields in self.rows:
            while column < self.width - 1 and len(fields) > self.width and not fields[-1].strip():
                fields = fields[:-1]
            more = len(fields) - self.width if self.separator else 0
            if more > 0:
                end = column + more + 1
                fields = [*fields[:column], self.separator.join(fields[column:end]), *fields[end:]]
            yield row, fields, max(0, more)


def read_sheet(path: Path, name: str, kind: str = "") -> Sheet:
    """Read a table of any kind; problems call the file `name`.

    Args:
        path: the file.
        name: what problems call it.
        kind: captions or concepts: which sheet of a workbook is wanted, if several hold tables.

    Raises:
        InputError: the file cannot be read, is no table, or is empty.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give the table in it") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be opened ({error.strerror}); close it in other programs and check its permissions"
        ) from error
    faults: list[Fault] = []
    if data.startswith(b"PK\x03\x04"):  # a workbook, whatever its name says
        rows, separator = _workbook_rows(path, data, kind, faults), ""
    elif path.suffix.lower() in _WORKBOOKS or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path}: {_not_a_workbook(data)}")
    else:
        rows, separator = _text_rows(path, data, faults)
    rows = [(row, fields) for row, fields in rows if any(map(str.strip, fields))]
    if not rows:
        raise InputError(f"{path}: the table is empty; it should have rows of an ID and a caption or codes")
    return _sheet(path, name, _without_blank_columns(rows), separator, faults)


def _sheet(path: Path, name: str, rows: list[Row], separator: str, faults: list[Fault]) -> Sheet:
    header = find_header([fields for _, fields in rows])
    for row, fields in rows[: header.row] if header else ():
        faults.append((row, f"title row: {_shown(fields)} above the names of the columns is passed over"))
    rows = rows[header.row :] if header else rows
    width, doubtful = headerless_width([fields for _, fields in rows]) if separator else (len(rows[0][1]), False)
    if doubtful and not header:
        columns = f"{len(rows[0][1])} fields in each row, of which all but the first are read as one"
        faults.append((0, f"no header: {columns}; give a first row of names, such as ID{separator}Caption"))
    sheet = Sheet(path, [], rows, [Problem(name, *fault) for fault in faults], name, width, separator)
    if not header:
        return sheet
    return headed_by_content(sheet) if header.by_content else _headed(sheet)


def _headed(sheet: Sheet) -> Sheet:
    """The sheet with its first row as header."""
    names = normalize_names(sheet.rows[0][1])
    names = ["", *names] if _counts_rows([fields for _, fields in sheet.rows[1:]], len(names)) else names
    repeated = {row for row, fields in sheet.rows[1:] if normalize_names(fields) == names}
    rows = [(row, fields) for row, fields in sheet.rows[1:] if row not in repeated]
    problems = [Problem(sheet.name, row, "repeated header: the row is passed over") for row in sorted(repeated)]
    return sheet._replace(header=names, rows=rows, problems=[*sheet.problems, *problems], width=len(names))


def _counts_rows(rows: list[list[str]], named: int) -> bool:
    """Whether the first of one more column than has a name counts the rows, as R writes them."""
    counted = [clean_code(fields[0]) for fields in rows]
    starts = (["0"], ["1"])
    return (
        counted[:1] in starts
        and all(len(fields) == named + 1 and not fields[-1].startswith(" ") for fields in rows)
        and counted == [str(i) for i in range(int(counted[0]), int(counted[0]) + len(rows))]
    )


def headed_by_content(sheet: Sheet) -> Sheet:
    """The sheet with its first row as header, which is said: it might have been a record."""
    row, fields = sheet.rows[0]
    text = f"header by content: {_shown(fields)} is taken for the names of the columns"
    return _headed(sheet._replace(problems=[*sheet.problems, Problem(sheet.name, row, text)]))


def _shown(fields: list[str]) -> str:
    return repr(", ".join(filter(None, map(str.strip, fields)))[:60])


def _without_blank_columns(rows: list[Row]) -> list[Row]:
    """The rows without the columns at their ends that most have, blank throughout; few have a caption's own commas."""
    filled = max(i for _, fields in rows for i, text in enumerate(fields, 1) if text.strip())
    common = statistics.median_high(len(fields) for _, fields in rows)
    return [(row, fields[:filled] + fields[max(filled, common) :]) for row, fields in rows]


def by_split(sheet: Sheet) -> dict[str, Sheet]:
    """A table for all splits -> the rows of each, by the column that names it; {} where there is none."""
    columns = [i for i, name in enumerate(sheet.header) if name in SPLIT_COLUMNS]
    columns += [] if sheet.header else range(1, sheet.width)
    for column in columns:
        named = [(_split_in(fields, column, sheet.width), row, fields) for row, fields in sheet.rows]
        if not named or 2 * sum(split is not None for split, _, _ in named) < len(named):
            continue
        faults = [
            (row, "unknown split: the row names none of train, valid, test; it is skipped")
            for split, row, _ in named
            if not split
        ]
        problems = [*sheet.problems, *(Problem(sheet.name, *fault) for fault in faults)]
        sheets: dict[str, Sheet] = {}
        for split in SPLITS:
            rows = [(row, fields) for own, row, fields in named if own == split]
            if rows:  # what is wrong with the file is said once
                sheets[split] = sheet._replace(rows=rows, problems=[] if sheets else problems)
        return sheets
    return {}


def _split_in(fields: list[str], column: int, width: int) -> str | None:
    """The split that a row names; commas of a caption before it push it to the right."""
    cells = [fields[at] for at in (column, len(fields) - width + column) if at < len(fields)]
    return next(filter(None, map(split_named, cells)), None)


def _not_a_workbook(data: bytes) -> str:
    if not data:
        return "the file is empty; save the workbook again"
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return "an old (.xls) or password-protected Excel workbook; save it as .xlsx without a password"
    return "named like an Excel workbook but is none; save it as .xlsx from Excel, or name it .csv if it is text"


def _workbook_rows(path: Path, data: bytes, kind: str, faults: list[Fault]) -> list[Row]:
    try:
        sheets = read_worksheets(data)
    except Exception as error:  # openpyxl raises a dozen unrelated kinds on broken workbooks
        raise InputError(f"{path}: not a readable Excel workbook ({error}); save it as .xlsx again") from error
    filled = [sheet for sheet in sheets if sheet.rows]
    if not filled:
        raise InputError(
            f"{path}: the table is empty (sheets: {', '.join(sheet.title for sheet in sheets) or 'none'}); it should "
            "have rows of an ID and a caption or codes, in an ordinary .xlsx (no Strict Open XML)"
        )
    # The first of the best.
    sheet = max(filled, key=lambda sheet: (*_fitness(sheet, kind), -filled.index(sheet)))
    if len(filled) > 1:
        others = ", ".join(f"{s.title!r}{' (hidden)' if s.is_hidden else ''}" for s in filled if s is not sheet)
        hidden = ", which is hidden," if sheet.is_hidden else ""
        faults.append((0, f"several sheets: {sheet.title!r}{hidden} is read; not read: {others}"))
    elif sheet.is_hidden:
        faults.append((0, f"hidden sheet: {sheet.title!r} is read, the only one with rows"))
    faults += sheet.faults
    width = max(len(fields) for _, fields in sheet.rows)
    return [(row, fields + [""] * (width - len(fields))) for row, fields in sheet.rows]


def _fitness(sheet: Worksheet, kind: str) -> tuple[bool, bool, bool, bool]:
    """Whether a sheet is a table, shows, names what is wanted, and names its columns."""
    rows = [fields for _, fields in sheet.rows]
    header = find_header(rows)
    names = set(header.names) if header else set()
    wanted = set(VALUE_COLUMNS.get(kind, ())) & names
    is_table = any(len(list(filter(str.strip, fields))) > 1 for fields in rows)
    return (
        is_table,
        not sheet.is_hidden,
        bool(wanted) or kind in sheet.title.lower().split(),
        bool(wanted or names & set(ID_COLUMNS)),
    )


def _text_rows(path: Path, data: bytes, faults: list[Fault]) -> tuple[list[Row], str]:
    parsed = parse(data)
    if parsed is None:
        raise InputError(f"{path}: a binary file, not a table; give an .xlsx workbook or a text table in UTF-8")
    if not parsed.separator:
        wanted = "an ID, then a tab, a comma or |, then a caption or codes"
        start = data.decode("utf-8", errors="replace").strip().partition("\n")[0].strip()[:60]
        raise InputError(f"{path}: not a table (it starts with {start!r}); each line should be {wanted}")
    faults += parsed.faults
    return parsed.rows, parsed.separator
