"""Real images to draw findings into: which there are, in which split, and what is known of each.

What an image is of is told by the words around it, the surest first: its concepts' names, its caption, its folders.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medcap_tf.data.columns import SPLITS, split_named
from medcap_tf.data.folders import find_files, image_stem
from medcap_tf.data.records import Dataset, Record, read_dataset
from medcap_tf.data.splits import content_digests
from medcap_tf.errors import InputError

MODALITIES = ("radiograph", "CT", "MR", "ultrasound")
REGIONS = ("chest", "brain", "abdomen", "other")
VIEWS = ("frontal", "axial", "other")
_SAID = {
    "radiograph": r"x-?rays?|radiographs?|radiography|plain films?|cxr",
    "CT": r"ct|cta|computed tomography|cat scan",
    "MR": r"mri?|mra|magnetic resonance|t[12]-weighted|flair",
    "ultrasound": r"ultraso\w+|sonogra\w+",
    "chest": r"chest|cxr|thora\w+|lungs?|pulmonary|pleura\w*",
    "brain": r"brain|skull|head|cerebr\w+|cranial|intracranial",
    "abdomen": r"abdom\w+|liver|hepat\w+|renal|kidneys?|spleen|gastrointestinal|genitourinary|pelvi\w+",
    "axial": r"axial|transverse",
    "frontal": r"frontal(?! (?:lobes?|bone|sinus))|ap|pa|coronal",
    "other": r"lateral|sagittal|oblique|longitudinal|decubitus",
}
_PATTERNS = {name: re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])", re.IGNORECASE) for name, words in _SAID.items()}
_HELD_OUT = {"valid": 0.1, "test": 0.1}  # of images that no split is named for


class Assumed(NamedTuple):
    """What holds of an image whose own words do not tell; empty: nothing is assumed."""

    modality: str = ""
    region: str = ""
    view: str = ""


NOTHING_ASSUMED = Assumed()


class Background(NamedTuple):
    """One real image and what is known of it."""

    path: Path
    name: str  # its ID, or its path from the folder on
    modality: str  # of MODALITIES
    region: str  # of REGIONS
    view: str  # of VIEWS; other: lateral, sagittal, or not known
    caption: str  # "" where there is none
    concepts: tuple[str, ...]
    digest: str = ""  # SHA-256 of the file
    contrast: str = ""  # "T1" or "T2" where its words say so


class Backgrounds(NamedTuple):
    """The usable images of a folder."""

    splits: dict[str, list[Background]]
    concept_names: dict[str, str]


def read_backgrounds(folder: Path, assumed: Assumed = NOTHING_ASSUMED) -> Backgrounds:
    """The real images of a folder whose modality is known, by split; what is left out is said on stderr.

    A data set keeps its splits, and loses from a later split the images that an earlier one has too. Where none is
    named, a tenth each is for validation and test; images of one caption, or of one folder, stay together.

    Args:
        folder: a data set as `medcap records` reads it, or images alone in any folders.
        assumed: of images whose words tell no modality, region or view.

    Raises:
        InputError: no such folder, no images, or none of a known modality.
    """
    folder = Path(folder)
    dataset = _dataset_of(folder)
    names = dataset.concept_names if dataset else {}
    given = dict(dataset.splits) if dataset else {"": _images_alone(folder)}
    with_image = {split: [r for r in records if r.image_path] for split, records in given.items()}
    splits = {split: list(_known(records, folder, names, assumed)) for split, records in _split(with_image, folder)}
    found, usable = (sum(map(len, parts.values())) for parts in (with_image, splits))
    if not usable:
        raise InputError(
            f"{folder}: nothing tells the modality of its {found} images (their concepts, captions and folders were "
            f"read); give --modality {'|'.join(MODALITIES)}"
        )
    if usable < found:
        print(f"backgrounds: {usable} of {found} images; the others tell no modality, or are doubled", file=sys.stderr)
    return Backgrounds({split: own for split, own in splits.items() if own}, names)


def _dataset_of(folder: Path) -> Dataset | None:
    """The folder as a data set; None where it holds images alone."""
    if not folder.is_dir():
        raise InputError(f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; give a folder of images")
    try:
        return read_dataset(folder)
    except InputError as error:
        if "no table of captions" not in str(error):
            raise
        return None


def _images_alone(folder: Path) -> list[Record]:
    return [Record(image_stem(path.relative_to(folder).as_posix()), path, "", ()) for path in find_files([folder])]


def _split(given: Mapping[str, Sequence[Record]], folder: Path) -> Iterator[tuple[str, list[tuple[Record, str]]]]:
    """The three splits, each record with the digest of its image; no image is in two of them."""
    parts: dict[str, list[Record]] = {split: [] for split in SPLITS}
    alone = not {split for split, records in given.items() if records} - {"", "train"}
    for split, records in given.items():
        for record in records:
            parts[_drawn_split(record, folder) if alone else split].append(record)
    seen: set[str] = set()
    for split, records in parts.items():
        digests = content_digests(records)
        yield split, [(record, digest) for record, digest in zip(records, digests) if digest not in seen]
        seen.update(digests)


def _drawn_split(record: Record, folder: Path) -> str:
    """Of an image in a folder of one split or none: what its path names, else by a number that its group alone
    decides."""
    within = record.image_file.relative_to(folder)
    named = [split for part in within.parts[:-1] if (split := split_named(part))]
    if named and not record.caption:
        return named[-1]
    group = record.caption or (str(within.parent) if len(within.parts) > 1 else within.name)
    place, reach = zlib.crc32(os.fsencode(group)) / 2**32, 0.0
    for split, share in _HELD_OUT.items():
        reach += share
        if place < reach:
            return split
    return "train"


def _known(
    records: Iterable[tuple[Record, str]], folder: Path, names: Mapping[str, str], assumed: Assumed
) -> Iterator[Background]:
    for record, digest in records:
        path = record.image_file
        codes = " ; ".join(names.get(code, code).replace("_", " ") for code in record.concepts)
        folders = " ; ".join([folder.name, *path.relative_to(folder).parts[:-1]])
        sources = [codes, record.caption, re.sub(r"[_\W]+", " ", folders)]
        modality = told(sources, MODALITIES) or assumed.modality
        if not modality:
            continue
        region = told(sources, REGIONS[:3]) or assumed.region or "other"
        view = told(sources, VIEWS) or assumed.view or "other"
        weighting = re.search(r"\b(t[12])\b", record.caption.lower())
        name = record.image_id or path.relative_to(folder).as_posix()
        yield Background(
            path, name, modality, region, view, record.caption, record.concepts, digest,
            weighting[1].upper() if weighting else "",
        )  # fmt: skip


def told(sources: Sequence[str], choices: Sequence[str]) -> str:
    """The one of the choices that the first telling source names; "" where none does, or it names two."""
    for source in sources:
        named = [choice for choice in choices if _PATTERNS[choice].search(source)]
        if named:
            return named[0] if len(named) == 1 else ""
    return ""
