"""Rows of fields to values by ID: tables of captions and tables of concepts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from medcap_tf.cells import clean_code, clean_cui, clean_text, is_cui, split_codes
from medcap_tf.errors import InputError
from medcap_tf.folders import image_stem, same_form
from medcap_tf.sheets import ID_COLUMNS, VALUE_COLUMNS, Problem, Sheet, read_sheet

Value = TypeVar("Value")


@dataclass(frozen=True)
class Table(Generic[Value]):
    """A table by ID. `rows` has the first row of every ID in it, `values` only those that can be used."""

    values: dict[str, Value]
    rows: dict[str, int]
    problems: list[Problem]


def read_captions(path: Path) -> Table[str]:
    """Read a table of captions: ID without extension -> caption, stripped.

    Rows with an empty caption, a repeated ID (the first is kept), no ID, an ID that is a path out of the folder, or too
    few fields are problems and not in `values`.

    Raises:
        InputError: the file cannot be read, is no table, or has no columns for ID and caption.
    """
    return captions_of(read_sheet(Path(path), str(path)))


def read_concepts(path: Path) -> Table[tuple[str, ...]]:
    """Read a table of concepts: ID without extension -> distinct codes in their order; CUIs in upper case.

    Where at least half of the codes are UMLS CUIs, the others are problems and left out; a table of another code system
    is taken as it is. An image may have no codes.

    Raises:
        InputError: the file cannot be read, is no table, has no columns for ID and codes, or gives codes their names.
    """
    return concepts_of(read_sheet(Path(path), str(path)))


def read_concept_names(path: Path) -> Table[str]:
    """Read a table of names of concepts: code -> name; CUIs in upper case.

    With a header (concept, name) or without one, as ImageCLEF's `concepts.csv` and `cui_mapping.csv`. Rows without a
    code or a name, and codes named before, are problems and left out.

    Raises:
        InputError: the file cannot be read, is no table, or has one column.
    """
    return concept_names_of(read_sheet(Path(path), str(path)))


def captions_of(sheet: Sheet) -> Table[str]:
    """What `read_captions` returns, of a sheet already read."""
    if not sheet.rows:
        raise InputError(f"{sheet.path}: has a header but no rows; each row should have an ID and a caption")
    values, rows, problems = _by_id(sheet, "captions")
    for image_id in [i for i, caption in values.items() if not caption]:
        del values[image_id]
        problems.append(Problem(sheet.name, rows[image_id], f"empty caption: of {image_id!r}; the row is skipped"))
    return Table(values, rows, _in_order(problems))


def concepts_of(sheet: Sheet) -> Table[tuple[str, ...]]:
    """What `read_concepts` returns, of a sheet already read."""
    texts, rows, problems = _by_id(sheet, "concepts")
    if rows and 2 * sum(map(is_cui, rows)) >= len(rows):
        raise InputError(
            f"{sheet.path}: gives codes their names (it starts with {next(iter(rows))!r}); "
            "a table of concepts gives image IDs their codes"
        )
    codes = {image_id: split_codes(text) for image_id, text in texts.items()}
    total = sum(map(len, codes.values()))
    umls = total > 0 and 2 * sum(is_cui(code) for found in codes.values() for code in found) >= total
    values = {}
    for image_id, found in codes.items():
        kept: dict[str, None] = {}
        for code in found:
            if umls and not is_cui(code):
                text = f"not a CUI: {code!r}, in a table of CUIs (C and 7 digits); the code is left out"
            elif code in kept:
                text = f"repeated code: {code!r} of {image_id!r}; it is kept once"
            else:
                kept[code] = None
                continue
            problems.append(Problem(sheet.name, rows[image_id], text))
        values[image_id] = tuple(kept)
    return Table(values, rows, _in_order(problems))


def concept_names_of(sheet: Sheet) -> Table[str]:
    """What `read_concept_names` returns, of a sheet already read."""
    code_column, column = _name_columns(sheet)
    values: dict[str, str] = {}
    rows: dict[str, int] = {}
    problems = list(sheet.problems)
    for row, fields in sheet.rows:
        wanted = [fields[i].strip() if i < len(fields) else "" for i in (code_column, column)]
        code, name = clean_cui(clean_code(wanted[0])), clean_text(wanted[1])
        if not code or not name:
            text = f"missing name: the row gives code {code!r} and name {name!r}, and needs both; it is skipped"
        elif code in rows:
            text = f"duplicate code: {code!r} is in row {rows[code]}; the first name is kept"
        else:
            rows[code], values[code] = row, name
            continue
        problems.append(Problem(sheet.name, row, text))
    return Table(values, rows, _in_order(problems))


def _name_columns(sheet: Sheet) -> tuple[int, int]:
    """The columns of code and name."""
    header = sheet.header
    if max([len(header), *(len(fields) for _, fields in sheet.rows)]) < 2:
        raise InputError(f"{sheet.path}: has one column; it should have two, concept and name")
    code = next((header.index(name) for name in VALUE_COLUMNS["concepts"] if name in header), 0)
    names = [i for i, name in enumerate(header) if name.endswith("name") and i != code]
    return code, next(iter(names), 1 if code == 0 else 0)


def names_codes(sheet: Sheet) -> bool:
    """Whether it is a table of code -> name, as ImageCLEF's `concepts.csv` and `cui_mapping.csv` are."""
    if sheet.header and sheet.header[0] in VALUE_COLUMNS["concepts"]:
        return not set(ID_COLUMNS).intersection(sheet.header)
    return 2 * sum(is_cui(clean_code(fields[0])) for _, fields in sheet.rows) >= max(1, len(sheet.rows))


