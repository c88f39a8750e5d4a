"""Files of a job's folder are whole or not there."""

from __future__ import annotations

import pickle

import pytest

pytest.importorskip("pyarrow", reason="the extra `cluster` is not installed")

import pyarrow as pa

from medcap_tf.cluster.storage import Folder, join
from medcap_tf.errors import InputError


@pytest.mark.parametrize("scheme", ["", "local://", "file://"])
def test_what_is_written_is_read_again(tmp_path, scheme):
    folder = pickle.loads(pickle.dumps(Folder(f"{scheme}{tmp_path}/job")))
    assert folder.names("parts") == [] and folder.read_json("job.json") is None
    folder.write_json("job.json", {"ä": 1})
    folder.write_table("parts/1.parquet", pa.table({"a": [1, 2]}))
    assert folder.read_json("job.json") == {"ä": 1}
    assert folder.names("parts") == ["1.parquet"]
    with folder.open_parquet("parts/1.parquet") as file:
        assert file.read().to_pydict() == {"a": [1, 2]}
    assert sorted(path.name for path in (tmp_path / "job").rglob("*")) == ["1.parquet", "job.json", "parts"]


def test_a_file_that_was_not_finished_is_not_there(tmp_path):
    folder = Folder(str(tmp_path))
    with pytest.raises(RuntimeError), folder.writing("parts/1.parquet") as file:
        file.write(b"half")
        raise RuntimeError
    assert folder.names("parts") == []
    folder.remove_unfinished("parts")
    assert list((tmp_path / "parts").iterdir()) == []


def test_names_below_an_address():
    assert join("s3://bucket/a/", "b.png") == "s3://bucket/a/b.png"
    assert join("/a", "/b.png") == "/b.png"
    assert join("/a", "s3://b") == "s3://b"


def test_an_unknown_address_is_refused():
    with pytest.raises(InputError, match="nowhere://x: Protocol not known"):
        Folder("nowhere://x").names("")
