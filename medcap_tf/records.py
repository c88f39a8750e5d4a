"""Tables and image folders to records: Excel, CSV, tab and pipe tables, in the layouts of ImageCLEF, ROCO and our own.

`read_dataset` looks through a folder for tables and images, tells the split from their names, and joins captions,
concepts and image files by ID. What is wrong with a row is listed by file and row, and only that row suffers. The text
of every problem starts with its kind and a colon, so that reports can group them.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Generic, NamedTuple, TypeVar

import pandas as pd

from medcap_tf.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".dcm")
SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing"),
}
_WORKBOOKS = (".xlsx", ".xlsm", ".xls")
_TABLES = (*_WORKBOOKS, ".csv", ".tsv", ".txt")
_ID_COLUMNS = ("id", "imageid", "image", "imagename", "filename", "file", "figureid", "rocoid")
_VALUE_COLUMNS = {
    "captions": ("caption", "captions", "captiontext", "description", "text", "report"),
    "concepts": ("cuis", "cui", "concepts", "concept", "conceptids", "codes"),
}
_CUI = re.compile(r"[Cc][0-9]{7}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNDECODED = re.compile("[\udc80-\udcff]")
_DEPTH = 6  # ROCO, unpacked, has data/train/radiology/images
_LAYOUT = "lay it out as <split>/images/, <split>/captions.xlsx (ID, Caption), <split>/concepts.xlsx (ID, CUIs)"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Record:
    """One image and what is known of it."""

    image_id: str  # without extension
    image_path: Path | None  # None only in data sets that have no images at all
    caption: str  # "" only in test splits that have no captions
    concepts: tuple[str, ...]
    row: int = field(default=0, compare=False)  # in the table of captions; 0 where there is none


@dataclass(frozen=True)
class Problem:
    """Something to mend: `row` counts from 1, as an editor or Excel shows it; 0 where no row applies."""

    file: str
    row: int
    problem: str  # "kind: details"


@dataclass(frozen=True)
class Dataset:
    """What a folder holds; files in `problems` and `tables` are named from `root` on, with slashes."""

    root: Path
    splits: dict[str, list[Record]]  # "train", "valid", "test" in this order, those present
    problems: list[Problem]
    tables: dict[str, str] = field(default_factory=dict)  # each split's table of captions


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
    return _captions(_read_sheet(Path(path), str(path)))


def read_concepts(path: Path) -> Table[tuple[str, ...]]:
    """Read a table of concepts: ID without extension -> distinct codes in their order; CUIs in upper case.

    Where at least half of the codes are UMLS CUIs, the others are problems and left out; a table of another code system
    is taken as it is. An image may have no codes.

    Raises:
        InputError: the file cannot be read, is no table, has no columns for ID and codes, or gives codes their names.
    """
    return _concepts(_read_sheet(Path(path), str(path)))


def read_dataset(root: Path) -> Dataset:
    """Read a data set of any supported layout.

    Rows with a problem are left out and listed; a test split may be images alone.

    Raises:
        InputError: no such folder, no table of captions, a split without any usable record, or an unreadable table.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: {'is a file' if root.exists() else 'no such folder'}; give the data set's folder")
    tree = _Tree(root, [], {})
    _scan(tree, PurePosixPath(), set())
    return _assemble(tree)


# Files to rows of fields


class _Sheet(NamedTuple):
    path: Path
    header: list[str]  # letters and digits in lower case; [] where the table has no header
    rows: list[tuple[int, list[str]]]
    problems: list[Problem]
    name: str  # what problems call the file


def _read_sheet(path: Path, name: str) -> _Sheet:
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
    return _Sheet(path, header, rows[1:] if header else rows, problems, name)


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
    cells = ([cell if isinstance(cell, str) else "" for cell in row] for row in frame.to_numpy().tolist())
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
    return names if first in _ID_COLUMNS or (first is not None and told and values.intersection(names)) else []


# Rows of fields to tables


