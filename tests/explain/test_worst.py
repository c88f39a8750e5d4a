"""Which captions are furthest from their references."""

from __future__ import annotations

from pathlib import Path

from medcap_tf.caption import Caption
from medcap_tf.explain.worst import worst

REFERENCES = {
    "same": "ct of the chest",
    "half": "ct of the liver",
    "other": "mri of a knee",
    "silent": "an x-ray",
    "broken": "x",
}


def caption(name: str, text: str, error: str = "") -> Caption:
    return Caption(Path(f"in/{name}.png"), tuple(text.split()), error=error, image_id=name)


def test_lowest_first_unreadable_before_all_and_unknown_left_out():
    captions = [
        caption("same", "ct of the chest"), caption("half", "ct of the chest"), caption("other", "ct of the chest"),
        caption("unknown", "ct"), caption("broken", "", "no image"), caption("silent", ""),
    ]  # fmt: skip
    found = [one.image_id for one in worst(captions, REFERENCES, 10)]
    assert found[0] == "broken"
    assert set(found[1:3]) == {"other", "silent"} or found[1] == "silent"
    assert found[-2:] == ["half", "same"]
    assert "unknown" not in found
    assert [one.image_id for one in worst(captions, REFERENCES, 2)] == found[:2]


def test_files_of_one_name_have_each_its_own_reference():
    captions = [Caption(Path(f"{study}/0.png"), ("knee", "fracture"), image_id=f"{study}/0") for study in "abc"]
    references = {"a/0": "knee fracture", "b/0": "chest", "c/0": "knee mass"}
    assert [one.image_id for one in worst(captions, references, 3)] == ["b/0", "c/0", "a/0"]


def test_without_an_id_it_is_the_path_that_tells():
    captions = [Caption(Path(f"{study}/0.png"), ("knee",)) for study in "ab"]
    assert [one.key for one in worst(captions, {"a/0.png": "knee", "b/0.png": "chest"}, 2)] == ["b/0.png", "a/0.png"]
    assert worst(captions, {"0": "knee"}, 2) == []
