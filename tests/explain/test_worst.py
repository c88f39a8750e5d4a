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
    return Caption(Path(f"{name}.png"), tuple(text.split()), error=error)


def test_lowest_first_unreadable_before_all_and_unknown_left_out():
    captions = [
        caption("same", "ct of the chest"), caption("half", "ct of the chest"), caption("other", "ct of the chest"),
        caption("unknown", "ct"), caption("broken", "", "no image"), caption("silent", ""),
    ]  # fmt: skip
    found = [one.path.stem for one in worst(captions, REFERENCES, 10)]
    assert found[0] == "broken"
    assert set(found[1:3]) == {"other", "silent"} or found[1] == "silent"
    assert found[-2:] == ["half", "same"]
    assert "unknown" not in found
    assert [one.path.stem for one in worst(captions, REFERENCES, 2)] == found[:2]
