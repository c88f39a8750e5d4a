"""Run files for ImageCLEFmed Caption, and the checks that the organizers' scripts make before they score one.

A row is an ID and a caption, or an ID and codes joined by `;`.

- 2021, 2022: a pipe between them, no header.
- 2023, 2024: a pipe, or a tab; no header, a row with ID in its first field is passed over.
- 2025: a comma, fields quoted where needed; the header is `ID,Caption` or `ID,CUIs`.
- 2026: the same, and strictly so: rows in the order of the split, no blank around a field, codes that are a C and
  digits, and at least one of them: a row without any is refused.

The organizers' scripts of 2022, 2023, 2025 and 2026 say so, and at most 100 codes an image. For captions in 2021 the
layout is inferred from that year's concepts and the captions of 2022; that of 2024 from 2023.

The pipe tables know no quoting: their scripts end a caption at its first `|`, silently, and a row at a line break.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medcap_tf.caption import Caption
from medcap_tf.data.columns import names_columns
from medcap_tf.data.sheets import Problem
from medcap_tf.errors import InputError
from medcap_tf.files import write_bytes

MOST_CODES = 100
CAPTIONS, CONCEPTS = "captions", "concepts"
CODE = re.compile(r"C\d+")
_TITLES = {CAPTIONS: "Caption", CONCEPTS: "CUIs"}


class Format(NamedTuple):
    """One edition's run file."""

    separator: str
    header: bool
    file: str  # name for captions or concepts, under the folder of the submission
    tabs: bool = False  # may separate fields in place of the pipe
    strict: bool = False  # order, blanks and the form of codes count


