"""Sides of maps whose halves are known by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.data.records import Record
from medcap_tf.explain.captioned import CaptionedImage
from medcap_tf.explain.measures import summary
from medcap_tf.explain.side import SideCase, matching_share, side_measure, side_rates, sides_named, view_of


def at(column: int, width: int = 4) -> np.ndarray:
    """A map of 2 rows whose weight is all in one column."""
    grid = np.zeros((2, width), np.float32)
    grid[:, column] = 0.5
    return grid


@pytest.mark.parametrize(
    ("grid", "side", "share"),
    [
        (at(3), "left", 1),  # the patient's left is on the image's right
        (at(3), "right", 0),
        (at(0), "right", 1),
        (at(1, 3), "left", 0),  # its center is at a third of the width
        (at(2), "left", 0.5),  # its center is in the middle
        (at(2, 3), "left", 1),
        (np.full((2, 4), 0.125, np.float32), "left", 0.5),
        (0.2 * at(3) + 0.6 * at(0), "left", 0.5),  # the last column is three times as wide as the first
    ],
)
def test_share_on_the_matching_half(grid, side, share):
    assert matching_share(grid, side) == pytest.approx(share)


def test_a_map_of_zeros_lies_nowhere():
    assert math.isnan(matching_share(np.zeros((2, 4)), "left"))


def case(image: int, side: str, column: int, is_finding: bool = False, is_right: bool = True) -> SideCase:
    return SideCase(image, side, is_finding, is_right, {"attention": at(column), "grad_cam": at(3 - column)})


def test_rates():
    rates = side_rates(
        [case(0, "left", 3), case(1, "right", 0), case(2, "left", 3, is_right=False), case(3, "left", 0),
         case(0, "left", 0, is_finding=True)]
    )  # fmt: skip
    assert rates["words"] == 4 and rates["random"] == 0.5
    assert (rates["attention"], rates["grad_cam"]) == (0.75, 0.25)
    assert rates["attention_mass"] == 0.75
    assert rates["right_attention"] == pytest.approx(2 / 3)
    assert rates["finding_attention"] == 0
    assert 0 <= rates["attention_low"] < 0.75 < rates["attention_high"] <= 1
    assert side_rates([]) == {} == side_rates([case(0, "left", 0, is_finding=True)])


def test_words_that_name_sides():
    assert sides_named("Nodule in the Left upper lung.".split()) == {"left"}
    assert sides_named("right, then left.".split()) == {"left", "right"}
    assert sides_named(["bright", "leftover"]) == set()


def item(caption: str, concepts: tuple[str, ...] = (), generated: str = "cyst left") -> CaptionedImage:
    words = tuple(generated.split())
    return CaptionedImage(
        Record("a", Path("a.png"), caption, concepts),
        Caption(Path("a.png"), words, words),
        np.zeros((4, 4, 3), np.uint8),
    )


CAPTIONER = SimpleNamespace(concept_names={"C1": "lateral", "C2": "Ultrasonography"})


@pytest.mark.parametrize(
    ("caption", "concepts", "view"),
    [
        ("PA chest radiograph", (), "frontal"),
        ("Axial CT of the brain", (), "axial"),
        ("Chest radiograph", ("C1",), "other"),
        ("Cyst of the left kidney", ("C2",), "other"),
        ("Sagittal MRI of the knee", (), "other"),
        ("Cyst of the left kidney", (), ""),
    ],
)
def test_views(caption, concepts, view):
    assert view_of(CAPTIONER, item(caption, concepts)) == view


class Attributed:
    """Maps that lie on the image's right for every word."""

    def words(self, pixels, tokens):
        maps = np.stack([at(3), at(3)])
        return SimpleNamespace(compared=lambda: {"attention": maps, "grad_cam": maps})


def test_the_measure_says_what_it_assumed_and_left_out():
    images = [
        item("Axial CT, cyst on the left"), item("Cyst on the right"), item("Lateral radiograph"),
        item("CT", generated="cyst right left"), item("CT", generated="cyst"),
    ]  # fmt: skip
    found = side_measure(CAPTIONER, Attributed(), images, {"cyst": "finding"})
    assert {name: found[name] for name in ("images", "assumed", "left_out", "words")} == {
        "images": 2, "assumed": 1, "left_out": 1, "words": 2,
    }  # fmt: skip
    assert found["attention"] == found["finding_attention"] == 1
    assert side_measure(CAPTIONER, Attributed(), images[2:], {}) == {}


def test_the_summary_tells_of_sides_where_no_mask_does():
    audit = {"erasure": {}, "pointing_game": {}, "pointing_intervals": {}, "pointing_groups": {}, "word_deletion": {}}
    side = {"words": 40, "attention": 0.8, "attention_low": 0.66, "attention_high": 0.91, "grad_cam": 0.5}
    sentence = summary({**audit, "side": side})[1]
    assert "of 40 words that name a side, 80% (66% to 91%)" in sentence
    assert summary(audit)[1].endswith("with a mask.")
