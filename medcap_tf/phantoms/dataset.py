"""A data set of phantoms on disk: the same call writes the same bytes."""

from __future__ import annotations

import csv
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from openpyxl import Workbook
from tqdm import tqdm

from medcap_tf.errors import InputError
from medcap_tf.phantoms.phantom import Phantom, draw_phantom
from medcap_tf.phantoms.wording import CONCEPTS

EDITION = 4  # raised whenever the same seed draws other pictures, so that old and new phantoms never mix in a folder
_NAMES = "concept_names.csv"
_DATE = "2000-01-01T00:00:00Z"  # any constant: a workbook's dates would otherwise differ from one drawing to the next
_README = """SYNTHETIC phantoms, drawn by medcap_tf.phantoms. No image or sentence here comes from a patient,
and none is medical evidence. Each split holds images/ID.png, masks/ID.png (255 on the finding), captions.xlsx
(ID, Caption) and concepts.xlsx (ID, CUIs: UMLS codes joined by ";"); concept_names.csv names the codes.
The same call draws the same bytes.

Drawn with: edition {edition}, seed {seed}, {counts}
"""


class Drawn(NamedTuple):
    """One image of a data set, ready to be written."""

    name: str  # its ID
    phantom: Phantom
    row: tuple[str, ...] = ()  # further cells of its row of captions


class Edition(NamedTuple):
    """What a call draws, for `write_dataset`."""

    readme: str  # tells the call from every other
    draw: Callable[[str, int], Drawn]  # split and number -> an image; the same, the same
    name: Callable[[str, int], str]  # the ID of that image
    concept_names: Mapping[str, str] = CONCEPTS
    columns: tuple[str, ...] = ()  # the names of `Drawn.row`


def draw_dataset(root: Path, counts: Mapping[str, int], seed: int = 0) -> None:
    """Draws a synthetic data set: `<root>/<split>/{images/ID.png, masks/ID.png, captions.xlsx, concepts.xlsx}`, and
    `<root>/concept_names.csv`.

    `counts` gives the images of each split; a split of 0 is left out. The same call writes the same bytes, and no image
    is in two splits. A split appears under its name only when complete, and the same call again draws what is missing.

    Raises `InputError` for counts or a seed that cannot be drawn, and for a folder that holds anything else than
    phantoms of the same call.
    """
    check_call(counts, seed)

    def draw(split: str, index: int) -> Drawn:
        # The checksum of its name, not its place in the call, tells a split from the others: leaving one out, or
        # asking for more images, changes no other image.
        return Drawn(_name(split, index), draw_phantom([seed, zlib.crc32(split.encode()), index]))

    readme = _README.format(edition=EDITION, seed=seed, counts=as_text(counts))
    write_dataset(Path(root), counts, Edition(readme, draw, _name))


def write_dataset(root: Path, counts: Mapping[str, int], edition: Edition) -> None:
    """Writes what `draw_dataset` says of an edition of images."""
    wanted = {split: count for split, count in counts.items() if count}
    missing = _missing_splits(root, wanted, edition)
    root.mkdir(parents=True, exist_ok=True)
    (root / "README.txt").write_bytes(edition.readme.encode())
    (root / _NAMES).write_bytes(_concept_names(edition.concept_names))
    with tqdm(total=sum(wanted[split] for split in missing), desc="phantoms", unit="image") as progress:
        for split in missing:
            partial = _partial(root, split)
            shutil.rmtree(partial, ignore_errors=True)  # what an earlier, killed run left
            try:
                _draw_split(partial, split, wanted[split], edition, progress)
                partial.rename(root / split)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


def as_text(counts: Mapping[str, int]) -> str:
    """How many images of which splits, in one order whatever the call's is."""
    return ", ".join(f"{split} {count}" for split, count in sorted(counts.items()) if count)


