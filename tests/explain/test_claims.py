"""Captions with one fault each, and captions without any."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.explain.claims import doubtful_claims


def faults(caption, maps=None, concepts=()):
    return [(doubt.word, doubt.claim, doubt.rule) for doubt in doubtful_claims(caption.split(), maps, concepts)]


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("A cyst (white arrow) in the liver", [(2, "(white arrow)", "mark")]),
        ("arrows and arrowheads", [(0, "arrows", "mark"), (2, "arrowheads", "mark")]),
        ("a narrow start, starfish", []),
        ("a mass of 2.5 x 3 cm", [(3, "2.5 x 3 cm", "measurement")]),
        ("a 12-mm nodule, 40 HU", [(1, "12-mm", "measurement"), (3, "40 HU", "measurement")]),
        ("level L4-L5 at 3 months, 2 cysts, T1-weighted", []),
        ("card ##iac \ufffd <unk> strngth bones", [
            (1, "##iac", "unreadable"), (2, "\ufffd", "unreadable"), (3, "<unk>", "unreadable"),
            (4, "strngth", "unreadable"),
        ]),
        ("rhythm of NSCLC stage III, MRCP", []),
        ("the the cyst", [(1, "the", "repeated")]),
        ("a left cyst a left cyst", [(3, "a left cyst", "repeated")]),
        ("left and right and left", []),
        ("", []),
    ],
)  # fmt: skip
def test_claims_that_no_model_can_know(caption, found):
    assert faults(caption) == found


@pytest.mark.parametrize(
    ("caption", "concepts", "found"),
    [
        ("Axial CT of the brain", ["Magnetic Resonance Imaging"], [(1, "ct", "modality")]),
        ("Axial CT of the brain", ["X-Ray Computed Tomography"], []),
        ("Magnetic resonance of the brain", ["CT"], [(0, "magnetic resonance", "modality")]),
        ("Axial CT of the brain", ["Brain"], []),
        ("A film of the brain", ["CT"], []),
        ("Chest radiograph", ["X-Ray Computed Tomography", "Chest"], [(1, "radiograph", "modality")]),
        ("An MRI", ["Resonance"], []),
        ("An MRI", ["Resonance", "Ultrasonography"], []),  # the concepts do not agree
    ],
)
def test_modality_against_the_concepts(caption, concepts, found):
    assert faults(caption, concepts=concepts) == found


def maps(words, on_right):
    """Each word's map lies on one half of the image: the right one where its place is in `on_right`."""
    grid = np.zeros((len(words), 2, 4))
    for place in range(len(words)):
        grid[place, :, 3 if place in on_right else 0] = 1
    return grid


def test_sides_against_their_maps():
    words = "nodule in the left lung".split()
    assert faults(" ".join(words), maps(words, {3, 4})) == []  # the patient's left is on the image's right
    assert faults(" ".join(words), maps(words, {0, 1, 2})) == [(3, "left lung", "side")]
    # Half of a phrase's map there is no contradiction.
    assert faults(" ".join(words), maps(words, {3})) == []
    [doubt] = doubtful_claims(words, maps(words, set()))
    assert doubt.reason == "100% of its map lies on the other half of the image, the patient's right by convention"


def test_each_side_of_two_has_its_phrase():
    words = "left and right lungs".split()
    assert faults("left and right lungs", maps(words, {0, 1})) == []
    assert faults("left and right lungs", maps(words, {2, 3})) == [
        (0, "left and", "side"), (2, "right lungs", "side")
    ]  # fmt: skip


@pytest.mark.parametrize("caption", ["lateral view of the left lung", "ultrasound of the left kidney"])
def test_views_without_sides_are_not_questioned(caption):
    assert faults(caption, maps(caption.split(), set())) == []


def test_a_map_of_nothing_contradicts_nothing():
    words = "left lung".split()
    assert faults("left lung", np.zeros((2, 2, 4))) == [] and faults("left lung", maps(words, set())) != []
