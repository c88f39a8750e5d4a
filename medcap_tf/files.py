"""Files written atomically, so that none is ever found half-written, and read again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from medcap_tf.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; folders on the way are made."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, the one that a link leads to; folders on the way are made.

    Raises:
        InputError: there is a folder of that name, a file where a folder should be, or no file may have that name.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the name of a file")
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a pipe, or a device
            return
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # a name too long, links that lead to each other
        raise InputError(f"{path}: no file may have this name ({error}); give another one") from error
    check_place(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as beside:
        beside.write_bytes(data)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Where to write meanwhile: beside `target`, under a name that nobody's file has. What is there at the end of the
    block takes the target's place; after an error nothing does."""
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield beside
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file in memory for what writes into files; at the end of the block it is written atomically, after an error not
    at all."""
    with io.BytesIO() as file:
        yield file
        write_bytes(path, file.getvalue())


def check_place(folder: Path) -> None:
    """Raise InputError where a folder neither is nor can be made: to ask before hours of work, not after."""
    above = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    if not above.is_dir():
        raise InputError(f"{folder}: {above} is a file; give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: {above} may not be written into; change its permissions, or give another folder")


def read_json(path: Path, remedy: str = "the run folder is incomplete: train it again") -> Any:
    """One of a run's files; raises InputError with the remedy where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from error
