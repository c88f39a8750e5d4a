"""Bulk captioning while a node and the driver are killed: every image has one row, that of `medcap caption`."""

from __future__ import annotations

import json
import shutil
import time

import pytest

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

import pyarrow.parquet as pq

import medcap_tf
from tests.cluster.namespace import PORT, kill_tree, loopback_alone, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(phantoms, tmp_path_factory):
    """48 images, and two files that are none."""
    folder = tmp_path_factory.mktemp("source")
    for path in phantoms.glob("*/images/*"):
        shutil.copy(path, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "empty.jpg").touch()
    return folder


def read_rows(out):
    return [row for path in sorted((out / "captions").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def count_parts(out):
    return len(list((out / "captions").glob("part-*.parquet")))


def test_every_image_has_one_row_after_a_node_and_the_driver_were_killed(first_version, source, tmp_path):
    out, run = tmp_path / "out", first_version / "run"
    arguments = ["-m", "medcap_tf", "cluster", "caption", run, source, "--out", out, "--address", f"127.0.0.1:{PORT}"]
    with loopback_alone() as inside:
        inside.start_node(head=True)
        node = inside.start_node(head=False)
        driver = inside.start(*arguments, "--part-size", "4")
        wait_for(lambda: count_parts(out) or driver.poll() is not None, "first part")
        kill_tree(node)
        parts = count_parts(out)
        wait_for(lambda: count_parts(out) > parts + 1 or driver.poll() is not None, "part after the node's death")
        assert driver.poll() is None, driver.log.read_text()
        driver.kill()
        driver.wait()
        before = read_rows(out)
        assert 0 < len(before) < 50 and not (out / "summary.json").exists()
        began = time.monotonic()
        printed = inside.run(*arguments)
    assert f"{out}: 50 rows, " in printed and "2 images could not be read" in printed
    print(f"{len(before)} rows before, all {time.monotonic() - began:.0f} s later")
    rows = read_rows(out)
    assert sorted(row["path"] for row in rows) == sorted(map(str, source.iterdir()))
    assert [row for row in rows if row in before] == before
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["failed"], summary["new"]) == (50, 2, 50 - len(before))
    expected = medcap_tf.load(run).caption(sorted(source.iterdir()))
    for row, caption in zip(sorted(rows, key=lambda row: row["path"]), expected):
        assert (row["caption"] or "", row["error"] or "") == (caption.text, caption.error)
        assert row["error"] or row["score"] == pytest.approx(caption.score, abs=1e-4)
