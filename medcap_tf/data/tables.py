"""Rows of fields to values by ID: tables of captions and tables of concepts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Container
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar

from medcap_tf.data.cells import clean_code, clean_cui, clean_text, is_cui, split_codes
from medcap_tf.data.columns import ID_COLUMNS, VALUE_COLUMNS, Roles, find_roles, reads_as_names, stem_of
from medcap_tf.data.folders import image_stem, same_form
from medcap_tf.data.sheets import Problem, Sheet, headed_by_content, read_sheet
from medcap_tf.errors import InputError

Value = TypeVar("Value")
ONE_IS_KEPT = "the first is kept (data.captions=all trains on each)"
_NAMING = ("name", "term", "label", "title")  # how columns end that hold names of concepts
_OTHER_CODE = re.compile(r"[A-Z]{0,4}\d+|")
_COMPARED = 50  # captions of one image that a further one is compared with


@dataclass(frozen=True)
class Table(Generic[Value]):
    """A table by ID. `rows` has the row of every ID in it, `values` only those that can be used."""

    values: dict[str, Value]
    rows: dict[str, int]
    problems: list[Problem]
    further: dict[str, list[tuple[int, Value]]] = field(default_factory=dict)  # ID -> row and value of its others
    written: dict[str, str] = field(default_factory=dict)  # ID -> its value as it stands in the file


def read_captions(path: Path) -> Table[str]:
    """Read a table of captions: ID without extension -> caption, stripped.

    Rows with an empty caption, a repeated ID (the first is kept), no ID, an ID that is a path out of the folder, or too
    few fields are problems and not in `values`.

    Raises:
        InputError: the file cannot be read, is no table, or has no columns for ID and caption.
    """
    return captions_of(read_sheet(Path(path), str(path), "captions"))


def read_concepts(path: Path, keep_all: bool = False) -> Table[tuple[str, ...]]:
    """Read a table of concepts: ID without extension -> distinct codes in their order; CUIs in upper case.

    Where at least half of the codes are UMLS CUIs, the others are problems and left out; a table of another code system
    is taken as it is. An image may have no codes. With `keep_all` they are kept, as somebody's wrong answers are.

    Raises:
        InputError: the file cannot be read, is no table, has no columns for ID and codes, or gives codes their names.
    """
    return concepts_of(read_sheet(Path(path), str(path), "concepts"), keep_all=keep_all)


def read_concept_names(path: Path) -> Table[str]:
    """Read a table of names of concepts: code -> name; CUIs in upper case.

    With a header (concept, name) or without one, as ImageCLEF's `concepts.csv` and `cui_mapping.csv`. Rows without a
    code or a name, and codes named before, are problems and left out.

    Raises:
        InputError: the file cannot be read, is no table, or has one column.
    """
    return concept_names_of(read_sheet(Path(path), str(path)))


def captions_of(sheet: Sheet, images: Container[str] = frozenset()) -> Table[str]:
    """What `read_captions` returns, of a sheet already read.

    Args:
        sheet: the table.
        images: names of the images without folder and suffix, where they are known: they tell the column of IDs.
    """
    table = _by_id(sheet, "captions", images)
    empty = [image_id for image_id, caption in table.values.items() if not caption]
    for image_id in empty:
        del table.values[image_id]
        text = f"empty caption: of {image_id!r}; the row is skipped"
        table.problems.append(Problem(sheet.name, table.rows[image_id], text))
    return replace(table, problems=_in_order(table.problems))


def concepts_of(sheet: Sheet, images: Container[str] = frozenset(), keep_all: bool = False) -> Table[tuple[str, ...]]:
    """What `read_concepts` returns, of a sheet already read; `images` as for `captions_of`."""
    table = _by_id(sheet, "concepts", images)
    rows, problems = table.rows, table.problems
    if rows and 2 * sum(map(is_cui, rows)) >= len(rows):
        raise InputError(
            f"{sheet.path}: gives codes their names (it starts with {next(iter(rows))!r}); "
            "a table of concepts gives image IDs their codes"
        )
    codes = {image_id: split_codes(text) for image_id, text in table.values.items()}
    total = sum(map(len, codes.values()))
    umls = total > 0 and 2 * sum(is_cui(code) for own in codes.values() for code in own) >= total
    values = {}
    for image_id, own in codes.items():
        kept: dict[str, None] = {}
        for code in own:
            text, foreign = "", umls and not is_cui(code)
            if foreign:
                done = "it counts as a wrong one" if keep_all else "the code is left out"
                text = f"not a CUI: {code!r}, in a table of CUIs (C and 7 digits); {done}"
            elif code in kept:
                text = f"repeated code: {code!r} of {image_id!r}; it is kept once"
            if keep_all or not foreign:
                kept.setdefault(code)
            if text:
                problems.append(Problem(sheet.name, rows[image_id], text))
        values[image_id] = tuple(kept)
    return Table(values, rows, _in_order(problems))


def concept_names_of(sheet: Sheet) -> Table[str]:
    """What `read_concept_names` returns, of a sheet already read."""
    code_column, column = _name_columns(sheet)
    values: dict[str, str] = {}
    rows: dict[str, int] = {}
    problems = list(sheet.problems)
    for row, fields, _ in sheet.joined(column):
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
    columns = range(max([len(header), *(len(fields) for _, fields in sheet.rows)]))
    if len(columns) < 2:
        raise InputError(f"{sheet.path}: has one column; it should have two, concept and name")
    cuis = {i: sum(is_cui(clean_code(f[i])) for _, f in sheet.rows if i < len(f)) for i in columns}
    named = [header.index(name) for name in VALUE_COLUMNS["concepts"] if name in header]
    code = next(iter(named), max(columns, key=lambda i: (cuis[i], -i)))
    names = [i for i, name in enumerate(header) if name.endswith(_NAMING) and i != code]
    # Of columns without such a name the first that does not hold codes of another kind, as semantic types are.
    coded = {i for i in columns if all(map(_OTHER_CODE.fullmatch, (f[i].strip() for _, f in sheet.rows if i < len(f))))}
    return code, next(iter([*names, *(i for i in columns if i != code and i not in coded)]), 1 if code == 0 else 0)


def names_codes(sheet: Sheet) -> bool:
    """Whether it is a table of code -> name, as ImageCLEF's `concepts.csv` and `cui_mapping.csv` are."""
    if sheet.header and sheet.header[0] in VALUE_COLUMNS["concepts"]:
        return not set(ID_COLUMNS).intersection(sheet.header)
    return 2 * sum(is_cui(clean_code(fields[0])) for _, fields in sheet.rows) >= max(1, len(sheet.rows))