FORMATS = {
    "2021": Format("|", False, "{}.csv"),
    "2022": Format("|", False, "{}.csv"),
    "2023": Format("|", False, "{}.csv", tabs=True),
    "2024": Format("|", False, "{}.csv", tabs=True),
    "2025": Format(",", True, "{}/submission.csv"),  # one name for both tasks
    "2026": Format(",", True, "{}/submission.csv", strict=True),
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
        writer.writerow(header_of(kind, edition))
        writer.writerows([image_id, " ".join(value.split())] for image_id, value in rows)
    else:
        for image_id, value in rows:
            text.write(f"{image_id}|{' '.join(value.replace('|', ' ').split())}\n")
    try:
        return text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        shown = next((image_id for image_id, _ in rows if not image_id.isprintable()), "")
        raise InputError(f"ID {shown!r}: the image's file name is not UTF-8; rename the file") from error


def codes_of(caption: Caption, concepts: Sequence[str], edition: str) -> list[str]:
    """The codes to submit for an image: the named ones, and of none the likeliest where an edition refuses none.

    Args:
        caption: of the image.
        concepts: the Q codes that `caption.concept_scores` is about.
        edition: a key of `FORMATS`.
    """
    named = [code for code, _ in caption.concepts[:MOST_CODES]]
    if not named and FORMATS[edition].strict and caption.concept_scores is not None:
        return [concepts[int(caption.concept_scores.argmax())]]
    return named


def check(data: bytes, name: str, ids: Sequence[str] | None, edition: str, kind: str | None = None) -> Checked:
    """Check a run file's bytes as the organizers would, and name everything that is wrong, not only the first.

    Args:
        data: the file.
        name: what problems call it.
        ids: the IDs of the test images in their order; None where they are not known, and not compared.
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
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        return Checked(kind or CAPTIONS, [Problem(name, row, "zero byte: the file is not UTF-8 text")], [])
    try:
        rows = list(_rows(text, edition))
    except csv.Error as error:
        return Checked(kind or CAPTIONS, [*problems, Problem(name, 0, f"not a table of commas: {error}")], [])
    header, rows = _split_header(rows, edition)
    kind = kind or kind_of(header, rows)
    if FORMATS[edition].header and header != header_of(kind, edition):
        fault = f"wrong header: {','.join(header)!r} in the first row, which" if header else "no header: the first row"
        problems.append(Problem(name, 1, f"{fault} should be {','.join(header_of(kind, edition))}"))
    if not any(len(fields) > 1 for _, fields in rows):
        text = f"no row has {FORMATS[edition].separator!r} after its ID" if rows else "no rows"
        problems.append(Problem(name, 0, f"{text}: this is no run file of {edition}"))
    first: dict[str, int] = {}
    known = None if ids is None else frozenset(ids)
    for row, fields in rows:
        problems += [Problem(name, row, text) for text in _faults(fields, kind, edition, known, first)]
        first.setdefault(fields[0] if fields else "", row)
    if ids is None:
        return Checked(kind, problems, ["the IDs were not compared with those of a split: give --data"])
    missing = [image_id for image_id in ids if image_id not in first]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        problems.append(Problem(name, 0, f"missing IDs: {len(missing)} of {len(ids)} images have no row ({shown})"))
    moved = _first_out_of_order([image_id for image_id in first if image_id], ids)
    if moved and FORMATS[edition].strict:
        text = f"order: {moved[0]!r} stands where the split has {moved[1]!r}; the rows have to be in the split's order"
        problems.append(Problem(name, first[moved[0]], text))
    remark = "the rows are not in the order of the split; the organizers' scripts do not mind"
    return Checked(kind, problems, [remark] if moved and not FORMATS[edition].strict else [])


def _first_out_of_order(listed: Sequence[str], ids: Sequence[str]) -> tuple[str, str] | None:
    """The first ID that stands where the split has another one, and that one; of the IDs that both have."""
    own, known = frozenset(listed), frozenset(ids)
    pairs = zip((i for i in listed if i in known), (i for i in ids if i in own))
    return next(((here, there) for here, there in pairs if here != there), None)


def write(folder: Path, runs: Mapping[str, Sequence[tuple[str, str]]], edition: str) -> list[Path]:
    """Write the run files of one submission atomically, if all of them pass the check; returns their paths.

    Args:
        folder: of the submission.
        runs: captions or concepts -> rows of ID and caption, or of ID and codes joined by `;`.
        edition: a key of `FORMATS`.

    Raises:
        InputError: one of them does not pass, and nothing is written.
    """
    files = {folder / FORMATS[edition].file.format(kind): kind for kind in runs}
    rendered = {}
    for path, kind in files.items():
        rendered[path] = render(kind, runs[kind], edition)
        ids = [image_id for image_id, _ in runs[kind]]
        problems = check(rendered[path], str(path), ids, edition, kind).problems
        if problems:
            raise InputError(
                f"{path}: nothing is written, it would be rejected: row {problems[0].row}: {problems[0].problem}"
            )
    for path, data in rendered.items():
        write_bytes(path, data)
    return list(rendered)


def _rows(text: str, edition: str) -> Iterator[tuple[int, list[str]]]:
    if FORMATS[edition].separator == ",":
        reader, before = csv.reader(io.StringIO(text, newline=""), strict=True), 0
        for fields in reader:
            yield before + 1, fields
            before = reader.line_num  # quoted fields may span lines
        return
    lines = lines_of(text)
    tabs = FORMATS[edition].tabs and bool(lines) and "|" not in lines[0]
    for row, line in enumerate(lines, 1):
        yield row, line.split("\t" if tabs else "|") if line else []


def lines_of(text: str) -> list[str]:
    """The lines of a pipe table, at line feeds and carriage returns alone: the scripts read a caption over, say, a form
    feed."""
    lines = re.split("\r\n|\r|\n", text)
    return lines if lines[-1] else lines[:-1]


def _split_header(rows: list[tuple[int, list[str]]], edition: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The scripts of 2021 and 2022 take a header for an image, so that there is none to take off."""
    first = rows[0][1][0].strip() if rows and rows[0][1] else ""
    named = first.lower() == "id" or (bool(first) and names_columns(rows[0][1]))
    if (first == "ID" and edition not in ("2021", "2022")) or (named and FORMATS[edition].header):
        return rows[0][1], rows[1:]
    return [], rows


def header_of(kind: str, edition: str) -> list[str]:
    """The names of the columns that an edition wants; empty where it wants none."""
    return ["ID", _TITLES[kind]] if FORMATS[edition].header else []


def kind_of(header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> str:
    """Captions or concepts. Captions of single words throughout would be taken for codes, and are not to be feared."""
    if len(header) > 1:
        return CONCEPTS if header[1].lower() in ("cuis", "cui", "concepts") else CAPTIONS
    pieces = (piece.strip() for _, fields in rows if len(fields) > 1 for piece in fields[1].split(";"))
    return CAPTIONS if any(" " in piece and not joined_codes(piece) for piece in pieces) else CONCEPTS


def joined_codes(text: str) -> list[str]:
    """The CUIs of a text that holds several and nothing else but commas and blanks between them; else none."""
    codes = [code for code in re.split(r"[\s,]+", text.strip().upper()) if code]
    return codes if len(codes) > 1 and all(map(CODE.fullmatch, codes)) else []


def _faults(
    fields: Sequence[str], kind: str, edition: str, known: Collection[str] | None, first: Mapping[str, int]
) -> Iterator[str]:
    """What is wrong with one row, given the IDs of the split (None: unknown) and those of earlier rows."""
    layout = FORMATS[edition]
    if not fields:
        yield "empty line: take it out"
        return
    if names_columns(fields):
        yield f"header: {layout.separator.join(fields)!r} names columns, and would be taken for an image; take it out"
        return
    if not fields[0].strip():
        yield "no ID: the row should begin with an image's"
        return
    if known is not None and fields[0] not in known:
        yield f"unknown ID: {fields[0]!r} is no image of the split"
    elif fields[0] in first:
        yield f"duplicate ID: {fields[0]!r} is in row {first[fields[0]]}"
    if len(fields) < 2 and (kind == CAPTIONS or layout.strict):
        yield f"one field: the ID should be followed by {layout.separator!r} and the {kind.removesuffix('s')}"
    if len(fields) > 2:
        advice = "; put the field into double quotes" if layout.separator == "," else ""
        yield f"{len(fields)} fields: what follows the second {layout.separator!r} would be lost or rejected{advice}"
    if layout.strict and any(field != field.strip() for field in fields):
        yield "blank around a field: the ID and what follows should begin and end without any"
    if layout.strict and any(len(field.splitlines()) > 1 for field in fields):
        yield "line break: the script reads line by line; write the caption in one"
    if kind == CONCEPTS and len(fields) > 1:
        yield from _faults_of_codes([code.strip() for code in fields[1].split(";")], layout.strict)


def _faults_of_codes(codes: Sequence[str], strict: bool) -> Iterator[str]:
    joined = [code for code in codes if joined_codes(code)]
    if joined:
        yield f"joined codes: {', '.join(map(repr, joined[:5]))} would be taken for one code; put ';' between them"
    # Two empty codes are one twice to the lax scripts; the strict one has a fault of its own for each.
    repeated = sorted({code for code in codes if codes.count(code) > 1 and (code or not strict)})
    if repeated:
        yield f"repeated code: {', '.join(map(repr, repeated))}"
    if len(codes) > MOST_CODES:
        yield f"too many codes: {len(codes)}, and at most {MOST_CODES} are allowed"
    if strict and codes == [""]:
        yield "no code: a row without any has the file refused; name the likeliest"
    elif strict and "" in codes:
        yield "empty code: a ';' too many"
    wrong = [code for code in codes if strict and code and not CODE.fullmatch(code) and code not in joined]
    if wrong:
        yield f"not a code: {', '.join(map(repr, wrong[:5]))}; a CUI is a C and digits"
