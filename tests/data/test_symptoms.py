"""Captions and codes that are hard to learn from, each named with its row."""

from __future__ import annotations

import pytest

from medcap_tf.data.records import Dataset, Record
from medcap_tf.data.symptoms import (
    concept_tail,
    differing_modes,
    disagreeing_manual,
    junk_captions,
    nameless_codes,
    overlong_captions,
)


def dataset(tmp_path, *captions, names=None, concepts=(), manual=None):
    records = [Record(str(i), None, caption, concepts, i + 2, manual) for i, caption in enumerate(captions)]
    return Dataset(tmp_path, {"train": records}, [], {"train": "captions.csv"}, names or {})


@pytest.mark.parametrize(
    "caption",
    [
        *("Continued", "(continued)", "Continued.", "Cont.", "Video Link:", "Supplementary Video 2", "Figure 2"),
        *("Fig. 3A", "Image b", "Case 1", "See text for details.", "https://a.org/x.mp4", "1.", "..."),
        *("No caption available", "Legend", "Copyright 2019 The Authors", "View figure", "Click here to enlarge"),
    ],
)  # fmt: skip
def test_junk(tmp_path, caption):
    [problem] = junk_captions(dataset(tmp_path, "A cyst", caption))
    assert (problem.row, problem.file) == (3, "captions.csv") and problem.problem.startswith("junk caption: ")


@pytest.mark.parametrize(
    "caption",
    [
        *("CT", "View of the left hip", "Contrast CT", "Continuous murmur", "Case of a cyst"),
        *("Figure 2 shows a cyst", "Video fluoroscopy of swallowing", "No cyst", "Chest film (continued)"),
        *("L4-L5", "Patient with a mass", "Panel B: axial CT", "See-saw fracture", "Data from a 3T scanner"),
    ],
)  # fmt: skip
def test_no_junk(tmp_path, caption):
    assert list(junk_captions(dataset(tmp_path, caption))) == []


def test_overlong(tmp_path):
    [problem] = overlong_captions(dataset(tmp_path, "word " * 100, "word " * 101))
    assert problem.row == 3 and "101 words" in problem.problem


def test_the_tail_of_the_concepts():
    train = [
        Record(str(i), None, "x", ("A", *(("B",) if i < 5 else ()), *(("C",) if i < 1 else ()))) for i in range(60)
    ]
    test = [Record("t", None, "x", ("A", "D")), Record("u", None, "x", ("D", "E"))]
    assert concept_tail({"train": train, "test": test}) == {
        "at_most": {"1": 1, "5": 2, "10": 2, "50": 2},
        "unseen": {"test": 2},
        "unseen_assignments": {"test": 3},
    }
    assert concept_tail({"test": test}) == {} and concept_tail({"train": [Record("a", None, "x", ())]}) == {}


def test_codes_checked_by_hand_that_the_others_lack(tmp_path):
    data = dataset(tmp_path, "x", concepts=("A", "B"), manual=("A", "Z"))
    [problem] = disagreeing_manual(data)
    assert problem.problem == "manual concept apart: Z of '0' is not among its concepts"
    assert list(disagreeing_manual(dataset(tmp_path, "x", concepts=("A",), manual=("A",)))) == []
    assert list(disagreeing_manual(dataset(tmp_path, "x", concepts=("A",)))) == []


def test_codes_without_a_name(tmp_path):
    [problem] = nameless_codes(dataset(tmp_path, "x", concepts=("A", "B"), names={"A": "a"}))
    assert "1 of 2 codes have none (B)" in problem.problem
    assert list(nameless_codes(dataset(tmp_path, "x", concepts=("A",)))) == []


def test_modes():
    modes = {"train": {f"{i}.png": "L" for i in range(50)}, "test": {"a.png": "L", "b.png": "RGBA"}}
    [problem] = differing_modes(modes)
    assert problem.file == "b.png" and problem.problem == "differing mode: RGBA, where most images are L"
    assert list(differing_modes({"train": {"a": "L", "b": "RGB"}})) == []
