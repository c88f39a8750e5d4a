"""Run files for ImageCLEFmed Caption, and the checks that the organizers' scripts make before they score one.

A row is an ID and a caption, or an ID and codes joined by `;`.

- 2021: a pipe between them, no header.
- 2023: a pipe, or a tab; no header, a row with ID in its first field is passed over.
- 2025: a comma, fields quoted where needed; the header is `ID,Caption` or `ID,CUIs`.

The organizers' scripts of 2022, 2023 and 2025 say so, and at most 100 codes an image. For captions in 2021 the layout
is inferred from that year's concepts and the captions of 2022.

The pipe tables know no quoting: their scripts end a caption at its first `|`, silently, and a row at a line break.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from medcap_tf.data.sheets import Problem
from medcap_tf.errors import InputError
from medcap_tf.files import write_bytes

MOST_CODES = 100
CAPTIONS, CONCEPTS = "captions", "concepts"
_TITLES = {CAPTIONS: "Caption", CONCEPTS: "CUIs"}


class Format(NamedTuple):
    """One edition's run file."""

    separator: str
    header: bool
    file: str  # name for captions or concepts, under the folder of the submission


FORMATS = {
    "2021": Format("|", False, "{}.csv"),
    "2023": Format("|", False, "{}.csv"),
    "2025": Format(",", True, "{}/submission.csv"),  # one name for both tasks
}


class Checked(NamedTuple):
    """What the check of a run file found."""

    kind: str  # captions or concepts
    problems: list[Problem]  # each one has the file rejected, or a caption cut
    remarks: list[str]  # harmless to the score


def render(kind: str, rows: Sequence[tuple[str, str]], edition: str) -> bytes:
    """A run file's content: `rows` of ID and caption, or of ID and codes joined by `;`.

    White space becomes single spaces in every edition; where `|` separates the fields, a `|` in a caption becomes a
    space. An image without codes keeps its separator, by which 2023's script tells pipes from tabs.
    """
    layout = FORMATS[edition]
    text = io.StringIO()
    if layout.header:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["ID", _TITLES[kind]])
        writer.writerows([image_id, " ".join(value.split())] for image_id, value in rows)
    else:
        for image_id, value in rows:
            text.write(f"{image_id}|{' '.join(value.replace('|', ' ').split())}\n")
    return text.getvalue().encode("utf-8")


def check(data: bytes, name: str, ids: Sequence[str], edition: str, kind: str | None = None) -> Checked:
    """Check a run file's bytes as the organizers would, and name everything that is wrong, not only the first.

    Args:
        data: the file.
        name: what problems call it.
        ids: the IDs of the test images.
        edition: a key of `FORMATS`.
        kind: captions or concepts; None tells them apart by the header, or by spaces, which codes have none of.
    """
    problems = []
    if data.startswith(b"\xef\xbb\xbf"):
        problems.append(
            Problem(name, 1, "byte order mark: the first ID would begin with it; save as UTF-8 without BOM")
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        return Checked(kind or CAPTIONS, [Problem(name, row, f"not UTF-8: byte 0x{data[error.start]:02x}")], [])
    try:
        rows = list(_rows(text, edition))
    except csv.Error as error:
        return Checked(kind or CAPTIONS, [*problems, Problem(name, 0, f"not a table of commas: {error}")], [])
    header, rows = _split_header(rows, edition)
    kind = kind or _kind(header, rows)
    if FORMATS[edition].header and header != ["ID", _TITLES[kind]]:
        problems.append(Problem(name, 1, f"no header: the first row should be ID,{_TITLES[kind]}"))
    known, first = set(ids), dict[str, int]()
    for row, fields in rows:
        problems += [Problem(name, row, text) for text in _faults(fields, kind, edition, known, first)]
        first.setdefault(fields[0] if fields else "", row)
    missing = [image_id for image_id in ids if image_id not in first]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        problems.append(Problem(name, 0, f"missing IDs: {len(missing)} of {len(ids)} images have no row ({shown})"))
    listed = [image_id for image_id in first if image_id in known]
    in_order = listed == [image_id for image_id in ids if image_id in first]
    remark = "the rows are not in the order of the split; the organizers' scripts do not mind"
    return Checked(kind, problems, [] if in_order else [remark])


def write(folder: Path, kind: str, rows: Sequence[tuple[str, str]], edition: str) -> Path:
    """Write a run file atomically, if it passes the check; returns its path.

    Raises:
        InputError: it does not pass, and nothing is written.
    """
    path = folder / FORMATS[edition].file.format(kind)
    data = render(kind, rows, edition)
    problems = check(data, str(path), [image_id for image_id, _ in rows], edition, kind).problems
    if problems:
        raise InputError(f"{path}: not written, it would be rejected: row {problems[0].row}: {problems[0].problem}")
    write_bytes(path, data)
    return path


def _rows(text: str, edition: str) -> Iterator[tuple[int, list[str]]]:
    if FORMATS[edition].separator == ",":
        reader, before = csv.reader(io.StringIO(text, newline=""), strict=True), 0
        for fields in reader:
            yield before + 1, fields
            before = reader.line_num  # quoted fields may span lines
        return
    lines = re.split("\r\n|\r|\n", text)  # no others: the scripts read a caption over, say, a form feed
    if not lines[-1]:
        lines.pop()
    tabs = edition == "2023" and bool(lines) and "|" not in lines[0]
    for row, line in enumerate(lines, 1):
        yield row, line.split("\t" if tabs else "|") if line else []


def _split_header(rows: list[tuple[int, list[str]]], edition: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """2021's script takes a header for an image, so that there is none to take off."""
    if edition != "2021" and rows and rows[0][1][:1] == ["ID"]:
        return rows[0][1], rows[1:]
    return [], rows


def _kind(header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> str:
    """Captions of single words throughout would be taken for codes, and are not to be feared."""
    if len(header) > 1:
        return CONCEPTS if header[1].lower() in ("cuis", "cui", "concepts") else CAPTIONS
    values = [fields[1] for _, fields in rows if len(fields) > 1]
    return CAPTIONS if any(" " in value.replace("; ", ";").strip() for value in values) else CONCEPTS


def _faults(fields: Sequence[str], kind: str, edition: str, known: set[str], first: dict[str, int]) -> Iterator[str]:
    """What is wrong with one row, given the IDs of the split and those of earlier rows."""
    separator = FORMATS[edition].separator
    if not fields:
        yield "empty line: take it out"
        return
    if fields[0] not in known:
        yield f"unknown ID: {fields[0]!r} is no image of the split"
    elif fields[0] in first:
        yield f"duplicate ID: {fields[0]!r} is in row {first[fields[0]]}"
    if kind == CAPTIONS and len(fields) < 2:
        yield f"one field: the ID should be followed by {separator!r} and the caption"
    if len(fields) > 2:
        yield f"{len(fields)} fields: what follows the second {separator!r} would be lost or rejected"
    codes = [code.strip() for code in fields[1].split(";")] if kind == CONCEPTS and len(fields) > 1 else []
    repeated = sorted({code for code in codes if codes.count(code) > 1})
    if repeated:
        yield f"repeated code: {', '.join(map(repr, repeated))}"
    if len(codes) > MOST_CODES:
        yield f"too many codes: {len(codes)}, and at most {MOST_CODES} are allowed"
