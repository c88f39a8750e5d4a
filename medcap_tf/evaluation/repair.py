"""A run file as its edition wants it, made of one that would be refused: what is beyond doubt is put right, and said.

What needs a decision is left as it is, for the check to name: unknown and missing IDs, two different answers for one
image, an image without codes where the edition wants one, codes that are none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from medcap_tf.data.columns import ID_COLUMNS, names_columns, normalize_names
from medcap_tf.data.folders import image_stem
from medcap_tf.data.sheets import Problem
from medcap_tf.data.text_tables import Fault, Row, decode, rows_of
from medcap_tf.errors import InputError
from medcap_tf.evaluation.submission import CODE, CONCEPTS, FORMATS, header_of, joined_codes, kind_of, lines_of, render


class Repaired(NamedTuple):
    """A run file's new content, and what was changed, by row of the old one."""

    data: bytes
    changes: list[Problem]


def repair(data: bytes, name: str, ids: Sequence[str] | None, edition: str) -> Repaired:
    """Write a run file's rows again as an edition wants them.

    Args:
        data: the old file.
        name: what changes call it.
        ids: the IDs of the test images in their order; None where they are not known.
        edition: a key of `FORMATS`.

    Raises:
        InputError: a binary file.
    """
    faults: list[Fault] = [(1, "byte order mark: taken off")] if data.startswith(b"\xef\xbb\xbf") else []
    text = decode(data, faults)
    if text is None:
        raise InputError(f"{name}: is no text; give a run file")
    separator, wanted = _separator(text, edition), FORMATS[edition].separator
    if separator != wanted:
        faults.append((1, f"separator: {wanted!r} instead of {separator!r}"))
    fields = list(_fields(text, separator, faults))
    changes = [Problem(name, row, fault) for row, fault in faults]
    header = _header(fields, name)
    fields = fields[bool(header) :]
    if not any(len(own) > 1 for _, own in fields):
        raise InputError(f"{name}: no row has {separator!r} after its ID: this is no run file")
    kind = kind_of(header, [(number, own) for number, own in fields if own])
    changes += _changes_of_header(header, kind, edition, name)
    rows: dict[tuple[str, str], int] = {}  # ID and value -> number of the row
    for number, own in fields:
        row, texts = _mend(own, kind, frozenset(ids or ()))
        if row in rows:
            texts = [f"duplicate: of row {rows[row]}, which says the same; left out"]
        elif row:
            rows[row] = number
        changes += [Problem(name, number, text) for text in texts]
    place = {image_id: i for i, image_id in enumerate(ids or ())}
    ordered = sorted(rows, key=lambda row: place.get(row[0], len(place)))
    if ordered != list(rows):
        changes.append(Problem(name, 0, "order: the rows now stand in the order of the split"))
    return Repaired(render(kind, ordered, edition), changes)


def _header(fields: Sequence[Row], name: str) -> list[str]:
    """The first row where it names columns; raises InputError where these are not an ID and one more."""
    first = fields[0][1] if fields else []
    if [field.strip().lower() for field in first[:1]] != ["id"] and not names_columns(first):
        return []
    names = normalize_names(first)
    if len(names) > 2 or names[0] not in ID_COLUMNS:
        raise InputError(
            f"{name}: has the columns {', '.join(first)}; a run file has two, the ID and then a caption or codes: give"
            " it these alone"
        )
    return first


def _changes_of_header(header: Sequence[str], kind: str, edition: str, name: str) -> list[Problem]:
    wanted = header_of(kind, edition)
    if list(header) == wanted:
        return []
    return [Problem(name, 1, f"header: now {','.join(wanted)}" if wanted else "header: taken off")]


def _separator(text: str, edition: str) -> str:
    """What stands after the first ID."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    found = re.search(r"[,|\t;]", first)
    return found.group() if found else FORMATS[edition].separator


def _fields(text: str, separator: str, faults: list[Fault]) -> Iterator[Row]:
    """Each row's number and its fields."""
    if separator not in ",;":
        for number, line in enumerate(lines_of(text), 1):
            yield number, line.split(separator) if line.strip() else []
        return
    # As all tables are read: a stray mark must not gather the rows after it.
    rows = list(rows_of(text, separator, faults))
    yield from rows if rows[-1][1] != [""] else rows[:-1]  # after the last line's end


def _mend(fields: Sequence[str], kind: str, known: Collection[str]) -> tuple[tuple[str, str] | None, list[str]]:
    """A row's ID and value put right, and what was changed; None for an empty line."""
    if not any(field.strip() for field in fields):
        return None, ["empty line: taken out"]
    changes = []
    image_id, value = fields[0].strip(), (";" if kind == CONCEPTS else ",").join(fields[1:])
    if len(fields) > 2:
        changes.append(f"{len(fields)} fields: joined to one")
    if len(fields) < 2:
        changes.append(f"one field: {image_id!r} is taken for an ID, of an image with nothing to say")
    if image_id not in known and image_stem(image_id) in known:
        changes.append(f"ID: {image_id!r} is {image_stem(image_id)!r}, without the image's suffix")
        image_id = image_stem(image_id)
    tidied = _tidy_codes(value) if kind == CONCEPTS else " ".join(value.split())
    if tidied != value or fields[0] != fields[0].strip():
        codes = "codes: upper case, each once, none empty, ';' between them"
        changes.append(codes if kind == CONCEPTS else "white space: single spaces")
    return (image_id, tidied), changes


def _tidy_codes(value: str) -> str:
    codes = (
        own.upper() if CODE.fullmatch(own.upper()) else own
        for piece in map(str.strip, value.split(";"))
        for own in joined_codes(piece) or [piece]
    )
    return ";".join(dict.fromkeys(filter(None, codes)))
