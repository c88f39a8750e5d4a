"""A data set of five records whose every count is known by hand."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from medcap_tf.data.doctor import examine, render
from medcap_tf.data.records import Dataset, Problem, Record
from medcap_tf.text import Normalizer


@pytest.fixture
def dataset(tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no image")

    def record(name: str, caption: str, concepts: tuple[str, ...] = (), row: int = 0) -> Record:
        return Record(name, tmp_path / f"{name}.png", caption, concepts, row)

    train = [
        record("a", "The Lungs, clear lungs.", ("C1", "C2"), 2),
        record("b", "Clear lung", ("C1",), 3),
        record("c", "Clear lung", (), 4),
    ]
    test = [record("d", "Clear lung", ("C1", "C3"), 2), record("e", "The of", (), 3)]
    problems = [Problem("train/captions.csv", 9, "missing image: no file for 'z'")]
    tables = {"train": "train/captions.csv", "test": "test/captions.csv"}
    return Dataset(tmp_path, {"train": train, "test": test}, problems, tables)


def test_counts(dataset):
    report = examine(dataset, Normalizer(), min_counts=(1, 3, 4, 5))
    assert report["splits"]["train"] == {
        "images": 3,
        "captions": 3,
        "concepts": 2,
        "concept_assignments": 3,
        "concepts_per_record": 1.0,
        "records_without_concepts": 1,
        "repeated_captions": 1,
        # the lungs clear lungs / clear lung / clear lung
        "raw_words": {
            "tokens": 8,
            "distinct": 4,
            "length": {"min": 2, "mean": 2.67, "median": 2, "p95": 4, "max": 4},
        },
        # lung clear lung / clear lung / clear lung
        "normalised_words": {
            "tokens": 7,
            "distinct": 2,
            "length": {"min": 2, "mean": 2.33, "median": 2, "p95": 3, "max": 3},
        },
    }
    assert report["vocabulary"] == {"1": 2, "3": 2, "4": 1, "5": 0}  # lung 4 times, clear 3 times
    assert report["shared"] == {"train and test": {"captions": 1, "records": 1, "concepts": 1}}


def test_problems_are_those_of_the_data_set_and_those_found(dataset):
    problems = examine(dataset, Normalizer())["problems"]
    assert problems == [
        {"file": "train/captions.csv", "row": 9, "problem": "missing image: no file for 'z'"},
        {"file": "test/captions.csv", "row": 3, "problem": "no words left: of 'e', whose caption is 'The of'"},
        {"file": "b.png", "row": 0, "problem": problems[2]["problem"]},
    ]
    assert problems[2]["problem"].startswith("unreadable image: not a readable image")


def test_images_that_look_alike_in_two_splits(dataset, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    large = cv2.resize(image, (96, 96), interpolation=cv2.INTER_CUBIC)
    for name, side in (("a", 96), ("d", 64)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA))
    report = examine(dataset, Normalizer())
    assert report["near_duplicates"] == {"train and test": 1}
    assert report["problems"][-1]["file"] == "d.png"
    assert "'d' of test looks like 'a' of train" in report["problems"][-1]["problem"]
    assert "train and test       1" in render(report)


def test_images_need_not_be_decoded(dataset):
    problems = examine(dataset, Normalizer(), check_images=False)["problems"]
    assert not any("unreadable" in p["problem"] for p in problems)


def test_captions_that_are_what_programs_write_for_none(dataset):
    dataset.splits["train"][0] = Record("a", None, "NaN", (), 2)
    problems = examine(dataset, Normalizer(), check_images=False)["problems"]
    assert problems[-1] == {
        "file": "train/captions.csv",
        "row": 2,
        "problem": "caption like a blank: 'NaN' of 'a' is learned as it stands",
    }


def test_an_id_in_two_splits(dataset):
    dataset.splits["test"].append(dataset.splits["train"][0])
    problems = examine(dataset, Normalizer(), check_images=False)["problems"]
    assert problems[-1] == {
        "file": "test/captions.csv",
        "row": 2,
        "problem": "ID in two splits: 'a' is in train, too",
    }


def test_images_without_captions_and_text_without_images(tmp_path):
    splits = {
        "valid": [Record("a", None, "Clear lung", ())],
        "test": [Record("b", None, "", ())],
    }
    report = examine(Dataset(tmp_path, splits, []), Normalizer())
    assert report["splits"]["valid"]["images"] == 0
    assert report["splits"]["test"]["captions"] == 0
    assert report["splits"]["test"]["raw_words"]["length"]["max"] == 0
    assert report["vocabulary"]["1"] == 0
    assert report["problems"] == []
    assert render(report).endswith("No problems.")


def test_the_report_is_json(dataset):
    report = examine(dataset, Normalizer())
    assert json.loads(json.dumps(report)) == report


def test_render_aligns_numbers_and_groups_problems(dataset):
    dataset.problems.extend(Problem("train/captions.csv", row, f"missing image: {row}") for row in range(10, 1210))
    lines = render(examine(dataset, Normalizer(), check_images=False)).splitlines()
    assert lines[0].split() == ["train", "test"]
    assert lines[1].split() == ["images", "3", "2"]
    assert len(lines[0]) == len(lines[1])
    start = lines.index("missing image (1,201)")
    assert lines[start - 2] == "Problems: 1,202"
    assert lines[start + 1] == "  train/captions.csv, row 9: no file for 'z'"
    assert lines[start + 4] == "  ... and 1,198 more"
    assert lines[start + 6] == "no words left (1)"