def _columns(sheet: _Sheet, kind: str) -> tuple[int, int]:
    """The columns of ID and value."""
    header, wanted = sheet.header, _VALUE_COLUMNS[kind]
    if not header:
        if max(len(fields) for _, fields in sheet.rows) > 1:
            return 0, 1
        raise InputError(f"{sheet.path}: has one column; it should have two, ID and {wanted[0].capitalize()}")
    ids = [header.index(name) for name in _ID_COLUMNS if name in header]
    if not ids and header[0] not in (*_VALUE_COLUMNS["captions"], *_VALUE_COLUMNS["concepts"]):
        ids = [0]
    values = [header.index(name) for name in wanted if name in header]
    if not ids or not values:
        title = "CUIs" if kind == "concepts" else "Caption"
        raise InputError(
            f"{sheet.path}: no columns of {kind} found (its columns: {', '.join(header)}); name them ID and {title}"
        )
    return ids[0], values[0]


def _by_id(sheet: _Sheet, kind: str) -> tuple[dict[str, str], dict[str, int], list[Problem]]:
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
        values[image_id] = (";".join(fields[column:]) if runs_on else fields[column]).strip()
    return values, rows, problems


def _clean_id(text: str) -> str:
    """The ID with forward slashes and without an image's extension; raises ValueError with the problem."""
    path = text.strip().replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"unsafe ID: {text.strip()!r} is a path out of the images folder; the row is skipped")
    path = "/".join(part for part in parts if part not in ("", "."))
    if not path:
        raise ValueError("missing ID: the row is skipped")
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in IMAGE_SUFFIXES else path


def _captions(sheet: _Sheet) -> Table[str]:
    if not sheet.rows:
        raise InputError(f"{sheet.path}: has a header but no rows; each row should have an ID and a caption")
    values, rows, problems = _by_id(sheet, "captions")
    for image_id in [i for i, caption in values.items() if not caption]:
        del values[image_id]
        problems.append(Problem(sheet.name, rows[image_id], f"empty caption: of {image_id!r}; the row is skipped"))
    return Table(values, rows, _in_order(problems))


def _concepts(sheet: _Sheet) -> Table[tuple[str, ...]]:
    texts, rows, problems = _by_id(sheet, "concepts")
    if rows and 2 * sum(map(bool, map(_CUI.fullmatch, rows))) >= len(rows):
        raise InputError(
            f"{sheet.path}: gives codes their names (it starts with {next(iter(rows))!r}); "
            "a table of concepts gives image IDs their codes"
        )
    codes = {image_id: _codes(text) for image_id, text in texts.items()}
    total = sum(map(len, codes.values()))
    umls = total > 0 and 2 * sum(bool(_CUI.fullmatch(code)) for found in codes.values() for code in found) >= total
    values = {}
    for image_id, found in codes.items():
        kept: dict[str, None] = {}
        for code in found:
            if umls and not _CUI.fullmatch(code):
                text = f"not a CUI: {code!r}, in a table of CUIs (C and 7 digits); the code is left out"
            elif code in kept:
                text = f"repeated code: {code!r} of {image_id!r}; it is kept once"
            else:
                kept[code] = None
                continue
            problems.append(Problem(sheet.name, rows[image_id], text))
        values[image_id] = tuple(kept)
    return Table(values, rows, _in_order(problems))


def _codes(text: str) -> list[str]:
    parts = filter(None, map(str.strip, re.split(r"[;,|\t\r\n]|(?<=\d) +(?=[Cc]\d{7})", text)))
    return [part.upper() if _CUI.fullmatch(part) else part for part in parts]


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.row)


# Folders to a data set


class _Tree(NamedTuple):
    """Every table and image below the root; paths are relative, with slashes."""

    root: Path
    tables: list[PurePosixPath]
    images: dict[PurePosixPath, list[str]]  # folder -> its image files


class _Split(NamedTuple):
    records: list[Record]
    problems: list[Problem]
    offered: set[str]  # image files
    claimed: set[str]  # those that some row names


def _scan(tree: _Tree, folder: PurePosixPath, seen: set[str]) -> None:
    place = tree.root / folder
    seen.add(os.path.realpath(place))  # links may lead in circles
    try:
        with os.scandir(place) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{place}: cannot be opened ({error.strerror}); check its permissions") from error
    for entry in found:
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith((".", "~$", "__MACOSX")):  # traces of macOS and of open workbooks
            continue
        if suffix in IMAGE_SUFFIXES and entry.is_file():
            tree.images.setdefault(folder, []).append(str(folder / entry.name))
        elif suffix in _TABLES and entry.is_file():
            tree.tables.append(folder / entry.name)
        elif len(folder.parts) < _DEPTH and entry.is_dir() and os.path.realpath(entry.path) not in seen:
            _scan(tree, folder / entry.name, seen)


