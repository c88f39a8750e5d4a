"""Tables and image folders to records, in the layouts of ImageCLEF, ROCO and our own.

`read_dataset` looks through a folder for tables and images, tells the split from their names, and joins captions,
concepts and image files by ID. What is wrong with a row is listed by file and row, and only that row suffers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medcap_tf.data.columns import SPLITS, VALUE_COLUMNS, names_captions
from medcap_tf.data.file_names import kind_of_table, split_of, words_of
from medcap_tf.data.folders import image_stem, same_form, walk
from medcap_tf.data.sheets import TABLE_SUFFIXES, Problem, Sheet, by_split, read_sheet
from medcap_tf.data.tables import ONE_IS_KEPT, Table, alike, captions_of, concept_names_of, concepts_of, names_codes
from medcap_tf.errors import InputError

_ALIKE = "ID in another form: {!r} is taken for {!r}, the only {} that differs in case or leading zeros alone"
_LAYOUT = "lay it out as <split>/images/, <split>/captions.xlsx (ID, Caption), <split>/concepts.xlsx (ID, CUIs)"


@dataclass(frozen=True)
class Record:
    """One image and what is known of it."""

    image_id: str  # without extension
    image_path: Path | None  # None only in data sets that have no images at all
    caption: str  # "" only in test splits, of images without one
    concepts: tuple[str, ...]
    row: int = field(default=0, compare=False)  # in the table of captions; 0 where there is none
    manual: tuple[str, ...] | None = field(default=None, compare=False)  # codes checked by hand; None without a table
    written: str = field(default="", compare=False)  # the caption as it stands in the table

    @property
    def image_file(self) -> Path:
        """`image_path`, where the caller has made sure that the data set has images."""
        assert self.image_path is not None, self.image_id
        return self.image_path


@dataclass(frozen=True)
class Dataset:
    """What a folder holds; files in `problems` and `tables` are named from `root` on, with slashes."""

    root: Path
    splits: dict[str, list[Record]]  # "train", "valid", "test" in this order, those present
    problems: list[Problem]
    tables: dict[str, str] = field(default_factory=dict)  # each split's table of captions
    concept_names: dict[str, str] = field(default_factory=dict)  # code -> name, of the codes that some table names

    def problems_of(self, split: str) -> list[Problem]:
        """Those of files that belong to a split, by their names, or to all."""
        return [p for p in self.problems if split_of(PurePosixPath(p.file), self.root) in (split, None)]


def read_dataset(root: Path, all_captions: str | None = None) -> Dataset:
    """Read a data set of any supported layout.

    Rows with a problem are left out and listed; a test split may be images alone.

    Args:
        root: the folder.
        all_captions: a split that gets a record for each caption of an image, the further ones under the image's ID
            and `#1`, `#2` and so on; elsewhere an image's first caption stands for it.

    Raises:
        InputError: no such folder, no table of captions, a split without any usable record, or an unreadable table.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: {'is a file' if root.exists() else 'no such folder'}; give the data set's folder")
    folders = list(walk(root))
    tables = [
        PurePosixPath(name) for folder in folders for name in folder.others if name.lower().endswith(TABLE_SUFFIXES)
    ]
    return _assemble(
        _Tree(root, tables, {folder.path: folder.images for folder in folders if folder.images}), all_captions
    )


class _Tree(NamedTuple):
    """Every table and image below the root; paths are relative, with slashes."""

    root: Path
    tables: list[PurePosixPath]
    images: dict[PurePosixPath, list[str]]  # folder -> its image files


class _Split(NamedTuple):
    records: list[Record]
    problems: list[Problem]
    available: set[str]  # image files
    matched: set[str]  # those that some row names


def _assemble(tree: _Tree, all_captions: str | None) -> Dataset:
    captions, problems = _choose_tables(tree, "captions")
    concepts, more = _choose_tables(tree, "concepts")
    manual, by_hand = _choose_tables(tree, "manual")
    if not captions:
        others = ", ".join(map(str, tree.tables[:8])) or "none"
        raise InputError(f"{tree.root}: no table of captions found (tables there: {others}); {_LAYOUT}")
    with_images = {split_of(folder, tree.root) for folder in tree.images}
    named = {split for split, names in SPLITS.items() for name in names if (tree.root / name).is_dir()}
    present = [split for split in SPLITS if split in {*captions, *concepts, *manual, *with_images, *named}]
    splits: dict[str, list[Record]] = {}
    problems = [*problems, *more, *by_hand]
    available: set[str] = set()
    matched: set[str] = set()
    for split in present:
        sheets = captions.get(split), concepts.get(split), manual.get(split)
        part = _read_split(tree, split, sheets, split == all_captions)
        splits[split] = part.records
        problems += part.problems
        available |= part.available
        matched |= part.matched
    # Only now: splits may share a folder of images.
    problems += [
        Problem(path, 0, "image without caption: no table of captions names it") for path in sorted(available - matched)
    ]
    names, more = _read_concept_names(tree)
    tables = {split: str(sheet.name) for split, sheet in captions.items()}
    return Dataset(tree.root, splits, list(dict.fromkeys([*problems, *more])), tables, names)


