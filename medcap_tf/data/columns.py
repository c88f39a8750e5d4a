"""Which row of a table names its columns, and which column holds IDs, captions or codes: by name, else by content."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import NamedTuple

import pandas as pd

from medcap_tf.data.cells import NOTHING, clean_code, holds_cuis
from medcap_tf.data.folders import image_stem

ID_COLUMNS = ("id", "imageid", "image", "imagename", "filename", "file", "figureid", "rocoid")
VALUE_COLUMNS = {
    "captions": ("caption", "captions", "captiontext", "description", "text", "report"),
    "concepts": ("cuis", "cui", "concepts", "concept", "conceptids", "codes"),
}
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "fold", "phase")
SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing"),
}
_SURE_VALUES = {"caption", "captions", "cuis", "cui", "concepts", "concept"}
_ALL_VALUES = {name for names in VALUE_COLUMNS.values() for name in names}
_LIKE_ID = re.compile(
    r"\D*(?:id|ids|path|file|filename|name|image|images|img|picture|key|identifier)"
    r"|(?:study|series|subject|patient|case|scan|slide|sample|figure|accession)(?:no|nr|num|number)?"
)
_LIKE_VALUE = {
    "captions": re.compile(r".*(caption|report|description|text|finding|impression|sentence|comment|legend).*"),
    "concepts": re.compile(r".*(cui|concept|code|umls).*"),
}
# What 2025 and 2026 put before the names of columns.
_TASK = re.compile(r"imageclef(?:med(?:ical)?)?(?:caption)?(?:20\d\d)?(?=id|captions?$|cuis?$|concepts?$)")
_INDEX_NAMES = re.compile(r"|index|unnamed\d*|no|nr")
_HEADER_WITHIN = 10  # rows: titles above a header are few
_PROFILED = 500  # rows
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_NAME = re.compile(r"[^\d\W][^.,;:!?\n]{0,39}")  # what a column may be called


class Header(NamedTuple):
    """The row that names the columns: which of those that are not blank, and whether its content shows so."""

    row: int
    names: list[str]
    by_content: bool


def normalize_names(fields: Sequence[str]) -> list[str]:
    """Letters and digits in lower case, without the task's name before one, and without the blank names at the end."""
    names = [_TASK.sub("", re.sub(r"[\W_]", "", clean_code(text).lower())) for text in fields]
    while names and not names[-1]:
        names.pop()
    return names


def find_header(rows: Sequence[Sequence[str]]) -> Header | None:
    """The header among a table's first rows, below whatever titles it has."""
    for index, fields in enumerate(rows[:_HEADER_WITHIN]):
        names = normalize_names(fields)
        # What stands below other rows has to name both columns.
        below = index > 0 and not (set(names) & set(ID_COLUMNS) and set(names) & _ALL_VALUES)
        if _is_header(names) and not below:
            return Header(index, names, False)
    first = next((i for i, fields in enumerate(rows[:_HEADER_WITHIN]) if len(list(filter(str.strip, fields))) > 1), 0)
    if _names_what_follows(rows[first : first + 1 + _PROFILED]):
        return Header(first, normalize_names(rows[first]), True)
    return None


def _is_header(names: Sequence[str]) -> bool:
    if len(names) < 2:
        return False
    # Words of an unquoted caption may look like names of columns, so one such name is not enough.
    first = names[0]
    sure = _INDEX_NAMES.fullmatch(first) or first in _SURE_VALUES or "id" in names or len(names) == 2
    like_id = _LIKE_ID.fullmatch(first) and set(names) & _ALL_VALUES
    return first in ID_COLUMNS or bool(like_id) or bool(sure and _SURE_VALUES.intersection(names))


def reads_as_names(fields: Sequence[str]) -> bool:
    """Whether the fields may be names of columns: short, without punctuation, no numbers first."""
    texts = [text.strip() for text in fields if text.strip()]
    return all(_NAME.fullmatch(text) and text.lower() not in NOTHING for text in texts)


