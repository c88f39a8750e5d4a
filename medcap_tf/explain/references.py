"""Which reference is whose: images to explain, each under an ID that no other one has.

An ID is a path without suffix, with slashes, from some folder on (`CXR1/0`): many data sets call a study's images `0`
and `1`, so that a file's name alone says nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medcap_tf.caption import Caption
from medcap_tf.data.folders import image_stem, same_form
from medcap_tf.errors import InputError


class Pictured(NamedTuple):
    """One image to explain."""

    path: Path
    image_id: str  # its record's, or what tells it from all other images
    reference: str = ""  # empty where unknown


def name_images(paths: Sequence[Path]) -> list[Pictured]:
    """Image files under the shortest end of their path that tells them apart: `0`, or `CXR1/0` beside `CXR2/0`."""
    ends = {path: [*_ends(path, without_suffix=True), *_ends(path)] for path in dict.fromkeys(map(_whole, paths))}
    counts = Counter(end for own in ends.values() for end in set(own))
    return [Pictured(path, next((e for e in ends[_whole(path)] if counts[e] == 1), str(path))) for path in paths]


def id_within(path: Path, folder: Path) -> str:
    """The ID of an image file counted from a folder on."""
    return _ends(path, without_suffix=True)[len(Path(os.path.relpath(path, folder)).parts) - 1]


def with_references(
    images: Sequence[Pictured], table: Mapping[str, str], name: str, own: Sequence[str] = ()
) -> list[Pictured]:
    """The images with their captions in a table of references; the others as they were.

    An image is a row's if its path ends in the row's ID, folders and all.

    Args:
        images: to explain.
        table: ID -> caption.
        name: what errors call the table.
        own: what each image is surely called, where that is known: its record's ID, or its path from the folder given.

    Raises:
        InputError: one image for two rows, two images for one row, or no image for any row.
    """
    known = {same_form(image_id): image_id for image_id in table}
    own = own or [""] * len(images)
    rows = [_row_of(image.path, one, known, name) for image, one in zip(images, own)]
    takers: dict[str, dict[Path, str]] = {}
    for image, row, one in zip(images, rows, own):
        takers.setdefault(row, {})[_whole(image.path)] = one
    owners = {row: _owner(row, takers[row], name) for row in takers if row}
    if images and not owners:
        raise InputError(
            f"{name}: has no caption for any of the {len(images)} images (its first ID is {next(iter(table), '')!r}, "
            f"the first image {images[0].path}); an ID should be the end of an image's path, without suffix"
        )
    return [
        image._replace(reference=table[known[row]]) if _whole(image.path) in owners.get(row, ()) else image
        for image, row in zip(images, rows)
    ]


def with_ids(captions: Iterable[Caption], images: Iterable[Pictured]) -> Iterator[Caption]:
    """Captions under the IDs of their images, one after another, in the same order."""
    for image, caption in zip(images, captions):
        yield replace(caption, image_id=image.image_id)


def _row_of(path: Path, own: str, known: Mapping[str, str], name: str) -> str:
    """The normalized ID that the image goes by in the table; empty where it is not there."""
    own = same_form(own)
    ends = dict.fromkeys([*_ends(path, without_suffix=True), *_ends(path), own])
    rows = sorted((end for end in ends if end and end in known), key=len)
    if len(rows) > 1 and rows[-1] != own:
        raise InputError(
            f"{name}: {known[rows[0]]!r} and {known[rows[-1]]!r} both name {path}; give the folder that the IDs "
            "start from, or write all IDs with their folders"
        )
    return rows[-1] if rows else ""


def _owner(row: str, takers: Mapping[Path, str], name: str) -> set[Path]:
    """The one image that a row is of: of several, the one that is surely called so."""
    sure = [path for path, own in takers.items() if same_form(own) == row]
    left = sure if len(sure) == 1 else list(takers)
    if len(left) > 1:
        raise InputError(
            f"{name}: ID {row!r} names both {left[0]} and {left[1]}; write IDs with their folders, as in "
            f"{_ends(left[0], without_suffix=True)[:2][-1]!r}"
        )
    return set(left)


def _ends(path: Path, without_suffix: bool = False) -> list[str]:
    """Every end of a path as an ID, the shortest first."""
    parts = list(_whole(path).parts[1:])
    if without_suffix:
        parts[-1] = image_stem(parts[-1])
    return [same_form("/".join(parts[start:])) for start in reversed(range(len(parts)))]


def _whole(path: Path) -> Path:
    return Path(os.path.abspath(path))
