"""Concept scores: answers computed by hand, and each against a second writing of it on random concepts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics import (
    concept_f1,
    concept_map,
    concept_map_note,
    concept_parts,
    concept_scores,
    notes_on,
)

CODES = [f"C{n}" for n in range(12)]


@pytest.mark.parametrize(
    ("references", "predictions", "score"),
    [
        ([["C1", "C2"]], [["C1", "C2"]], 1.0),
        ([["C1", "C2"]], [["C2", "C3", "C4"]], 2 / 5),  # 1 hit, 1 missed, 2 false: 2 / (2 + 1 + 2)
        ([["c1"]], [["C1", "c1"]], 1.0),  # case does not matter, nor does saying it twice
        ([["C1"]], [[]], 0.0),
        ([[], ["C1"]], [["C9"], ["C1"]], 1.0),  # no true concept: the image is left out
        ([["C1"], ["C2"], []], [["C1"], ["C3"], []], 1 / 2),
    ],
)
def test_concept_f1(references, predictions, score):
    assert concept_f1(references, predictions) == pytest.approx(score)


def test_concept_f1_without_any_true_concept():
    with pytest.raises(InputError, match="none of the 2 images"):
        concept_f1([[], []], [["C1"], []])


def test_micro_and_macro_f1_by_hand():
    truth = [["C1", "C2"], ["c1"], []]
    named = [["C1"], ["C1", "C3"], ["C4"]]
    found = concept_scores(truth, named)
    assert found["concept_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["concept_micro_f1"] == pytest.approx(2 * 2 / (3 + 4))  # 2 hits, 3 true, 4 named
    assert found["concept_macro_f1"] == pytest.approx((1 + 0 + 0 + 0) / 4)  # C1 right, C2 missed, C3 and C4 false


def test_f1_against_tables_of_zeros_and_ones():
    draw = random.Random(3)
    truth = [[c for c in CODES if draw.random() < 0.3] for _ in range(40)]
    named = [[c for c in CODES if draw.random() < (0.6 if c in true else 0.1)] for true in truth]
    t, p = (np.array([[c in codes for c in CODES] for codes in sets]) for sets in (truth, named))
    hits, false, missed = t & p, p & ~t, t & ~p
    per_concept = [2 * h.sum() / (2 * h.sum() + f.sum() + m.sum()) for h, f, m in zip(hits.T, false.T, missed.T)]
    per_image = [
        2 * h.sum() / (2 * h.sum() + f.sum() + m.sum()) for h, f, m, true in zip(hits, false, missed, t) if true.any()
    ]
    found = concept_scores(truth, named)
    assert found["concept_macro_f1"] == pytest.approx(np.mean(per_concept))
    assert found["concept_f1"] == pytest.approx(np.mean(per_image))
    assert found["concept_micro_f1"] == pytest.approx(2 * hits.sum() / (2 * hits.sum() + false.sum() + missed.sum()))


def test_mean_average_precision_by_hand():
    truth = [["A"], [], ["A", "never learned"], ["b"]]
    scores = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.5], [0.7, 0.3, 0.5], [0.1, 0.3, 0.5]])
    first = (1 / 1 + 2 / 3) / 2  # A at ranks 1 and 3
    second = 1 / 2  # B shares rank 1 with an image that has it not
    assert concept_map(truth, scores, ["A", "B", "C"]) == pytest.approx((first + second) / 2)  # C is true of none
    assert concept_map([[], []], scores[:2], ["A", "B", "C"]) is None


def test_mean_average_precision_against_every_threshold():
    draw = np.random.default_rng(5)
    wanted = draw.random((50, len(CODES))) < 0.2
    scores = np.round(draw.random((50, len(CODES))) + 0.3 * wanted, 1)  # rounded, so that many are equal
    expected = []
    for column, values in zip(wanted.T, scores.T):
        area, before = 0.0, 0.0
        for threshold in sorted(set(values), reverse=True):
            named = values >= threshold
            recall = (column & named).sum() / column.sum()
            area += (recall - before) * (column & named).sum() / named.sum()
            before = recall
        expected.append(area)
    truth = [[code for code, has in zip(CODES, row) if has] for row in wanted]
    assert concept_map(truth, scores, CODES) == pytest.approx(np.mean(expected))


def test_f1_of_few_true_concepts_says_so():
    truth = [["C1"]] * 2 + [[]] * 18
    assert notes_on(concept_parts(truth, truth)) == {"concept_f1": "only 2 of 20 images have a true concept"}
    assert notes_on(concept_parts([["C1"]] * 20, truth)) == {}
    nothing = concept_parts(truth, truth)["concept_f1"].of(np.arange(5, 20))
    assert np.isnan(nothing.score()) and nothing.note() == "no image has a true concept"


def test_precision_of_a_concept_that_all_images_have_is_1_whatever_the_scores():
    truth = [["C1", "c2"], ["C1"], ["c1"]]
    assert concept_map(truth, np.random.default_rng(0).random((3, 1)), ["C1"]) == 1
    assert "any scores have 1" in concept_map_note(truth, ["C1"])
    assert concept_map_note(truth, ["C1", "C2"]) == concept_map_note(truth, ["C9"]) == ""
    assert "any scores have 1" in concept_map_note(truth[:1], ["C1", "C2"])  # one image