def _roles(sheet: Sheet, kind: str, images: Container[str]) -> Roles:
    """The columns of ID and value; raises InputError where there is no telling."""
    wanted = "CUIs" if kind == "concepts" else "Caption"
    if not sheet.rows:
        raise InputError(f"{sheet.path}: has a header but no rows; each row should have an ID and a value: {wanted}")
    if not sheet.header and max(len(fields) for _, fields in sheet.rows) < 2:
        raise InputError(f"{sheet.path}: has one column; it should have two, ID and {wanted}")
    roles = find_roles(sheet.header, [fields for _, fields in sheet.rows], sheet.width, kind, images)
    if roles is None:
        names = ", ".join(filter(None, sheet.header))
        raise InputError(f"{sheet.path}: no columns of {kind} found (its columns: {names}); name them ID and {wanted}")
    if roles.twins:
        fitting = " and ".join(repr(sheet.header[i]) for i in sorted((roles.values[0], *roles.twins)))
        raise InputError(f"{sheet.path}: {fitting} may both hold {kind}; name the one that is meant {wanted}")
    return roles


def _by_id(sheet: Sheet, kind: str, images: Container[str]) -> Table[str]:
    """The text of each ID's value, not yet looked into; where an ID comes again, its first text that is not empty."""
    sheet = _headed(sheet, images)
    roles = _roles(sheet, kind, images)
    table: Table[str] = Table({}, {}, list(sheet.problems))
    if roles.by_content:
        id_name, value_name = (repr(sheet.header[column]) for column in (roles.id, roles.values[0]))
        title = "CUIs" if kind == "concepts" else "Caption"
        others = f" (not from {', '.join(repr(sheet.header[i]) for i in roles.rivals)})" if roles.rivals else ""
        text = f"columns by content: IDs are read from {id_name}, {kind} from {value_name}{others}; name them ID and "
        table.problems.append(Problem(sheet.name, 0, text + title))
    for row, fields, more in sheet.joined(roles.values[0]):
        try:
            if len(fields) <= max(roles.id, roles.values[0]):
                raise ValueError(f"too few fields: {len(fields)} where ID and value are wanted; the row is skipped")
            image_id = _clean_id(fields[roles.id])
        except ValueError as error:
            table.problems.append(Problem(sheet.name, row, str(error)))
            continue
        faults = [_add(table, image_id, row, _texts(sheet, fields, roles, kind))]
        if table.rows[image_id] == row:
            table.written[image_id] = fields[roles.values[0]]
        if more and roles.values[0] < sheet.width - 1:
            faults.append(f"too many fields: {more} more than columns; they are read as part of the {kind[:-1]}")
        table.problems.extend(Problem(sheet.name, row, fault) for fault in faults if fault)
    return table


