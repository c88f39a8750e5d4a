"""One method's answers under everything that they are scored by."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medcap_tf.data.records import Record
from medcap_tf.evaluation.answers import Answers
from medcap_tf.evaluation.neural import EditionChoice
from medcap_tf.evaluation.score_files import format_scores
from medcap_tf.evaluation.scoring import Yardstick, score_answers

TRAINING = [Record(str(i), None, "left cyst", ("A", *(("R",) if i == 0 else ()))) for i in range(200)]
NAMES = {"A": "Cyst", "R": "Stone"}
TRUTH = [
    Record(
        "a", None, "cyst of the left kidney", ("A",), manual=("C1306645",), written="Cyst of the left kidney \u2013"
    ),
    Record("b", None, "stone", ("R", "never seen"), manual=()),
]
ANSWERS = Answers(["cyst of the right kidney", "cyst"], [["A", "C1306645"], ["A"]], np.array([[0.9, 0.1], [0.8, 0.3]]))


def scored(answers=ANSWERS, year=None):
    edition = EditionChoice(year) if year else None
    return score_answers(TRUTH, answers, Yardstick.of(TRAINING, ["A", "R"], NAMES, edition))


def test_findings_and_frequencies():
    scores = scored().scores
    assert scores["finding_precision"] == scores["finding_recall"] == 0.5
    assert scores["wrong_side"] == 1 and scores["wrong_organ"] == 0
    assert scores["concept_f1_frequent"] == pytest.approx(2 / 3)  # A: true once, named twice
    assert scores["concept_f1_rare"] == 0  # R and two that training has not


def test_what_cannot_be_counted_is_none_and_json():
    result = scored(ANSWERS._replace(captions=["film", "film"]))
    assert result.scores["wrong_side"] is None and "wrong_side" not in result.parts
    assert result.notes["wrong_side"].startswith("not computed: no image has a side")
    json.dumps(result.scores, allow_nan=False)


def test_an_edition_reads_captions_as_written_and_codes_checked_by_hand():
    result = scored(year="2026")
    assert result.scores["imageclef_2026_rouge_1"] == pytest.approx((4 / 5 + 0) / 2)
    assert result.scores["imageclef_2026_concept_f1_manual"] == 1
    assert result.scores["imageclef_2026_overall"] is None
    assert "1 of its 6 parts" in result.notes["imageclef_2026_overall"]


def test_concepts_alone():
    result = scored(ANSWERS._replace(captions=None), "2026")
    assert set(result.scores) >= {"concept_f1", "concept_f1_rare", "concept_map", "imageclef_2026_concept_f1"}
    assert not {"bleu_4", "mean_length", "finding_precision"} & set(result.scores)


def test_the_table_for_people():
    whole, concepts = scored(year="2026"), scored(ANSWERS._replace(captions=None))
    scores = {"split": "test", "images": 2, "model": whole.scores, "thresholds_by_label": concepts.scores}
    rows = {line.split()[0]: line.split()[1:] for line in format_scores(scores).splitlines()}
    assert rows["imageclef_2026_bleurt"] == ["not", "computed", "-"]
    assert rows["bleu_1"][1] == "-" and rows["concept_f1_rare"] == ["0.0000", "0.0000"]
