"""What a folder holds for us: image files, told by their content, and the other files beside them.

One walk for data sets and for commands. It passes over what is no image of its own: hidden files and folders, traces of
operating systems and of open workbooks, masks, notes beside an image.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medcap_tf.data.formats import HEAD_BYTES, NAMES, SUFFIXES, kind_of
from medcap_tf.errors import InputError

_TRACES = (".", "~$", "__macosx", "@eadir", "thumbs.db", "desktop.ini", "dicomdir")  # how their names begin
_MASK_FOLDER = re.compile(r"(?i)(.*[^a-z])?(masks?|segmentations?)([^a-z].*)?|[a-z]+masks?")
_MASK_FILE = re.compile(r"(?i)(.+?)[ _.-]*(?:mask|segmentation)s?(?:[ _.-]?\d+)?$")
# What is never an image, whatever its first bytes look like, and may be a table.
_NOTES = (".txt", ".json", ".xml", ".html", ".md")
_TEXTS = (".csv", ".tsv", ".xlsx", ".xlsm", ".xls", ".py", *_NOTES)


class Folder(NamedTuple):
    """One folder of a walk; names are paths from the root on, with slashes, in order."""

    path: PurePosixPath
    images: list[str]
    others: list[str]


def walk(root: Path) -> Iterator[Folder]:
    """Every folder from `root` down, itself first; links are followed, though in no circle.

    Raises InputError where a folder cannot be opened.
    """
    yield from _walk(root, PurePosixPath(), ())


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and the image files inside folders, in order; InputError on a folder without any."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path / name for folder in walk(path) for name in folder.images) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: no images in this folder (looked for {NAMES} files, under any name)")
        files += inside
    return files


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file is taken for an image: by its suffix, else by what it begins with."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES or suffix in _TEXTS:
        return suffix in SUFFIXES
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def image_stem(name: str) -> str:
    """A file's name, or an ID, without an image's suffix; other endings stay, as the `.5` of a UID."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def same_form(name: str) -> str:
    """A name in composed Unicode (NFC): macOS writes the same letters decomposed."""
    return unicodedata.normalize("NFC", name)


def _walk(root: Path, folder: PurePosixPath, above: tuple[str, ...]) -> Iterator[Folder]:
    place = root / folder
    above = (*above, os.path.realpath(place))
    try:
        with os.scandir(place) as entries:
            ours = [entry for entry in entries if not entry.name.lower().startswith(_TRACES)]
    except OSError as error:
        raise InputError(f"{place}: cannot be opened ({error.strerror}); check its permissions") from error
    ours.sort(key=lambda entry: entry.name)
    files = [entry.name for entry in ours if entry.is_file() or not os.path.exists(entry.path)]  # a broken link, too
    pictures = {name: None for name in files if is_image(place / name)}  # a set in order
    stems = {image_stem(name) for name in pictures}
    images = [name for name in pictures if not _is_mask(name, stems)]
    others = [name for name in files if name not in pictures and not _is_note(name, stems)]
    yield Folder(folder, [str(folder / name) for name in images], [str(folder / name) for name in others])
    for entry in ours:
        inside = entry.is_dir() and not _MASK_FOLDER.fullmatch(entry.name)
        if inside and os.path.realpath(entry.path) not in above:
            yield from _walk(root, folder / entry.name, above)


def _is_mask(name: str, stems: set[str]) -> bool:
    """Whether an image is another's mask: `x_mask.png` or `x_mask_1.png` beside `x.png`."""
    match = _MASK_FILE.fullmatch(image_stem(name))
    return match is not None and match[1] in stems


def _is_note(name: str, stems: set[str]) -> bool:
    """Whether a file describes the image beside it: `x.txt` or `x.png.txt` beside `x.png`."""
    stem, suffix = os.path.splitext(name)
    return suffix.lower() in _NOTES and image_stem(stem) in stems