def _texts(sheet: Sheet, fields: list[str], roles: Roles, kind: str) -> list[str]:
    """The values of a row: several captions, but the codes of all columns in one."""
    first = roles.values[0]
    if kind == "captions":
        texts = [clean_text(fields[column]) for column in roles.values if column < len(fields)]
        return [texts[0], *filter(None, texts[1:])]
    # Codes may run on over the columns to the right, as in ROCO.
    runs_on = first == (len(sheet.header) or first + 1) - 1
    columns = range(first, len(fields)) if runs_on else roles.values
    return [";".join(fields[column] for column in columns if column < len(fields))]


def _add(table: Table[str], image_id: str, row: int, texts: list[str]) -> str:
    """Add a row's texts; returns what is wrong with that, or nothing."""
    first = table.values.get(image_id)
    if first is None or (not first and texts[0]):
        before = table.rows.get(image_id)
        table.rows[image_id], table.values[image_id] = row, texts[0]
        _add_further(table, image_id, row, texts[1:])
        if before is not None:
            return f"duplicate ID: {image_id!r} is in row {before}, too, where it is empty; this one is kept"
        return f"several captions: {image_id!r} has {len(texts)} in this row; {ONE_IS_KEPT}" if len(texts) > 1 else ""
    is_new = _add_further(table, image_id, row, texts)
    how = f" with another value; {ONE_IS_KEPT}" if is_new else "; the first is kept"
    return f"duplicate ID: {image_id!r} is in row {table.rows[image_id]}{how}"


def _add_further(table: Table[str], image_id: str, row: int, texts: list[str]) -> bool:
    """Keep the texts that differ from those before; returns whether there were any."""
    further = table.further.get(image_id, [])
    known = {"", table.values[image_id], *(text for _, text in further[-_COMPARED:])}
    new = [(row, text) for text in dict.fromkeys(texts) if text not in known]
    if new:
        table.further[image_id] = further
        further += new
    return bool(new)


def _headed(sheet: Sheet, images: Container[str]) -> Sheet:
    """The sheet with its first row as header, where only the images tell that it is one: all rows but it name some."""
    if sheet.header or len(sheet.rows) < 2 or not reads_as_names(sheet.rows[0][1]):
        return sheet
    for column in range(len(sheet.rows[0][1])):
        cells = [clean_code(fields[column]) for _, fields in sheet.rows if column < len(fields)]
        first, *below = (stem_of(cell) in images for cell in cells)
        if not first and below and 2 * sum(below) >= len(below):
            return headed_by_content(sheet)
    return sheet


def _clean_id(text: str) -> str:
    """The ID with forward slashes, in NFC, without an image's suffix; raises ValueError with the problem."""
    path = clean_code(text).strip("'\"").replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"unsafe ID: {text.strip()!r} is a path out of the images folder; the row is skipped")
    path = "/".join(part for part in parts if part not in ("", "."))
    if not path:
        raise ValueError("missing ID: the row is skipped")
    stem, _, number = path.rpartition("#")
    if number.isdecimal() and image_stem(stem) != stem:  # `a.jpg#0`, `a.jpg#1`: the captions of an image, numbered
        path = stem
    return same_form(image_stem(path))


def alike(ids: Collection[str], known: Collection[str]) -> dict[str, str]:
    """IDs that are not known -> the only known one that differs in case or in a number's form alone (7, 7.0, 007).

    Known ones that another ID has exactly are not taken from it.
    """
    forms: dict[str, list[str]] = {}
    unknown = [image_id for image_id in ids if image_id not in known]
    for name in known if unknown else ():
        if name not in ids:
            forms.setdefault(_form(name), []).append(name)
    candidates = {image_id: forms.get(_form(image_id), []) for image_id in unknown}
    taken = Counter(names[0] for names in candidates.values() if len(names) == 1)
    return {image_id: names[0] for image_id, names in candidates.items() if len(names) == 1 and taken[names[0]] == 1}


def _form(image_id: str) -> str:
    """What spreadsheets leave of an ID: the digits of a whole number, else its letters in lower case."""
    if whole := re.fullmatch(r"0*(\d+)(?:\.0+)?", image_id):
        return whole[1]
    if re.fullmatch(r"\d(?:\.\d+)?[eE]\+?\d{1,2}", image_id) and Decimal(image_id) % 1 == 0:
        return str(int(Decimal(image_id)))
    return image_id.casefold()


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.row)
