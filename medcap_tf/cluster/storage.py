"""Folders of this machine and of object stores, alike: where a job reads and writes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from pyarrow import fs

from medcap_tf.errors import InputError


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine; others begin with a scheme, as `s3://`."""
    return "://" not in address


def join(folder: str, name: str) -> str:
    """A name below a folder or an address; one that is absolute, or has a scheme, stands for itself."""
    if not is_local(name) or Path(name).is_absolute():
        return name
    return f"{folder.rstrip('/')}/{name}"


def filesystem(address: str) -> tuple[fs.FileSystem, str]:
    """The file system of an address and the path in it: Arrow's own for local paths, S3, GCS and HDFS, else fsspec's.

    Raises:
        InputError: nobody knows the scheme, or its package is not installed.
    """
    if is_local(address):
        return fs.LocalFileSystem(), str(Path(address).absolute())
    try:
        return fs.FileSystem.from_uri(address)
    except pa.ArrowInvalid:
        other, path = fsspec_filesystem(address)
        return fs.PyFileSystem(fs.FSSpecHandler(other)), path


def fsspec_filesystem(address: str) -> tuple[Any, str]:
    """The same by fsspec alone, which knows globs; raises InputError as `filesystem`."""
    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: {error}; give a path, or an address that fsspec knows") from error


def read_bytes(address: str) -> bytes:
    """A file's content; raises InputError where it cannot be had."""
    files, path = filesystem(address)
    try:
        with files.open_input_stream(path) as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{address}: cannot be read ({' '.join(str(error).split())})") from error


class Folder:
    """A folder to write to, by names below it. Nobody sees a file before it is whole."""

    def __init__(self, address: str):
        """It need not exist yet."""
        self.address = address

    @cached_property
    def _place(self) -> tuple[fs.FileSystem, str]:
        return filesystem(self.address)

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection: every process has its own."""
        return {"address": self.address}

    def names(self, folder: str) -> list[str]:
        """The files of a folder below this one, in order; none where it does not exist."""
        files, root = self._place
        found = files.get_file_info(fs.FileSelector(f"{root}/{folder}", allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file and not info.base_name.startswith("."))

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote; None where the file does not exist."""
        files, root = self._place
        try:
            with files.open_input_stream(f"{root}/{name}") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(f"{join(self.address, name)}: cannot be read ({error}); choose another --out") from error

    @contextmanager
    def open_parquet(self, name: str) -> Iterator[pq.ParquetFile]:
        """A Parquet file, of which parts are read as they are asked for."""
        files, root = self._place
        with files.open_input_file(f"{root}/{name}") as file:
            yield pq.ParquetFile(file)

    def write_json(self, name: str, values: Any) -> None:
        """Values as JSON."""
        with self.writing(name) as file:
            file.write((json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

    def write_table(self, name: str, table: pa.Table) -> None:
        """A table as Parquet."""
        whole = pa.BufferOutputStream()  # an object store shows what was written when the stream ends, however it ends
        pq.write_table(table, whole, compression="zstd")
        with self.writing(name) as file:
            file.write(whole.getvalue())

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A file to write, which appears under its name at the end, and not at all where that fails."""
        files, root = self._place
        path = f"{root}/{name}"
        folder, _, last = path.rpartition("/")
        # Two processes may write the same part, one of them left over from a driver that died.
        beside = f"{folder}/.{last}.{socket.gethostname()}-{os.getpid()}" if is_local(self.address) else path
        files.create_dir(folder, recursive=True)
        with files.open_output_stream(beside) as file:
            yield file
        if beside != path:
            files.move(beside, path)

    def remove_unfinished(self, folder: str) -> None:
        """What processes that died left beside the files of a folder."""
        if is_local(self.address):
            for path in (Path(self.address) / folder).glob(".*"):
                path.unlink(missing_ok=True)