def _words(name: str) -> set[str]:
    """The words of a file name: `ImageCLEF2021_TestSet` has image, clef, test, set."""
    name = re.sub(r"(?i)imageclef(med(ical)?)?[_-]?caption[_-]?\d*", "", name)  # a prefix on tables of every kind
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _split_of(path: PurePosixPath, root: Path) -> str | None:
    """The split that the innermost telling name on the path belongs to."""
    for part in reversed(path.parts):
        words = {re.sub("set$", "", word) for word in _words(part)}
        found = [split for split, names in SPLITS.items() if words.intersection(names)]
        if len(found) == 1:
            return found[0]
    # The root's name may be anything, so it has to be a split's and nothing else.
    return next((split for split, names in SPLITS.items() if root.name.lower() in names), None)


def _kind_of(path: PurePosixPath) -> str | None:
    words = _words(path.stem)
    if words & {"mapping", "map", "names", "readme", "license", "licence"}:
        return None
    for kind, names in (("concepts", {"concept", "concepts", "cui", "cuis"}), ("captions", {"caption", "captions"})):
        if words & names:
            return kind
    return None


def _assemble(tree: _Tree) -> Dataset:
    captions, problems = _choose_tables(tree, "captions")
    concepts, more = _choose_tables(tree, "concepts")
    if not captions:
        found = ", ".join(map(str, tree.tables[:8])) or "none"
        raise InputError(f"{tree.root}: no table of captions found (tables there: {found}); {_LAYOUT}")
    with_images = {_split_of(folder, tree.root) for folder in tree.images}
    named = {split for split, names in SPLITS.items() for name in names if (tree.root / name).is_dir()}
    present = [split for split in SPLITS if split in {*captions, *concepts, *with_images, *named}]
    splits: dict[str, list[Record]] = {}
    problems = [*problems, *more]
    offered: set[str] = set()
    claimed: set[str] = set()
    for split in present:
        part = _read_split(tree, split, captions.get(split), concepts.get(split))
        splits[split] = part.records
        problems += part.problems
        offered |= part.offered
        claimed |= part.claimed
    # Only now: splits may share a folder of images.
    problems += [
        Problem(path, 0, "image without caption: no table of captions names it") for path in sorted(offered - claimed)
    ]
    return Dataset(tree.root, splits, problems, {split: str(sheet.name) for split, sheet in captions.items()})


def _choose_tables(tree: _Tree, kind: str) -> tuple[dict[str, _Sheet], list[Problem]]:
    """Each split's table: by its file name, for captions else by its columns. Without a split's name: training."""
    chosen: dict[str, _Sheet] = {}
    problems: list[Problem] = []

    def place(path: PurePosixPath, split: str) -> None:
        sheet = _read_sheet(tree.root / path, str(path))
        if kind == "concepts" and _names_codes(sheet):
            return
        if split not in chosen:
            chosen[split] = sheet
        else:
            text = f"second table: of {kind} for {split}; {chosen[split].name} is read, this one is not"
            problems.append(Problem(str(path), 0, text))

    # ROCO keeps pictures that are no radiology beside the others.
    order = sorted(tree.tables, key=lambda p: ("non-radiology" in str(p).lower(), len(p.parts), p.suffix != ".xlsx", p))
    splits = {path: _split_of(path, tree.root) for path in order}
    for path in sorted(order, key=lambda path: splits[path] is None):
        if _kind_of(path) == kind:
            place(path, splits[path] or "train")
    for path in order if kind == "captions" else ():
        split = splits[path] or "train"
        if split not in chosen and _kind_of(path) is None and _has_captions(tree.root / path):
            place(path, split)
    return chosen, problems


def _names_codes(sheet: _Sheet) -> bool:
    """Whether it is a table of code -> name, as ImageCLEF's `concepts.csv` and `cui_mapping.csv` are."""
    if sheet.header and sheet.header[0] in _VALUE_COLUMNS["concepts"]:
        return not set(_ID_COLUMNS).intersection(sheet.header)
    return 2 * sum(bool(_CUI.fullmatch(fields[0].strip())) for _, fields in sheet.rows) >= max(1, len(sheet.rows))


