"""Files are written whole or not at all."""

from __future__ import annotations

import os

import pytest

from medcap_tf.errors import InputError
from medcap_tf.files import read_json, write_bytes, write_text


def test_what_is_written_is_read_in_folders_that_were_not_there(tmp_path):
    write_text(tmp_path / "a" / "b" / "values.json", '{"größe": [1, 2.5]}')
    assert read_json(tmp_path / "a" / "b" / "values.json") == {"größe": [1, 2.5]}
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["values.json"]


def test_a_write_that_fails_leaves_the_file_of_before(tmp_path, monkeypatch):
    path = tmp_path / "values"
    write_bytes(path, b"before")

    def fail(*paths):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_bytes(path, b"after")
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_what_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "values.json").write_bytes(content)
    with pytest.raises(InputError, match=r"values\.json: cannot be read .* the run folder is incomplete"):
        read_json(tmp_path / "values.json")
