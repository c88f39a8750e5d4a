"""Concepts, sides and organs that captions name, against what is true: counted by hand."""

from __future__ import annotations

import pytest

from medcap_tf.evaluation.metrics.findings import ConceptNames, finding_parts, wrong_organs

NAMES = ConceptNames(
    {
        "C1": "Effusion",
        "C2": "Pleural effusion",
        "C3": "Pacemaker, Artificial",
        "C4": "Cysts (disorder)",
        "C5": "T1-weighted",
        "C6": "(none)",
    }
)


@pytest.mark.parametrize(
    ("caption", "codes"),
    [
        ("A small effusion.", {"C1"}),
        ("Pleural effusions on both sides", {"C2"}),  # the longer name, as stems
        ("Pleural effusion, and an effusion of the knee", {"C1", "C2"}),
        ("Effusion without pleural thickening", {"C1"}),
        ("artificial pacemaker", {"C3"}),  # as people write what an index writes with a comma
        ("effusion, pleural", {"C1"}),
        ("pacemaker", set()),  # half a name is none
        ("T1-weighted MRI with a cyst", {"C4", "C5"}),
        ("", set()),
    ],
)
def test_names_in_captions(caption, codes):
    assert NAMES.claims(caption).concepts == codes


def test_codes_of_an_image_are_true_of_it_and_their_names_name_organs():
    claims = ConceptNames({"L": "Liver", "X": "unnamed"}).claims("a cyst on the left", ["L", "Z"])
    assert claims == ({"L", "Z"}, {"left"}, {"liver"})


def scores(references, candidates, codes=None):
    parts = finding_parts(references, candidates, codes or [()] * len(references), NAMES)
    return {name: part.score() for name, part in parts.items() if not part.note()}


def test_precision_and_recall():
    assert scores(["effusion and a cyst", "cyst"], ["effusion, pleural effusion", "nothing"]) == {
        "finding_precision": 1 / 2,  # of effusion and pleural effusion
        "finding_recall": 1 / 3,
    }
    # What the image's codes say is no invention.
    assert scores(["film"], ["a cyst"], [("C4",)]) == {"finding_precision": 1}


def test_sides():
    references = ["cyst of the left side", "bilateral cyst", "right cyst", "cyst", "left"]
    candidates = ["cyst of the right side", "left cyst", "bilateral cyst", "left cyst", "cyst"]
    # Three images count: right for left is wrong, left for bilateral is not, bilateral for right is.
    assert scores(references, candidates)["wrong_side"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("named", "true", "wrong"),
    [
        ({"lung"}, {"lung"}, set()),
        ({"liver"}, {"kidney"}, {"liver"}),
        ({"lung"}, {"chest"}, set()),  # the region is true, and the organ is not contradicted
        ({"chest"}, {"heart"}, set()),
        ({"abdomen"}, {"heart"}, {"abdomen"}),
        ({"lung", "liver"}, {"heart", "chest"}, {"liver"}),
        ({"liver"}, set(), set()),
    ],
)
def test_organs(named, true, wrong):
    assert wrong_organs(named, true) == wrong


def test_wrong_organs_by_their_words():
    assert scores(["renal stone", "chest film", "film"], ["hepatic stone", "lungs", "liver"])["wrong_organ"] == 1 / 2


def test_nothing_to_count_is_said():
    parts = finding_parts(["film"], ["film"], [()], NAMES)
    assert [part.note() for part in parts.values()] == [
        "no caption names a concept",
        "no reference names a concept",
        "no image has a side in both its reference and its caption",
        "no image has an organ in both its reference and its caption",
    ]