def _read_concept_names(tree: _Tree) -> tuple[dict[str, str], list[Problem]]:
    """Names of codes from every table that gives some; the first name of a code is kept."""
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for path in tree.tables:
        kind = kind_of_table(path)
        # 2022 names its codes in a table called `concepts`.
        if kind != "names" and (kind != "concepts" or split_of(path, tree.root)):
            continue
        try:
            sheet = read_sheet(tree.root / path, str(path))
            if kind == "concepts" and not names_codes(sheet):
                continue
            table = concept_names_of(sheet)
        except InputError as error:
            problems.append(Problem(str(path), 0, f"no names of concepts: {error}"))
            continue
        names = {**table.values, **names}
        problems += table.problems
    return names, problems


def _choose_tables(tree: _Tree, kind: str) -> tuple[dict[str, Sheet], list[Problem]]:
    """Each split's table: by its file name, for captions else by its columns. Without a split's name: training."""
    tables: dict[str, Sheet] = {}
    problems: list[Problem] = []

    def place(path: PurePosixPath, split: str | None) -> None:
        sheet = read_sheet(tree.root / path, str(path), "captions" if kind == "captions" else "concepts")
        if kind == "concepts" and names_codes(sheet):
            return
        parts = {} if split else by_split(sheet)
        for name, part in (parts or {split or "train": sheet}).items():
            if name not in tables:
                tables[name] = part
            else:
                text = f"second table: of {kind} for {name}; {tables[name].name} is read, this one is not"
                problems.append(Problem(str(path), 0, text))

    # ROCO keeps pictures that are no radiology beside the others.
    order = sorted(tree.tables, key=lambda p: ("non-radiology" in str(p).lower(), len(p.parts), p.suffix != ".xlsx", p))
    splits = {path: split_of(path, tree.root) for path in order}
    for path in sorted(order, key=lambda path: splits[path] is None):
        if kind_of_table(path) == kind:
            place(path, splits[path])
    for path in order if kind == "captions" else ():
        ours = path.stem.startswith("predictions")  # what `evaluate` has written
        is_wanted = (splits[path] or "train") not in tables and kind_of_table(path) is None and not ours
        if is_wanted and _has_captions(tree.root / path):
            place(path, splits[path])
    return tables, problems


def _has_captions(path: Path) -> bool:
    try:
        return names_captions(read_sheet(path, path.name, "captions").header)
    except InputError:  # a note or a license, not a table
        return False


def _read_split(tree: _Tree, split: str, sheets: tuple[Sheet | None, ...], all_captions: bool) -> _Split:
    captions, concepts, manual = sheets
    if captions is None and split != "test":
        raise InputError(
            f"{tree.root}: split {split!r} has no table of captions; add it, or move the split away; {_LAYOUT}"
        )
    if captions and not concepts and set(captions.header).intersection(VALUE_COLUMNS["concepts"]):
        concepts = captions  # one table for both
    concepts = concepts or manual
    index = _index(_image_folders(tree, split, captions))
    texts = captions_of(captions, index) if captions else Table(dict.fromkeys(index, ""), dict.fromkeys(index, 0), [])
    codes, problems = _codes_of(concepts, texts, index)
    checked, more = _codes_of(manual, texts, index) if manual else ({}, [])
    problems += more  # what both name is said once in the end
    problems = [problem for problem in problems if not (all_captions and problem.problem.endswith(ONE_IS_KEPT))]
    renamed = alike(texts.rows, index)
    records: list[Record] = []
    matched: set[str] = set()
    uncaptioned: set[int] = set()
    for image_id, row in texts.rows.items():
        files = _find(index, renamed.get(image_id, image_id))
        matched.update(files)
        if image_id not in texts.values:
            if split != "test" or not files or not texts.values:
                continue
            uncaptioned.add(row)
        name = captions.name if captions else files[0]
        if image_id in renamed:
            problems.append(Problem(name, row, _ALIKE.format(image_id, renamed[image_id], "image")))
        fault = _image_fault(image_id, files, split) if tree.images else ""
        if fault:
            problems.append(Problem(name, row, fault))
        if fault.endswith("skipped"):
            continue
        path = tree.root / files[0] if files else None
        by_hand = checked.get(image_id, ()) if manual else None
        values = texts.values.get(image_id, ""), codes.get(image_id, ()), row, by_hand, texts.written.get(image_id, "")
        record = Record(image_id, path, *values)
        records.append(record)
        records += _further(record, texts.further.get(image_id, [])) if all_captions else []
    problems = [
        replace(p, problem=p.problem.replace("the row is skipped", "its image is captioned, not scored"))
        if captions and p.file == captions.name and p.row in uncaptioned
        else p
        for p in problems
    ]
    if not records:
        raise _empty_split(tree, split, captions, texts, index)
    return _Split(records, problems, {path for paths in index.values() for path in paths}, matched)