def _names_what_follows(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row differs in kind from all others and reads like names of columns."""
    if len(rows) < 2 or not reads_as_names(rows[0]):
        return False
    names = normalize_names(rows[0])
    ids = [i for i, name in enumerate(names) if _LIKE_ID.fullmatch(name)]
    # Of two words at most: a caption may speak of a report.
    values = [i for i, text in enumerate(rows[0]) if len(text.split()) <= 2 and _is_like_value(normalize_names([text]))]
    if ids and set(values) - set(ids):
        return True
    for column, text in enumerate(rows[0]):
        below = [fields[column].strip() for fields in rows[1:] if column < len(fields) and fields[column].strip()]
        if not text.strip() or not below:
            continue
        for kind, least in ((_is_image_name, 1), (holds_cuis, 1), (_is_split, 1), (_is_number, 3)):
            if len(below) >= least and not kind(text) and sum(map(kind, below)) >= 0.9 * len(below):
                return True
        words = sum(len(cell.split()) for cell in below) / len(below)
        if words >= 3 and len(text.split()) == 1 and ids:
            return True
    return False


def _is_like_value(names: Sequence[str]) -> bool:
    return any(like.fullmatch(name) for like in _LIKE_VALUE.values() for name in names)


def _is_image_name(cell: str) -> bool:
    return image_stem(cell) != cell


def _is_split(cell: str) -> bool:
    return split_named(cell) is not None


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def split_named(cell: str) -> str | None:
    """The split that a cell names: train, valid or test."""
    name = cell.strip().lower()
    return next((split for split, names in SPLITS.items() if name in names), None)


def headerless_width(rows: Sequence[Sequence[str]]) -> tuple[int, bool]:
    """How many columns a table without header has; two, of which the second may hold separators, unless all rows say
    otherwise: as many fields in each, none but one of them prose, none after a space as in a sentence.

    Returns:
        The number, and whether it is doubtful: several columns of prose are read as one.
    """
    widths = {len(fields) for fields in rows}
    if len(widths) > 1 or len(rows) < 2:
        return 2, False
    columns = list(zip(*rows[:_PROFILED]))
    prose = [cells for cells in columns if any(" " in cell.strip() for cell in cells)]
    sentences = any(cell.startswith(" ") for cells in columns[2:] for cell in cells)
    if sentences:
        return 2, False
    return (2, True) if len(prose) > 1 else (max(2, len(columns)), False)


def names_captions(header: Sequence[str]) -> bool:
    """Whether a header names a column of IDs and one of captions."""
    ids = [name for name in header if name in ID_COLUMNS or _LIKE_ID.fullmatch(name)]
    return bool(ids) and not set(header).isdisjoint(VALUE_COLUMNS["captions"])


def names_columns(fields: Sequence[str]) -> bool:
    """Whether a row names columns, one of IDs and one of captions or codes, in whatever order."""
    names = set(normalize_names(fields))
    return not names.isdisjoint(ID_COLUMNS) and not names.isdisjoint(_ALL_VALUES)


class Roles(NamedTuple):
    """The columns that are read; `values` has several where captions or codes are in numbered columns."""

    id: int
    values: list[int]
    by_content: bool
    rivals: tuple[int, ...] = ()  # whose names fit as well as that of `values`
    twins: tuple[int, ...] = ()  # of these the ones that the same word names: a reference caption and a generated one


def find_roles(
    header: list[str], rows: Sequence[Sequence[str]], width: int, kind: str, images: Container[str] = frozenset()
) -> Roles | None:
    """The columns of IDs and of captions or concepts (`kind`); None where there is no telling.

    Args:
        header: the names as `normalize_names` gives them; [] without header.
        rows: the table's rows.
        width: how many columns there are where there is no header.
        kind: a key of `VALUE_COLUMNS`.
        images: names of the images without folder and suffix, where they are known.
    """
    if not header:
        return _headerless_roles(_profile(rows, width), kind, images)
    columns = _profile(rows, len(header))
    value, sure_value, rivals = _value_column(header, columns, kind, ())
    id_column, sure_id = _id_column(header, columns, value, images)
    if id_column is not None and value is None and kind == "captions" and len(columns) == 2:
        value = 1 - id_column if _share_of_images(columns[id_column], images) >= 0.5 else None
    if id_column is None or value is None:
        return None
    values = _numbered(header, value)
    rivals = [i for i in rivals if i not in values and i != id_column]
    twins = [i for i in rivals if _word_of(header[i], kind) == _word_of(header[value], kind)]
    return Roles(id_column, values, not (sure_value and sure_id) or bool(rivals), tuple(rivals), tuple(twins))


def _headerless_roles(columns: list[pd.Series], kind: str, images: Container[str]) -> Roles | None:
    """IDs come first, unless another column names image files."""
    if len(columns) < 2:
        return None
    id_column, _ = _id_column([], columns, None, images)
    value, _, _ = _value_column([], columns, kind, (id_column,))
    return Roles(id_column or 0, [next(i for i in (0, 1) if i != id_column) if value is None else value], False)


def _profile(rows: Sequence[Sequence[str]], width: int) -> list[pd.Series]:
    """Each column's cells that are not blank."""
    frame = pd.DataFrame([fields[:width] for fields in rows[:_PROFILED]], dtype=object).fillna("")
    columns = [frame[i].astype(str).map(clean_code) for i in frame] if len(frame) else []
    columns += [pd.Series([], dtype=object)] * (width - len(columns))
    return [cells[cells != ""] for cells in columns]


def _share(cells: pd.Series, test: object) -> float:
    return float(cells.map(test).astype(bool).mean()) if len(cells) else 0.0


def _share_of_images(cells: pd.Series, images: Container[str]) -> float:
    return _share(cells, lambda cell: stem_of(cell) in images)


def _share_of_cuis(cells: pd.Series) -> float:
    return _share(cells, holds_cuis)


def _words(cells: pd.Series) -> float:
    return float(cells.str.split().str.len().mean()) if len(cells) else 0.0


def _value_column(
    header: list[str], columns: list[pd.Series], kind: str, taken: Container[int | None]
) -> tuple[int | None, bool, list[int]]:
    """The column of captions or codes, whether its name says so, and the others whose names do."""
    named = [header.index(name) for name in VALUE_COLUMNS[kind] if name in header]
    numbered = [i for i, name in enumerate(header) if re.sub(r"\d+$", "", name) in VALUE_COLUMNS[kind]]
    if named or numbered:
        first = (named or numbered)[0]
        return first, True, [] if header[first] in _SURE_VALUES else named[1:]
    measure, least = (_words, 2.0) if kind == "captions" else (_share_of_cuis, 0.5)
    measured = {i: measure(cells) for i, cells in enumerate(columns) if i not in taken}
    fits = {i: value for i, value in measured.items() if value >= least}
    if not fits:
        return None, False, []
    alike = [i for i in measured if i < len(header) and _LIKE_VALUE[kind].fullmatch(header[i])]
    like = [i for i in alike if i in fits]
    best = max(like or fits, key=lambda i: (fits[i], -i))
    return best, bool(like), [i for i in alike if i != best and _tells_rows_apart(columns[i])]


def _tells_rows_apart(cells: pd.Series) -> bool:
    """Whether it may hold captions or codes: no numbers, as of words, and more than a few values, as of languages."""
    return _share(cells, _is_number) < 0.5 and 2 * cells.nunique() > len(cells)


def _word_of(name: str, kind: str) -> str:
    """What in a column's name says that it holds captions or codes."""
    match = _LIKE_VALUE[kind].fullmatch(name)
    return match[1] if match else ""


def _id_column(
    header: list[str], columns: list[pd.Series], value: int | None, images: Container[str]
) -> tuple[int | None, bool]:
    named = [header.index(name) for name in ID_COLUMNS if name in header]
    others = [i for i in range(len(columns)) if i != value]
    files = [i for i in others if _share(columns[i], _is_image_name) >= 0.5]
    # Where rows are counted in one column, the images are named in another, if any names them.
    naming = [i for i in files if columns[i].is_unique]
    named = [i for i in named if not _counts_rows(columns[i])] or naming[:1] or named
    matched = {i: _share_of_images(columns[i], images) for i in others} if images else {}
    best = max(matched, key=lambda i: (matched[i], i in named, -i), default=None)
    if named and (best is None or matched[best] < 0.5 or matched.get(named[0], 0) > 0):
        return named[0], True
    if best is not None and matched[best] >= 0.5:
        return best, best < len(header) and _LIKE_ID.fullmatch(header[best]) is not None
    like = [i for i in others if i < len(header) and _LIKE_ID.fullmatch(header[i])]
    if files or like:
        # A patient has several images: of like names, the one that tells the rows apart.
        likeliest = max([i for i in like if i in files] or files or like, key=lambda i: (columns[i].nunique(), -i))
        return likeliest, likeliest in like
    # The first column, unless it counts the rows or is known to be something else.
    values = {i for i, name in enumerate(header) if name in _ALL_VALUES}
    rest = [i for i in others if i not in values and len(columns[i])]
    rest = [i for i in rest if not (header and _INDEX_NAMES.fullmatch(_name(header, i)))] or rest
    if not header and len(rest) > 1 and _counts_rows(columns[rest[0]]):
        rest = [i for i in rest if columns[i].is_unique and _words(columns[i]) == 1][1:] or rest
    if header and 0 in values:
        return None, False
    return (rest[0], True) if rest else (None, False)


def _counts_rows(column: pd.Series) -> bool:
    """0, 1, 2, ... or 1, 2, 3, ..."""
    cells = column.tolist()
    return len(cells) > 1 and any(cells == [str(i + first) for i in range(len(cells))] for first in (0, 1))


def _name(header: list[str], column: int) -> str:
    return header[column] if column < len(header) else ""


def stem_of(image_id: str) -> str:
    """The part of an ID that names a file: without folders and an image's suffix."""
    return image_stem(re.split(r"[/\\]", image_id)[-1])


def _numbered(header: list[str], value: int) -> list[int]:
    """The column and those of the same name with another number: caption_1, caption_2."""
    stem = re.sub(r"\d+$", "", _name(header, value))
    alike = [i for i, name in enumerate(header) if stem and re.fullmatch(rf"{re.escape(stem)}\d*", name)]
    return [value, *(i for i in alike if i != value)]
