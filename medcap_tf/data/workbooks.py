"""Bytes of an Excel workbook to the rows of its sheets, cell by cell as Excel shows them."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import openpyxl

from medcap_tf.data.cells import unescape_workbook
from medcap_tf.data.text_tables import Fault, Row

_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 256  # Excel's rows; a table of captions has no more columns
_MOST_BYTES = 2**31  # unpacked
_FORMULA = re.compile(rb"<f[ />]")
_EXACT_DIGITS = 15  # Excel keeps no more of a number


class Worksheet(NamedTuple):
    """One sheet: its rows that are not blank, and what is wrong with some."""

    title: str
    is_hidden: bool
    rows: list[Row]
    faults: list[Fault]


def read_worksheets(data: bytes) -> list[Worksheet]:
    """Every sheet of cells, in the workbook's order.

    Raises:
        Exception: of a dozen unrelated kinds, as openpyxl does on a broken workbook.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > _MOST_BYTES:
            raise ValueError("it unpacks to more than 2 GiB")
        sheets = [part.filename for part in parts if part.filename.startswith("xl/worksheets/")]
        has_formulas = any(_FORMULA.search(archive.read(name)) for name in sheets)
    with contextlib.ExitStack() as stack:
        # openpyxl warns about styles and validations, which mean nothing here.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        values = _open(data, True, stack)
        formulas = _open(data, False, stack) if has_formulas else None
        return [_read(sheet, formulas) for sheet in values.worksheets]


def _open(data: bytes, data_only: bool, stack: contextlib.ExitStack) -> Any:
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=data_only)
    stack.callback(book.close)
    return book


def _read(sheet: Any, formulas: Any) -> Worksheet:
    faults: list[Fault] = []
    with_formulas = _cells(formulas[sheet.title]) if formulas else itertools.repeat(())
    rows = []
    for row, (cells, others) in enumerate(zip(_cells(sheet), with_formulas), 1):
        fields = [_text(cell, row, faults) for cell in cells[:_MOST_COLUMNS]]
        for cell in others[:_MOST_COLUMNS]:
            if cell.data_type == "f" and cells[cell.column - 1].value is None:
                text = f"formula without a value: in {cell.coordinate}; open the workbook in Excel and save it"
                faults.append((row, text))
        while fields and not fields[-1].strip():
            fields.pop()
        if fields:
            rows.append((row, fields))
    return Worksheet(sheet.title, sheet.sheet_state != "visible", rows, faults)


def _cells(sheet: Any) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # other programs write wrong ones
    return sheet.iter_rows(max_row=_MOST_ROWS)


def _text(cell: Any, row: int, faults: list[Fault]) -> str:
    """What Excel shows, as far as it may be an ID, a caption or a code."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "e":
        faults.append((row, f"error value: {cell.coordinate} shows {value}; the cell is read as empty"))
        return ""
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        text = str(value).replace(" 00:00:00", "")
        faults.append((row, f"date: {cell.coordinate} is read as {text}; format the column as text in Excel"))
        return text
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return unescape_workbook(str(value))
    return _number(cell, value, row, faults)


def _number(cell: Any, value: float, row: int, faults: list[Fault]) -> str:
    whole = value == int(value) if abs(value) < 1e300 else False
    text = str(int(value)) if whole else str(value)
    if len(text.lstrip("-")) > _EXACT_DIGITS and whole:
        faults.append((row, f"long number: {cell.coordinate} holds {text}, of which Excel keeps 15 digits; use text"))
    zeros = re.fullmatch("0+", cell.number_format or "")  # 00000 shows 7 as 00007
    return text.zfill(len(zeros[0])) if zeros and whole else text
