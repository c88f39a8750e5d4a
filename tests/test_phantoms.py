"""Phantoms: the same call draws the same bytes, and what a caption states is where the mask is."""

from __future__ import annotations

import datetime
import hashlib
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from openpyxl.writer import excel

from medcap_tf import phantoms
from medcap_tf.errors import InputError
from medcap_tf.phantoms import CONCEPTS, Phantom, draw_dataset, draw_phantom

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


@pytest.fixture(scope="module")
def many() -> list[Phantom]:
    return [draw_phantom(seed) for seed in range(240)]


# -------------------------------------------------------------------------------------------------------- data set


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
    assert {path.name for path in drawn.iterdir()} == {"train", "valid", "test", "README.txt"}
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
        patch.setattr(phantoms, "draw_phantom", tiring)
        with pytest.raises(KeyboardInterrupt):
            draw_dataset(root, COUNTS, seed=3)
    assert {path.name for path in root.iterdir()} == {"README.txt", "train"}
    (root / ".valid.partial" / "images").mkdir(parents=True)  # as a killed process would leave it
    finished = (root / "train" / "captions.xlsx").stat().st_mtime_ns
    draw_dataset(root, COUNTS, seed=3)
    assert digests(root) == digests(drawn)
    assert {path.name for path in root.iterdir()} == {"README.txt", *COUNTS}
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


# -------------------------------------------------------------------------------------------------------- phantoms


def test_every_scene_and_finding_occurs(many: list[Phantom]) -> None:
    scenes = {(phantom.modality, phantom.region) for phantom in many}
    assert scenes == {
        *(("radiograph", "chest"), ("CT", "chest"), ("CT", "brain"), ("MR", "brain")),
        *(("CT", "abdomen"), ("MR", "abdomen"), ("ultrasound", "abdomen")),
    }
    kinds = {phantom.finding.kind for phantom in many if phantom.finding}
    assert kinds == {
        *("nodule", "consolidation", "effusion", "pneumothorax", "hemorrhage", "infarct", "tumor"),
        *("cyst", "mass", "stone"),
    }


def test_images_vary_in_size_and_aspect(many: list[Phantom]) -> None:
    for phantom in many:
        assert phantom.image.dtype == phantom.mask.dtype == np.uint8
        assert phantom.image.shape == phantom.mask.shape
        assert 180 <= min(phantom.image.shape) <= max(phantom.image.shape) <= 288
        assert phantom.image.std() > 20, "a flat picture"
    aspects = [phantom.image.shape[1] / phantom.image.shape[0] for phantom in many]
    assert min(aspects) < 0.95 < 1.1 < max(aspects)


def test_about_a_fifth_is_normal(many: list[Phantom]) -> None:
    normal = [phantom for phantom in many if phantom.finding is None]
    assert 0.12 < len(normal) / len(many) < 0.28  # three standard deviations of 240 draws at 0.2
    assert all(re.search("normal|abnormality", phantom.caption, re.I) for phantom in normal)


def test_mask_is_there_exactly_when_a_finding_is_stated(many: list[Phantom]) -> None:
    for phantom in many:
        assert set(np.unique(phantom.mask)) == ({0, 255} if phantom.finding else {0})
        assert bool(re.search("normal|abnormality", phantom.caption, re.I)) == (phantom.finding is None)


def test_caption_states_the_finding(many: list[Phantom]) -> None:
    for phantom in many:
        words = re.findall(r"[a-z]+", phantom.caption.lower())
        assert 4 <= len(words) <= 22
        if phantom.finding:
            finding = phantom.finding
            stated = {finding.side, finding.zone, finding.size, "two" if finding.number == 2 else "a"} - {""}
            assert stated <= set(words), phantom.caption
            stems = (finding.kind, "calcul") if finding.kind == "stone" else (finding.kind,)
            assert any(word.startswith(stems) for word in words), phantom.caption


def test_finding_lies_on_the_stated_side(many: list[Phantom]) -> None:
    """The radiological convention: the patient's right is at image left. Ultrasound shows one organ from close by."""
    checked = 0
    for phantom in many:
        if phantom.finding and phantom.finding.side and phantom.modality != "ultrasound":
            centre = np.nonzero(phantom.mask)[1].mean() / phantom.mask.shape[1]
            assert (centre < 0.5) == (phantom.finding.side == "right"), phantom.caption
            checked += 1
    assert checked > 100


def test_finding_lies_in_the_stated_zone(many: list[Phantom]) -> None:
    heights: dict[str, list[float]] = {}
    for phantom in many:
        if phantom.finding and phantom.finding.zone and phantom.modality != "ultrasound":
            rows = np.nonzero(phantom.mask)[0]
            heights.setdefault(phantom.finding.zone, []).append(rows.mean() / phantom.mask.shape[0])
    assert max(heights["upper"]) < min(heights["lower"])
    assert max(heights["anterior"]) < min(heights["posterior"])
    assert max(heights["frontal"]) < min(heights["parietal"])
    assert max(heights["parietal"]) < min(heights["occipital"])


def test_large_findings_are_larger(many: list[Phantom]) -> None:
    areas: dict[tuple[str, str], list[float]] = {}
    for phantom in many:
        if phantom.finding and phantom.finding.number == 1 and phantom.finding.organ != "pleura":
            key = phantom.finding.kind, phantom.finding.size
            areas.setdefault(key, []).append((phantom.mask > 0).mean())
    for kind in ("nodule", "consolidation", "hemorrhage", "infarct", "tumor", "cyst", "mass"):
        assert min(areas[kind, "large"]) > 1.4 * max(areas[kind, "small"]), kind


def test_plural_means_two_separate_spots(many: list[Phantom]) -> None:
    pairs = 0
    for phantom in many:
        if phantom.finding and phantom.finding.kind in ("nodule", "cyst", "stone"):
            spots = cv2.connectedComponents(phantom.mask)[0] - 1
            assert spots == phantom.finding.number, phantom.caption
            pairs += spots == 2
    assert pairs > 5


def test_concepts_are_umls_codes_that_fit(many: list[Phantom]) -> None:
    assert all(re.fullmatch(r"C\d{7}", code) for code in CONCEPTS)
    used = {code for phantom in many for code in phantom.concepts}
    assert used == set(CONCEPTS)
    kinds = {"cyst": "Cyst", "effusion": "Effusion", "tumor": "Neoplasms", "pneumothorax": "Pneumothorax"}
    modalities = {"radiograph": "Plain x-ray", "MR": "Resonance", "ultrasound": "Ultrasonography"}
    for phantom in many:
        names = [CONCEPTS[code] for code in phantom.concepts]
        assert len(set(names)) == len(names)
        assert names[:2] == [
            modalities.get(phantom.modality, "X-Ray Computed Tomography"),
            phantom.region.capitalize(),
        ]
        assert len(names) == 2 if phantom.finding is None else len(names) > 2
        if phantom.finding and phantom.finding.kind in kinds:
            assert names[-1] == kinds[phantom.finding.kind]


def test_vocabulary_is_small_and_not_trivial(many: list[Phantom]) -> None:
    words = {word for phantom in many for word in re.findall(r"[a-z]+[0-9]?", phantom.caption.lower())}
    assert 60 < len(words) < 120
    assert len({phantom.caption for phantom in many}) > 150


def test_draw_phantom_repeats_itself() -> None:
    first, again, other = draw_phantom(11), draw_phantom(11), draw_phantom(12)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first[2:] == again[2:]
    assert first.image.shape != other.image.shape or (first.image != other.image).any()
