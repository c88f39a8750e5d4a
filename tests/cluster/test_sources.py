"""What a source holds, and how it is shared out."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pyarrow", reason="the extra `cluster` is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from medcap_tf.cluster.sources import Unit, find_units, parts_of
from medcap_tf.errors import InputError
from medcap_tf.phantoms import draw_dataset


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    draw_dataset(folder, {"train": 3}, seed=2)
    return next(folder.rglob("images"))


def paths(units):
    assert all(unit == Unit(unit.path) for unit in units)
    return [unit.path for unit in units]


def test_a_folder_and_a_glob_list_the_same_images(images):
    expected = sorted(map(str, images.iterdir()))
    assert paths(find_units(str(images))) == expected
    assert paths(find_units(f"{images}/*")) == expected
    assert paths(find_units(f"{images.parent}/**/images/*.*")) == expected
    assert paths(find_units(expected[0])) == expected[:1]


def test_an_address_that_fsspec_knows_lists_them_too(images):
    expected = [f"local://{path}" for path in sorted(images.iterdir())]
    assert paths(find_units(f"local://{images}")) == expected
    assert len(find_units(f"local://{images}/*")) == 3


@pytest.mark.parametrize(
    "table", ["path\na.png\nb/c.png\na.png\n", "n,Image path\n1,a.png\n2,b/c.png\n", "a.png\nb/c.png\n"]
)
def test_a_table_lists_paths_from_its_folder_on_each_once(tmp_path, table):
    (tmp_path / "list.csv").write_text(table)
    assert paths(find_units(str(tmp_path / "list.csv"))) == [f"{tmp_path}/a.png", f"{tmp_path}/b/c.png"]


def test_a_table_may_hold_addresses(tmp_path):
    (tmp_path / "list.csv").write_text("path\ns3://bucket/a.png\n/images/b.png\n")
    assert paths(find_units(str(tmp_path / "list.csv"))) == ["s3://bucket/a.png", "/images/b.png"]


def test_parquet_is_cut_by_row_groups(tmp_path):
    table = pa.table({"id": ["1", "2", "3"], "bytes": [b"1", b"2", b"3"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    (tmp_path / "b.tfrecord").write_bytes(b"")
    first, second = str(tmp_path / "a.parquet"), str(tmp_path / "b.tfrecord")
    assert find_units(str(tmp_path)) == [Unit(first, 0, 2), Unit(first, 1, 1), Unit(second, rows=-1)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none", "none: no such file or folder, and no image fits it as a glob"),
        ("empty", "no images in this folder"),
        ("list.csv", "no column of paths; name one `path` (columns: age, caption)"),
        ("mixed/*", "caption them by two jobs"),
        ("broken.parquet", "no Parquet file that can be read"),
        ("nowhere://a/b", "nowhere://a/b: Protocol not known: nowhere"),
    ],
)
def test_what_cannot_be_listed_is_refused(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("age,caption\n7,a fracture\n")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.png").write_bytes(b"x")
    (tmp_path / "mixed" / "b.parquet").write_bytes(b"x")
    (tmp_path / "broken.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match=re.escape(message)):
        find_units(source)


def test_parts_hold_as_many_images_as_were_asked_for():
    units = [Unit("a"), Unit("b"), Unit("c"), Unit("d.parquet", 0, 5), Unit("e.tfrecord", rows=-1), Unit("f")]
    sizes = [[unit.path for unit in part] for part in parts_of(units, 2)]
    assert sizes == [["a", "b"], ["c", "d.parquet"], ["e.tfrecord"], ["f"]]
    assert list(parts_of([], 2)) == []
