"""Files written atomically, so that none is ever found half-written, and read again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from medcap_tf.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; folders on the way are made."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(data)
    os.replace(beside, path)


def read_json(path: Path) -> Any:
    """One of a run's files; raises InputError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); the run folder is incomplete: train it again") from error
