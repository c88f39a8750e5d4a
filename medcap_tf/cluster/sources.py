"""What SOURCE holds, as units of work: image files, row groups of Parquet files, TFRecord files. Listed, not opened.

Image files are listed one by one; of a collection of many millions the names alone fill memory, which Parquet and
TFRecords, of which a unit is thousands of images, do not.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from medcap_tf.cluster.storage import filesystem, fsspec_filesystem, is_local, join
from medcap_tf.data.columns import normalize_names
from medcap_tf.data.folders import find_files, is_image
from medcap_tf.data.formats import NAMES, SUFFIXES
from medcap_tf.data.sheets import TABLE_SUFFIXES, read_sheet
from medcap_tf.data.text_tables import parse
from medcap_tf.errors import InputError

# In letters and digits alone; the first that a table has counts.
PATH_COLUMNS = ("path", "filepath", "imagepath", "file", "filename", "imagefile", "image", "name", "id", "imageid")
_TFRECORD = re.compile(r"\.tfrecords?(\.gz)?(-\d+-of-\d+)?(\.gz)?$")
_PARQUET = re.compile(r"\.(parquet|parq|pq)$")
_UNKNOWN = -1


class Unit(NamedTuple):
    """What one worker reads at a time."""

    path: str  # of a file; absolute, or an address
    group: int = -1  # of a Parquet file's row groups; -1: the whole file
    rows: int = 1  # images in it; -1: not known before it is read

    @property
    def is_image(self) -> bool:
        """Whether it is one image file; else it holds many."""
        return self.group < 0 and not self.is_tfrecord

    @property
    def is_tfrecord(self) -> bool:
        """Whether it is a TFRecord file."""
        return _TFRECORD.search(self.path) is not None


def find_units(source: str) -> list[Unit]:
    """The units of a folder, a glob, a table of paths, a Parquet or a TFRecord file, here or in an object store.

    Raises:
        InputError: there is nothing, or the table names no paths.
    """
    paths = _paths(source)
    if not paths:
        raise InputError(f"{source}: nothing to caption here; give a folder or a glob of {NAMES} files, a table of "
                         "paths, Parquet or TFRecord files")  # fmt: skip
    containers = [path for path in paths if _holds_many(path)]
    images = [path for path in paths if not _holds_many(path)]
    if containers and images:
        raise InputError(f"{source}: holds {containers[0]} and images such as {images[0]}; caption them by two jobs")
    return [Unit(path) for path in images] or [unit for path in containers for unit in _contained(path)]


def _paths(source: str) -> list[str]:
    """Files, in order, each once."""
    if is_local(source):
        return _local_paths(source)
    if re.search(r"[*?[]", source):
        files, path = fsspec_filesystem(source)
        return sorted(files.unstrip_protocol(name) for name in files.glob(path))
    return _remote_paths(source)


def _local_paths(source: str) -> list[str]:
    place = Path(source)
    if place.is_dir():
        containers = sorted(str(path.absolute()) for path in place.rglob("*") if _holds_many(path.name))
        return containers or [str(path.absolute()) for path in find_files([place])]
    if place.is_file():
        return _listed(place) if place.suffix.lower() in TABLE_SUFFIXES else [str(place.absolute())]
    found = sorted(path for path in glob.glob(source, recursive=True) if Path(path).is_file())
    found = [path for path in found if _holds_many(path) or is_image(path)]
    if not found:
        raise InputError(f"{source}: no such file or folder, and no image fits it as a glob")
    return [str(Path(path).absolute()) for path in found]


def _holds_many(name: str) -> bool:
    return bool(_PARQUET.search(name) or _TFRECORD.search(name))


def _remote_paths(source: str) -> list[str]:
    """The files of an address that we know by their suffix: to look into each would take a request an image."""
    files, path = filesystem(source)
    try:
        info = files.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise InputError(f"{source}: no such object or folder")
        if info.is_file:
            return [source]
        below = files.get_file_info(fs.FileSelector(path, recursive=True))
    except OSError as error:
        raise InputError(f"{source}: cannot be listed ({' '.join(str(error).split())})") from error
    names = sorted(found.path[len(path) :].lstrip("/") for found in below if found.is_file)
    containers = [name for name in names if _holds_many(name)]
    return [join(source, name) for name in containers or [n for n in names if Path(n).suffix.lower() in SUFFIXES]]


def _listed(table: Path) -> list[str]:
    """The paths that a table lists; they start from its folder."""
    header, rows = _table(table)
    column = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
    if column is None and rows and Path(rows[0][0].strip()).suffix.lower() in SUFFIXES:
        column = 0
    if column is None:
        found = ", ".join(filter(None, header)) or "none"
        raise InputError(f"{table}: no column of paths; name one `path` (columns: {found})")
    folder = str(table.absolute().parent)
    cells = (fields[column].strip() for fields in rows if len(fields) > column)
    return list(dict.fromkeys(join(folder, cell) for cell in cells if cell))


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, if there are any, and the rows; a list of paths, a line each, is a table too."""
    data = path.read_bytes()
    parsed = None if data.startswith(b"PK") else parse(data)
    if parsed is not None and not parsed.separator:
        header, rows = [], [[line] for line in data.decode("utf-8-sig", errors="replace").splitlines() if line.strip()]
    else:
        sheet = read_sheet(path, str(path))
        header, rows = sheet.header, [fields for _, fields, _ in sheet.joined(0)]
    # Tables of captions have two columns at least: one of paths alone is not known to have a header.
    if not header and rows and set(normalize_names(rows[0])) & set(PATH_COLUMNS):
        return normalize_names(rows[0]), rows[1:]
    return header, rows


def _contained(path: str) -> Iterator[Unit]:
    if _TFRECORD.search(path):
        yield Unit(path, rows=_UNKNOWN)
        return
    files, place = filesystem(path)
    try:
        with files.open_input_file(place) as file:
            metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: no Parquet file that can be read ({' '.join(str(error).split())})") from error
    for group in range(metadata.num_row_groups):
        yield Unit(path, group, metadata.row_group(group).num_rows)


def parts_of(units: Sequence[Unit], size: int) -> Iterator[list[Unit]]:
    """Units in order, as many together as hold `size` images; where it is not known how many, each for itself."""
    part: list[Unit] = []
    rows = 0
    for unit in units:
        part.append(unit)
        rows += size if unit.rows == _UNKNOWN else unit.rows
        if rows >= size:
            yield part
            part, rows = [], 0
    if part:
        yield part