def check_call(counts: Mapping[str, int], seed: int) -> None:
    """Raises InputError for counts or a seed that cannot be drawn."""
    if seed < 0:
        raise InputError(f"seed: {seed} is negative; give 0 or more.")
    for split, count in counts.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", split):
            raise InputError(f"split {split!r}: a split names a folder; use letters, digits, '-' and '_' only.")
        if count < 0:
            raise InputError(f"split {split!r}: {count} images were asked for; give 0 or more.")
    if not any(counts.values()):
        raise InputError("every split has 0 images, so there is nothing to draw; give at least one split 1 or more.")


def _partial(root: Path, split: str) -> Path:
    """Where a split is drawn until it is complete; the dot keeps it out of what looks for splits."""
    return root / f".{split}.partial"


def _missing_splits(root: Path, wanted: Mapping[str, int], edition: Edition) -> list[str]:
    """The splits still to be drawn, having made sure that all else in the folder came from the same call."""
    advice = "Choose another folder, or delete this one if it is no longer needed."
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file, not a folder. Choose another place for the phantoms.")
    present = {path.name for path in root.iterdir()} if root.exists() else set()
    if not present:
        return list(wanted)
    if "README.txt" not in present:
        raise InputError(f"{root} is not empty and holds no phantoms (found {min(present)}). {advice}")
    text = (root / "README.txt").read_text(encoding="utf-8", errors="replace")
    if text != edition.readme:
        raise InputError(f"{root} holds something else: its README.txt ends {text[-120:].strip()!r}. {advice}")
    foreign = present - {"README.txt", _NAMES} - set(wanted) - {_partial(root, split).name for split in wanted}
    if foreign:
        raise InputError(f"{root} holds more than these phantoms (found {min(foreign)}). {advice}")
    for split in present & set(wanted):
        _check_split(root / split, {edition.name(split, i) for i in range(wanted[split])}, advice)
    return [split for split in wanted if split not in present]


def _check_split(folder: Path, names: set[str], advice: str) -> None:
    pictures = {f"{kind}/{name}.png" for kind in ("images", "masks") for name in names}
    expected = pictures | {"captions.xlsx", "concepts.xlsx"}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if present != expected:
        odd = min(present ^ expected)
        raise InputError(
            f"{folder} was changed since it was drawn ({odd} is {'extra' if odd in present else 'missing'}). {advice}"
        )


def _name(split: str, index: int) -> str:
    return f"{split}{index:05d}"


def _draw_split(folder: Path, split: str, count: int, edition: Edition, progress: tqdm) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    captions, concepts = [("ID", "Caption", *edition.columns)], [("ID", "CUIs")]
    for index in range(count):
        name, phantom, row = edition.draw(split, index)
        for kind, pixels in (("images", phantom.image), ("masks", phantom.mask)):
            (folder / kind / f"{name}.png").write_bytes(_png(pixels))
        captions.append((name, phantom.caption, *row))
        concepts.append((name, ";".join(phantom.concepts)))
        progress.update()
    (folder / "captions.xlsx").write_bytes(_workbook(captions))
    (folder / "concepts.xlsx").write_bytes(_workbook(concepts))


def _png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W], or [H, W, 3] in RGB, as a PNG file."""
    ordered = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    return cv2.imencode(".png", ordered)[1].tobytes()


def _concept_names(names: Mapping[str, str]) -> bytes:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("concept", "name"), *names.items()])
    return table.getvalue().encode()


def _workbook(rows: Sequence[tuple[str, ...]]) -> bytes:
    """An Excel workbook of one sheet whose bytes depend on `rows` alone: every date within is the same constant."""
    book = Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    dated, dateless = io.BytesIO(), io.BytesIO()
    book.save(dated)
    with zipfile.ZipFile(dated) as source, zipfile.ZipFile(dateless, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":  # openpyxl sets the time of saving itself, whatever the properties say
                content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z?", _DATE.encode(), content)
            entry = zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))
            entry.create_system = 0  # not the system it was drawn on
            target.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return dateless.getvalue()
