"""Files to rows of fields: Excel workbooks, CSV, tab and pipe tables, whatever their names and quoting.

What is wrong with a row is listed by file and row, and only that row suffers. The text of every problem starts with its
kind and a colon, so that reports can group them.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medcap_tf.cells import unescape_workbook
from medcap_tf.errors import InputError

_WORKBOOKS = (".xlsx", ".xlsm", ".xls")
TABLE_SUFFIXES = (*_WORKBOOKS, ".csv", ".tsv", ".txt")
ID_COLUMNS = ("id", "imageid", "image", "imagename", "filename", "file", "figureid", "rocoid")
VALUE_COLUMNS = {
    "captions": ("caption", "captions", "captiontext", "description", "text", "report"),
    "concepts": ("cuis", "cui", "concepts", "concept", "conceptids", "codes"),
}
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNDECODED = re.compile("[\udc80-\udcff]")


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
    rows: list[tuple[int, list[str]]]
    problems: list[Problem]
    name: str  # what problems call the file


def read_sheet(path: Path, name: str) -> Sheet:
    """Read a table of any kind; problems call the file `name`.

    Raises:
        InputError: the file cannot be read, is no table, or is empty.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be opened ({error.strerror}); close it in other programs and check its permissions"
        ) from error
    problems: list[Problem] = []
    if data.startswith(b"PK\x03\x04"):  # a workbook, whatever its name says
        rows, delimiter = _workbook_rows(path, data), ""
    elif path.suffix.lower() in _WORKBOOKS or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path}: {_not_a_workbook(data)}")
    else:
        rows, delimiter = _text_rows(path, name, _decode(path, name, data, problems), problems)
    rows = [(row, fields) for row, fields in rows if any(map(str.strip, fields))]
    if not rows:
        raise InputError(f"{path}: the table is empty; it should have rows of an ID and a caption or codes")
    header = _header(rows[0][1])
    width = len(header) or 2
    if delimiter:
        rows = [
            (row, [*fields[: width - 1], delimiter.join(fields[width - 1 :])][: len(fields)]) for row, fields in rows
        ]
    return Sheet(path, header, rows[1:] if header else rows, problems, name)


def _not_a_workbook(data: bytes) -> str:
    if not data:
        return "the file is empty; save the workbook again"
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return "an old (.xls) or password-protected Excel workbook; save it as .xlsx without a password"
    return "named like an Excel workbook but is none; save it as .xlsx from Excel, or name it .csv if it is text"


def _workbook_rows(path: Path, data: bytes) -> list[tuple[int, list[str]]]:
    try:
        with warnings.catch_warnings():
            # openpyxl warns about styles and validations, which mean nothing here.
            warnings.simplefilter("ignore")
            frame = pd.read_excel(
                io.BytesIO(data), header=None, dtype=str, keep_default_na=False, na_filter=False, engine="openpyxl"
            )
    except Exception as error:  # openpyxl raises a dozen unrelated kinds on broken workbooks
        raise InputError(f"{path}: not a readable Excel workbook ({error}); save it as .xlsx again") from error
    # A cell that shows an error such as #N/A comes as a float.
    cells = (
        [unescape_workbook(cell) if isinstance(cell, str) else "" for cell in row] for row in frame.to_numpy().tolist()
    )
    return list(enumerate(cells, 1))


def _decode(path: Path, name: str, data: bytes, problems: list[Problem]) -> str:
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # what Excel calls "Unicode text"
    if not utf16 and b"\0" in data:
        raise InputError(f"{path}: a binary file, not a table; give an .xlsx workbook or a text table in UTF-8")
    if utf16:
        return data.decode("utf-16", errors="replace")
    # Bytes that are no UTF-8 become lone surrogates, then what Excel on Windows would have meant by them.
    text = data.decode("utf-8-sig", errors="surrogateescape")
    if not _UNDECODED.search(text):
        return text
    for row, line in enumerate(_LINE_END.split(text), 1):
        if found := _UNDECODED.search(line):
            byte = f"0x{ord(found.group()) - 0xDC00:02x}"
            problems.append(
                Problem(name, row, f"not UTF-8: byte {byte} is read as Windows-1252; save the file as UTF-8")
            )
    return _UNDECODED.sub(lambda m: bytes([ord(m.group()) - 0xDC00]).decode("cp1252", errors="replace"), text)


def _text_rows(path: Path, name: str, text: str, problems: list[Problem]) -> tuple[list[tuple[int, list[str]]], str]:
    lines = _LINE_END.split(text)
    delimiter = _delimiter(lines)
    if not delimiter:
        start = next((line.strip()[:60] for line in lines if line.strip()), "")
        wanted = "an ID, then a tab, a comma or |, then a caption or codes"
        raise InputError(f"{path}: not a table (it starts with {start!r}); each line should be {wanted}")
    if not _is_quoted(lines, delimiter):
        return [(row, line.split(delimiter)) for row, line in enumerate(lines, 1)], delimiter
    try:
        return list(_csv_rows(io.StringIO(text, newline=""), delimiter)), delimiter
    except csv.Error:
        return list(_csv_lines(name, lines, delimiter, problems)), delimiter


def _delimiter(lines: list[str]) -> str:
    """The one that most lines have first: IDs hold no delimiters, captions may hold all of them."""
    found = (re.search(r"[\t|,;]", re.sub(r'^"[^"]*"', "", line)) for line in lines[:1000])
    votes = Counter(match.group() for match in found if match)
    return votes.most_common(1)[0][0] if votes else ""


def _is_quoted(lines: list[str], delimiter: str) -> bool:
    """Whether quotation marks belong to the table rather than to its captions."""
    if delimiter in ",;":
        return any(line.startswith('"') or f'{delimiter}"' in line for line in lines)
    # Tab and pipe tables are written without quoting, unless every row has it.
    second = [line.partition(delimiter)[2].strip() for line in lines[1:] if line.strip()]
    return bool(second) and all(len(v) > 1 and v[0] == v[-1] == '"' for v in second)


def _csv_rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader, before = csv.reader(lines, delimiter=delimiter, strict=True), 0
    for fields in reader:
        yield before + 1, fields
        before = reader.line_num  # quoted fields may span lines


def _csv_lines(name: str, lines: list[str], delimiter: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Line by line, so that an unpaired quotation mark does not swallow the rows after it."""
    for row, line in enumerate(lines, 1):
        try:
            fields = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            problems.append(
                Problem(name, row, "unpaired quotation marks: the row is read with its marks as they stand")
            )
            fields = line.split(delimiter)
        yield row, fields


def _header(fields: list[str]) -> list[str]:
    names = [re.sub(r"[^a-z0-9]", "", text.lower()) for text in fields]
    while names and not names[-1]:
        names.pop()
    # Words of an unquoted caption may look like names of columns, so one such name is not enough.
    values = {"caption", "captions", "cuis", "cui", "concepts", "concept"}
    first = names[0] if len(names) > 1 else None
    told = first in ("", *values) or "id" in names or len(names) == 2
    return names if first in ID_COLUMNS or (first is not None and told and values.intersection(names)) else []