def _further(record: Record, captions: list[tuple[int, str]]) -> list[Record]:
    """A record for each further caption of an image, given with their rows."""
    return [
        replace(record, image_id=f"{record.image_id}#{n}", caption=caption, row=row, written="")
        for n, (row, caption) in enumerate(captions, 1)
    ]


def _codes_of(
    concepts: Sheet | None, texts: Table[str], index: dict[str, list[str]]
) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The codes of each ID among the captions, and the problems of both tables."""
    if concepts is None:
        return {}, list(texts.problems)
    table = concepts_of(concepts, index)
    problems = list(dict.fromkeys([*texts.problems, *table.problems]))
    renamed = alike(table.rows, texts.rows)
    for image_id, row in table.rows.items():
        if image_id in renamed:
            problems.append(Problem(concepts.name, row, _ALIKE.format(image_id, renamed[image_id], "caption")))
        elif image_id not in texts.rows:
            text = f"concepts without caption: of {image_id!r}; no such ID among the captions; the row is skipped"
            problems.append(Problem(concepts.name, row, text))
    return {renamed.get(image_id, image_id): codes for image_id, codes in table.values.items()}, problems


def _image_fault(image_id: str, files: list[str], split: str) -> str:
    """What is wrong with the files found for an ID, or nothing."""
    if not files:
        return f"missing image: no file for {image_id!r} among the images of {split}; the row is skipped"
    if _look_alike(files):
        return (
            f"ambiguous image: {len(files)} files for {image_id!r} look the same (composed and decomposed letters); "
            "rename or remove one; the row is skipped"
        )
    shown = ", ".join(files[:3])
    return f"several images: {len(files)} files for {image_id!r} ({shown}); the first is taken" if files[1:] else ""


def _empty_split(
    tree: _Tree, split: str, captions: Sheet | None, texts: Table[str], index: dict[str, list[str]]
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


def _image_folders(tree: _Tree, split: str, captions: Sheet | None) -> list[list[str]]:
    """The image files of a split: folders with its name, else those that name no split and so belong to all."""
    places = {folder: split_of(folder, tree.root) for folder in tree.images}
    own = [folder for folder, place in places.items() if place == split]
    if captions:
        own = own or [folder for folder, place in places.items() if place is None]
        home = PurePosixPath(captions.name).parent
        own = [folder for folder in own if home == folder or home in folder.parents] or own
    named = [folder for folder in own if words_of(str(folder)) & {"image", "images"}]
    return [tree.images[folder] for folder in named or own]


def _index(folders: Iterable[list[str]]) -> dict[str, list[str]]:
    """Stem, in composed Unicode -> the image files of that name."""
    index: dict[str, list[str]] = {}
    for files in folders:
        for path in files:
            for stem in _stems(os.path.basename(path)):
                index.setdefault(stem, []).append(path)
    return index


def _find(index: dict[str, list[str]], image_id: str) -> list[str]:
    """The files of an ID; folders in the ID have to be the file's innermost folders."""
    wanted = same_form(image_id)
    paths = index.get(wanted.rsplit("/", 1)[-1], [])
    return [path for path in paths if any(stem.endswith(f"/{wanted}") for stem in _stems(f"/{path}"))]


def _stems(path: str) -> set[str]:
    """What an ID may call a file: its name without an image's suffix; with and without any other one (`scan.img`)."""
    stem, suffix = os.path.splitext(path)
    names = {image_stem(path), stem if re.fullmatch(r"\.[A-Za-z]\w{0,5}", suffix) else image_stem(path)}
    return {same_form(name) for name in names}


def _look_alike(paths: list[str]) -> bool:
    """Whether files differ in the Unicode form of their names alone: nobody can tell which one a table means."""
    return len({same_form(path) for path in paths}) < len(paths)