def _has_captions(path: Path) -> bool:
    try:
        header = _read_sheet(path, path.name).header
    except InputError:  # a note or a licence, not a table
        return False
    return bool(set(header).intersection(_VALUE_COLUMNS["captions"]) and set(header).intersection(_ID_COLUMNS))


def _read_split(tree: _Tree, split: str, captions: _Sheet | None, concepts: _Sheet | None) -> _Split:
    if captions is None and split != "test":
        raise InputError(
            f"{tree.root}: split {split!r} has no table of captions; add it, or move the split away; {_LAYOUT}"
        )
    if captions and not concepts and set(captions.header).intersection(_VALUE_COLUMNS["concepts"]):
        concepts = captions  # one table for both
    index = _index(_image_folders(tree, split, captions))
    texts = _captions(captions) if captions else Table(dict.fromkeys(index, ""), dict.fromkeys(index, 0), [])
    codes = _concepts(concepts) if concepts else Table({}, {}, [])
    problems = list(dict.fromkeys([*texts.problems, *codes.problems]))
    if concepts:
        orphans = (i for i in codes.rows if i not in texts.rows)
        text = "concepts without caption: of {!r}; no such ID among the captions; the row is skipped"
        problems += [Problem(concepts.name, codes.rows[i], text.format(i)) for i in orphans]
    records: list[Record] = []
    claimed: set[str] = set()
    for image_id, row in texts.rows.items():
        found = _find(index, image_id)
        claimed.update(found)
        if image_id not in texts.values:
            continue
        name = captions.name if captions else found[0]
        if len(found) > 1:
            text = f"several images: {len(found)} files for {image_id!r} ({', '.join(found[:3])}); the first is taken"
            problems.append(Problem(name, row, text))
        if tree.images and not found:
            text = f"missing image: no file for {image_id!r} among the images of {split}; the row is skipped"
            problems.append(Problem(name, row, text))
            continue
        path = tree.root / found[0] if found else None
        records.append(Record(image_id, path, texts.values[image_id], codes.values.get(image_id, ()), row))
    if not records:
        raise _empty_split(tree, split, captions, texts, index)
    return _Split(records, problems, {path for paths in index.values() for path in paths}, claimed)


def _empty_split(
    tree: _Tree, split: str, captions: _Sheet | None, texts: Table[str], index: dict[str, list[str]]
) -> InputError:
    if captions is None:
        return InputError(f"{tree.root}: split {split!r} holds neither images nor captions; add them, or remove it")
    if not texts.values:
        first = f" (first problem: {texts.problems[0].problem})" if texts.problems else ""
        return InputError(f"{captions.path}: not one usable row{first}; each row should have an ID and a caption")
    wanted = repr(next(iter(texts.values)))
    there = next(iter(index.values()))[0] if index else "no image at all"
    return InputError(
        f"{captions.path}: none of its {len(texts.values)} IDs has an image (the first ID is {wanted}, found for "
        f"{split} is {there}); the images' names should be the IDs; {_LAYOUT}"
    )


def _image_folders(tree: _Tree, split: str, captions: _Sheet | None) -> list[list[str]]:
    """The image files of a split: folders with its name, else those that name no split and so belong to all."""
    places = {folder: _split_of(folder, tree.root) for folder in tree.images}
    own = [folder for folder, place in places.items() if place == split]
    if captions:
        own = own or [folder for folder, place in places.items() if place is None]
        home = PurePosixPath(captions.name).parent
        own = [folder for folder in own if home == folder or home in folder.parents] or own
    named = [folder for folder in own if _words(str(folder)) & {"image", "images"} and "masks" not in folder.parts]
    return [tree.images[folder] for folder in named or [f for f in own if "masks" not in f.parts]]


def _index(folders: Iterable[list[str]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for files in folders:
        for path in files:
            index.setdefault(os.path.splitext(os.path.basename(path))[0], []).append(path)
    return index


def _find(index: dict[str, list[str]], image_id: str) -> list[str]:
    """The files of an ID; folders in the ID have to be the file's innermost folders."""
    paths = index.get(image_id.rsplit("/", 1)[-1], [])
    return [p for p in paths if f"/{os.path.splitext(p)[0]}".endswith(f"/{image_id}")] if "/" in image_id else paths