def _columns(sheet: Sheet, kind: str) -> tuple[int, int]:
    """The columns of ID and value."""
    header, wanted = sheet.header, VALUE_COLUMNS[kind]
    if not header:
        if max(len(fields) for _, fields in sheet.rows) > 1:
            return 0, 1
        raise InputError(f"{sheet.path}: has one column; it should have two, ID and {wanted[0].capitalize()}")
    ids = [header.index(name) for name in ID_COLUMNS if name in header]
    if not ids and header[0] not in (*VALUE_COLUMNS["captions"], *VALUE_COLUMNS["concepts"]):
        ids = [0]
    values = [header.index(name) for name in wanted if name in header]
    if not ids or not values:
        title = "CUIs" if kind == "concepts" else "Caption"
        raise InputError(
            f"{sheet.path}: no columns of {kind} found (its columns: {', '.join(header)}); name them ID and {title}"
        )
    return ids[0], values[0]


def _by_id(sheet: Sheet, kind: str) -> tuple[dict[str, str], dict[str, int], list[Problem]]:
    id_column, column = _columns(sheet, kind)
    # Codes may run on over the columns to the right, as in ROCO.
    runs_on = kind == "concepts" and column == (len(sheet.header) or 2) - 1
    values: dict[str, str] = {}
    rows: dict[str, int] = {}
    problems = list(sheet.problems)
    for row, fields in sheet.rows:
        try:
            if len(fields) <= max(id_column, column):
                raise ValueError(f"too few fields: {len(fields)} where ID and value are wanted; the row is skipped")
            image_id = _clean_id(fields[id_column])
            if image_id in rows:
                raise ValueError(f"duplicate ID: {image_id!r} is in row {rows[image_id]}; the first is kept")
        except ValueError as error:
            problems.append(Problem(sheet.name, row, str(error)))
            continue
        rows[image_id] = row
        values[image_id] = ";".join(fields[column:]) if runs_on else clean_text(fields[column])
    return values, rows, problems


def _clean_id(text: str) -> str:
    """The ID with forward slashes, in NFC, without an image's suffix; raises ValueError with the problem."""
    path = clean_code(text).replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"unsafe ID: {text.strip()!r} is a path out of the images folder; the row is skipped")
    path = "/".join(part for part in parts if part not in ("", "."))
    if not path:
        raise ValueError("missing ID: the row is skipped")
    return same_form(image_stem(path))


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.row)
