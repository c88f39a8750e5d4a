"""Files are written whole or not at all."""

from __future__ import annotations

import os

import pytest

from medcap_tf.errors import InputError
from medcap_tf.files import check_place, read_json, whole_file, write_bytes, write_text


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
    assert [left.name for left in tmp_path.iterdir()] == ["values"]


def test_a_file_beside_it_is_nobodys(tmp_path):
    (tmp_path / ".values").write_text("mine")
    write_bytes(tmp_path / "values", b"new")
    assert (tmp_path / ".values").read_text() == "mine"


def test_the_longest_name_may_be_written_and_a_longer_one_not(tmp_path):
    write_bytes(tmp_path / ("x" * 255), b"whole")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"whole"
    with pytest.raises(InputError, match="no file may have this name"):
        write_bytes(tmp_path / ("x" * 256), b"whole")


def test_links_that_lead_to_each_other_are_no_place(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="no file may have this name"):
        write_bytes(tmp_path / "a", b"")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_what_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "values.json").write_bytes(content)
    with pytest.raises(InputError, match=r"values\.json: cannot be read .* the run folder is incomplete"):
        read_json(tmp_path / "values.json")


def test_a_block_that_fails_leaves_the_file_of_before(tmp_path):
    path = tmp_path / "numbers"
    with whole_file(path) as file:
        file.write(b"first")
    with pytest.raises(MemoryError), whole_file(path) as file:
        file.write(b"half")
        raise MemoryError
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_what_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "kept").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "kept" / "values")
    for text in ("once", "again"):
        write_text(link, text)
        assert link.is_symlink() and (tmp_path / "kept" / "values").read_text() == text


def test_a_pipe_is_written_into(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)


def test_where_nothing_can_be_written_is_said_before_anything_is(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"below: .*file is a file; give another folder"):
        write_text(tmp_path / "file" / "below" / "values", "")
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        write_text(tmp_path, "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    check_place(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
