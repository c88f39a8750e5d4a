"""Fits and scores of confidence and novelty, with answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.data.records import Record
from medcap_tf.evaluation.calibration import (
    LEAST_IMAGES,
    Bins,
    calibrate,
    calibration_scores,
    fit_logistic,
    judge,
    names_no_wrong_concept,
    rank_correlation,
    recalibrated,
    risk_coverage,
)
from medcap_tf.evaluation.metrics import finding_parts
from medcap_tf.evaluation.metrics.findings import ConceptNames

NAMES = {"C1": "Cyst", "C2": "Kidney"}


def captioned(text="cyst", scores=(0.9, 0.1), confidence=None, novelty=None, **signals):
    return Caption(
        words=tuple(text.split()), concept_scores=np.array(scores, np.float32), confidence=confidence,
        novelty=novelty, signals=signals,
    )  # fmt: skip


def test_a_caption_is_right_where_every_concept_it_names_is_there():
    captions = [Caption(words=tuple(text.split())) for text in ("cyst kidney", "cyst", "normal film")]
    records = [Record("i", None, "left kidney", codes) for codes in ((), ("C1",), ())]
    assert names_no_wrong_concept(captions, records, NAMES).tolist() == [False, True, True]


def test_the_fit_finds_the_odds_it_was_drawn_from():
    rng = np.random.default_rng(0)
    features = rng.normal([3.0, -1.0], [2.0, 0.5], (20000, 2))
    logits = features @ [0.5, -2.0] - 1
    weights, offset = fit_logistic(features, rng.uniform(size=20000) < 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose([*weights, offset], [0.5, -2.0, -1.0], atol=0.15)


@pytest.mark.parametrize(("right", "expected"), [(np.ones(30, bool), 31 / 32), (np.zeros(30, bool), 1 / 32)])
def test_answers_that_are_all_alike_leave_some_doubt(right, expected):
    weights, offset = fit_logistic(np.random.default_rng(0).normal(size=(30, 1)), right)
    np.testing.assert_allclose(weights, 0, atol=1e-6)
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(expected)


def test_a_feature_of_one_value_weighs_nothing():
    right = np.arange(40) % 4 > 0
    weights, offset = fit_logistic(np.full((40, 1), 7.0), right)
    assert weights[0] == pytest.approx(0, abs=1e-9) and 1 / (1 + np.exp(-offset)) == pytest.approx(0.75, abs=0.03)


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    sure = np.array([0.95, 0.95, 0.15, 0.15])
    bins = Bins.of(sure, np.array([True, True, False, False]))
    assert bins.error == pytest.approx(0.1)
    assert Bins.of(np.array([0.5, 0.55]), np.array([True, False])).error == pytest.approx(0.025)
    assert Bins.of(np.array([1.0, 0.0]), np.array([True, False])).error == 0
    wrong = Bins.of(np.array([1.0, 0.0]), np.array([False, True]))
    assert wrong.error == 1
    assert bins.and_of(wrong).error == pytest.approx((2.9 - 2 + 0.3 + 1) / 6)


def test_ranks_alone_are_correlated():
    assert rank_correlation(np.array([1, 2, 3]), np.array([10, 100, 1000])) == pytest.approx(1)
    assert rank_correlation(np.array([1, 2, 2]), np.array([3, 1, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1, 2, 3]), np.ones(3)) is None


def test_risk_grows_with_what_is_shown_and_ties_share_theirs():
    right = np.array([True, False, True, True])
    found = risk_coverage(np.array([0.9, 0.1, 0.8, 0.7]), right)
    np.testing.assert_allclose(found, [0, 0, 0, 0.25])
    np.testing.assert_allclose(risk_coverage(np.array([0.9, 0.5, 0.5, 0.5]), right), [0, 1 / 6, 2 / 9, 0.25])


def validation(count=60):
    """Captions whose named concept is there as often as its score says, and the records."""
    rng = np.random.default_rng(1)
    captions, records = [], []
    for i in range(count):
        score = float(rng.choice([0.3, 0.9]))
        there = bool(rng.uniform() < score)
        unsure = min(score, 1 - score)
        captions.append(
            captioned("cyst", (score, 0.01), weakest=score, undecided=unsure, energy=float(i), distance=0.1)
        )
        records.append(Record(str(i), None, "cyst" if there else "film", ("C1",) if there else ()))
    return captions, records


def test_everything_is_fitted_that_the_captions_tell():
    captions, records = validation()
    found = calibrate(captions, records, ["C1", "C2"], NAMES, retrieval=True)
    assert found.images == 60 and found.retrieval
    assert found.concepts["slope"] > 0
    assert set(found.confidence) == {"weakest", "undecided", "offset"}
    assert len(found.novelty["energy"]) == 101
    assert found.novelty["energy"][::50] == pytest.approx([0, 29.5, 59])
    own = recalibrated(captions[0], found).concept_scores
    assert own.shape == (2,) and own[0] == pytest.approx(float(found.probabilities(captions[0].concept_scores)[0]))


def test_what_nobody_names_cannot_be_sure():
    captions, records = validation()
    assert calibrate(captions, records, ["C1", "C2"], {}, True).confidence is None
    wordless = [Caption(signals={"energy": 1.0})] * 60
    found = calibrate(wordless, records, [], {}, False)
    assert found.concepts is None and found.confidence is None and set(found.novelty) == {"energy"}


def test_scores_that_mean_the_opposite_are_left_alone():
    captions, records = validation()
    turned = [captioned("cyst", 1 - caption.concept_scores) for caption in captions]
    assert calibrate(turned, records, ["C1", "C2"], NAMES, False).concepts is None


def test_few_images_and_unreadable_ones_fit_nothing():
    captions, records = validation(LEAST_IMAGES)
    captions[0] = Caption(error="cannot be read")
    found = calibrate(captions, records, ["C1", "C2"], NAMES, True)
    assert found.images == LEAST_IMAGES - 1
    assert (found.concepts, found.confidence, found.novelty) == (None, None, {})


def test_confidence_is_held_against_the_truth():
    texts, sure = ["cyst", "kidney", "cyst", "cyst"], [0.9, 0.2, 0.8, 0.7]
    captions = [captioned(t, (s, 0.0), s, n) for t, s, n in zip(texts, sure, (5.0, 99.5, 20.0, 100.0))]
    records = [Record(str(i), None, "cyst", ("C1",)) for i in range(3)] + [Record("3", None, "film", ())]
    parts = finding_parts([r.caption for r in records], texts, [r.concepts for r in records], ConceptNames(NAMES))
    scores = calibration_scores(captions, judge(captions, records, ["C1", "C2"], NAMES), parts)
    assert scores["unlike_training"] == 0.5
    assert scores["no_wrong_concept"] == 0.5 and scores["risk"] == 0.5 and scores["risk_of_surest_half"] == 0
    assert scores["confidence_ece"] == pytest.approx((0.1 + 0.2 + 0.2 + 0.7) / 4)
    assert scores["spearman_finding_f1"] == pytest.approx(rank_correlation(np.array(sure), np.array([1, 0, 1, 0])))


def test_without_calibration_there_is_nothing_to_hold():
    captions, records = validation(4)
    judged = judge(captions, records, ["C1", "C2"], NAMES)
    assert judged is None and calibration_scores(captions, judged, {}) == {}
