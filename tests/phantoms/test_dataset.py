"""The files of a data set: the same call draws the same bytes, and only into a folder of its own."""

from __future__ import annotations

import datetime
import hashlib
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from openpyxl.writer import excel

from medcap_tf.errors import InputError
from medcap_tf.phantoms import Phantom, dataset, draw_dataset, draw_phantom

COUNTS = {"train": 6, "valid": 3, "test": 2}


def digests(root: Path) -> dict[str, str]:
    """Path within `root` -> SHA-256 of the file."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms") / "data"
    draw_dataset(root, COUNTS, seed=3)
    return root


def test_same_call_draws_same_bytes(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=tz)

    # the clock that openpyxl stamps a workbook with
    monkeypatch.setattr(excel, "datetime", SimpleNamespace(datetime=Later, timezone=datetime.timezone))
    draw_dataset(tmp_path / "again", COUNTS, seed=3)
    assert digests(tmp_path / "again") == digests(drawn)


def test_other_seed_draws_other_images(drawn: Path, tmp_path: Path) -> None:
    draw_dataset(tmp_path / "other", COUNTS, seed=4)
    ours, theirs = digests(drawn), digests(tmp_path / "other")
    assert ours.keys() == theirs.keys()
    pictures = [name for name in ours if "/images/" in name]
    assert len(pictures) == 11
    assert all(ours[name] != theirs[name] for name in pictures)


def test_no_image_is_in_two_splits(drawn: Path) -> None:
    pictures = [digest for name, digest in digests(drawn).items() if "/images/" in name]
    assert len(set(pictures)) == len(pictures)


def test_layout_and_tables(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"train", "valid", "test", "README.txt", "concept_names.csv"}
    assert "SYNTHETIC" in (drawn / "README.txt").read_text()
    for split, count in COUNTS.items():
        captions = pd.read_excel(drawn / split / "captions.xlsx")
        concepts = pd.read_excel(drawn / split / "concepts.xlsx")
        assert list(captions.columns) == ["ID", "Caption"]
        assert list(concepts.columns) == ["ID", "CUIs"]
        names = [f"{split}{index:05d}" for index in range(count)]
        assert list(captions.ID) == list(concepts.ID) == names
        for folder in ("images", "masks"):
            assert sorted(path.stem for path in (drawn / split / folder).iterdir()) == names


def test_files_hold_what_draw_phantom_draws(drawn: Path) -> None:
    phantom = draw_phantom([3, zlib.crc32(b"valid"), 1])
    folder = drawn / "valid"
    for kind, pixels in (("images", phantom.image), ("masks", phantom.mask)):
        read = cv2.imread(str(folder / kind / "valid00001.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read, pixels)
    assert pd.read_excel(folder / "captions.xlsx").Caption[1] == phantom.caption
    assert pd.read_excel(folder / "concepts.xlsx").CUIs[1] == ";".join(phantom.concepts)


def test_more_images_change_no_earlier_one(drawn: Path, tmp_path: Path) -> None:
    draw_dataset(tmp_path / "more", {"test": 3, "train": 0}, seed=3)
    more, ours = digests(tmp_path / "more"), digests(drawn)
    assert more["test/images/test00001.png"] == ours["test/images/test00001.png"]
    assert not (tmp_path / "more" / "train").exists()


def test_interrupted_run_leaves_no_split_and_can_be_finished(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, left = tmp_path / "data", 8

    def tiring(seed: list[int]) -> Phantom:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return draw_phantom(seed)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "draw_phantom", tiring)
        with pytest.raises(KeyboardInterrupt):
            draw_dataset(root, COUNTS, seed=3)
    assert {path.name for path in root.iterdir()} == {"README.txt", "concept_names.csv", "train"}
    (root / ".valid.partial" / "images").mkdir(parents=True)  # as a killed process would leave it
    finished = (root / "train" / "captions.xlsx").stat().st_mtime_ns
    draw_dataset(root, COUNTS, seed=3)
    assert digests(root) == digests(drawn)
    assert {path.name for path in root.iterdir()} == {"README.txt", "concept_names.csv", *COUNTS}
    assert (root / "train" / "captions.xlsx").stat().st_mtime_ns == finished, "a finished split was drawn again"


@pytest.mark.parametrize(
    ("counts", "seed", "message"),
    [
        ({"train": 4, "test": -1}, 0, "'test': -1 images"),
        ({"train": 0, "test": 0}, 0, "0 images"),
        ({}, 0, "0 images"),
        ({"../train": 1}, 0, r"split '\.\./train'"),
        ({"train": 1}, -5, "-5 is negative"),
    ],
)
def test_calls_that_cannot_be_drawn(tmp_path: Path, counts: dict[str, int], seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_dataset(tmp_path / "data", counts, seed)
    assert not (tmp_path / "data").exists()


def test_folder_of_another_call_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    draw_dataset(root, {"test": 1}, seed=1)
    before = digests(root)
    with pytest.raises(InputError, match=r"seed 1, test 1.*another folder, or delete"):
        draw_dataset(root, {"test": 1}, seed=2)
    with pytest.raises(InputError, match="seed 1, test 1"):
        draw_dataset(root, {"test": 2}, seed=1)
    assert digests(root) == before


@pytest.mark.parametrize("name", ["holiday.jpg", "train/captions.xlsx"])
def test_folder_of_other_things_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(InputError, match=f"holds no phantoms .*{name.split('/')[0]}"):
        draw_dataset(tmp_path, {"train": 1})
    assert (tmp_path / name).read_bytes() == b"mine"
    assert len(digests(tmp_path)) == 1


def test_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        draw_dataset(tmp_path / "data", {"train": 1})


@pytest.mark.parametrize(("name", "state"), [("images/test00000.png", "missing"), ("images/own.png", "extra")])
def test_changed_split_is_reported(tmp_path: Path, name: str, state: str) -> None:
    draw_dataset(tmp_path / "data", {"test": 1})
    touched = tmp_path / "data" / "test" / name
    if state == "missing":
        touched.unlink()
    else:
        touched.write_bytes(b"mine")
    with pytest.raises(InputError, match=f"{name} is {state}"):
        draw_dataset(tmp_path / "data", {"test": 1})
