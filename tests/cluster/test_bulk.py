"""The plan of a job, its rows and its summary; no Ray."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="the extra `cluster` is not installed")

from medcap_tf.caption import Caption
from medcap_tf.cluster import bulk, rows
from medcap_tf.cluster.sources import Unit
from medcap_tf.cluster.storage import Folder
from medcap_tf.errors import InputError


def test_what_a_source_gains_becomes_new_parts_and_the_old_ones_stay(tmp_path):
    folder = Folder(str(tmp_path))
    first = bulk._plan(folder, [Unit(f"{i:02}") for i in range(40)], 16, 1)
    assert [len(part.units) for part in first] == [16, 16, 8]
    assert bulk._plan(folder, [Unit(f"{i:02}") for i in range(40)], 16, 4) == first
    grown = bulk._plan(folder, [Unit(f"{i:02}") for i in range(-1, 42)], 16, 1)
    assert grown[:3] == first
    assert [unit.path for unit in grown[3].units] == ["-1", "40", "41"] and len(grown) == 4
    assert grown[3].file == "captions/part-000003.parquet"


def test_parts_are_small_enough_for_all_workers_to_end_together(tmp_path):
    parts = bulk._plan(Folder(str(tmp_path)), [Unit(str(i)) for i in range(800)], 1000, 2)
    assert [len(part.units) for part in parts] == [100] * 8


def write_part(folder, number, captions, worker):
    table = rows.to_table(
        [rows.to_row(name, caption) for name, caption in captions],
        rows.COLUMNS,
        {"worker": worker, "seconds": 2.0, "started": 5.0},
    )
    folder.write_table(f"captions/part-{number:06d}.parquet", table)


@pytest.fixture
def job(tmp_path):
    good = Caption(words=("a", "mass"), stems=("a", "mass"), score=-0.5, concepts=(("C1", 0.75), ("C2", 0.5)))
    trusted = dataclasses.replace(good, confidence=0.625, novelty=87.5)
    folder = Folder(str(tmp_path))
    write_part(folder, 0, [("/a.png", trusted), ("/b.png", Caption(error="/b.png: empty"))], "x:1")
    write_part(folder, 1, [("/c.png", Caption(error="/c.png: empty")), ("/d,.png", good)], "x:2")
    write_part(folder, 2, [("/e.png", Caption(score=0.0))], "x:1")
    return folder


def test_a_summary_counts_rows_failures_and_workers(job):
    summary = bulk._summary(job)
    assert {key: summary[key] for key in ("images", "captioned", "failed")} == {
        "images": 5,
        "captioned": 3,
        "failed": 2,
    }
    assert summary["failures"] == {"empty": 2}
    expected = {"images": 3, "seconds": 4.0, "start_seconds": 5.0, "images_per_second": 0.75}
    assert summary["workers"]["x:1"] == expected


def test_the_csv_has_a_line_an_image(job, tmp_path):
    bulk._write_csv(job)
    with open(tmp_path / "captions.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == ["/a.png", "/b.png", "/c.png", "/d,.png", "/e.png"]
    assert lines[0]["caption"] == "a mass" and lines[0]["concepts"] == "C1;C2"
    assert [(line["confidence"], line["novelty"]) for line in lines[:4:3]] == [("0.625", "87.5"), ("", "")]
    assert lines[1]["error"] == "/b.png: empty" and lines[1]["score"] == ""


def test_pandas_reads_the_folder(job, tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(tmp_path / "captions")
    assert list(table.columns) == [field.name for field in rows.COLUMNS] and len(table) == 5


def test_an_explained_row_has_maps_and_boxes_of_each_word():
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 0, 0], maps[1] = 1, 1 / 16  # a corner, and nowhere in particular
    values = rows.explained(Caption(words=("a", "mass"), attention=maps))
    table = rows.to_table([{"path": "a", **values}, {"path": "b"}], rows.EXPLAINED, {})
    (row, empty) = table.to_pylist()
    assert row["words"] == ["a", "mass"] and row["grid"] == [4, 4] and row["evidence"] is None
    assert np.reshape(row["attention"], (2, 4, 4)).tolist() == maps.tolist()
    ((box,), none) = row["boxes"]
    assert box[:2] == [0, 0] and max(box) < 0.5 and none == []
    assert empty["attention"] is None
    assert rows.explained(Caption(error="broken")) == {}


def test_another_model_is_refused(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write_json("job.json", {"model": "/runs/a", "digest": "1", "settings": {}, "explain": False})
    bulk._check_same(folder, {"model": "/elsewhere/a", "digest": "1", "settings": {}, "explain": False})
    with pytest.raises(InputError, match="holds captions of /runs/a, and the digest of what is given now differ"):
        bulk._check_same(folder, {"model": "/runs/b", "digest": "2", "settings": {}, "explain": False})


def test_two_jobs_do_not_write_into_one_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"), bulk._locked(str(tmp_path / "file")):
        pass
    job, refused = str(tmp_path / "job"), pytest.raises(InputError, match="another job is writing there")
    with bulk._locked(job), refused, bulk._locked(job):
        pass


def test_the_commonest_reasons_are_listed():
    reasons = rows.failures({"path": f"/{i}", "error": f"/{i}: reason {i % 25}"} for i in range(50))
    assert rows.most_common(reasons)["others"] == 10
