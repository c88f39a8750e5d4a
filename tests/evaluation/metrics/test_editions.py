"""Each edition's scores: the checked values of its preprocessing, and F1s and means computed by hand."""

from __future__ import annotations

import math

import pytest

from medcap_tf.evaluation.metrics import (
    EDITIONS,
    caption_scores,
    concept_f1,
    edition_caption_parts,
    edition_concept_parts,
    missing_parts,
    parts_named,
    score_name,
    text_of_2023,
)
from medcap_tf.evaluation.metrics.editions import both_empty, leaves_of, tokens_of_2022


def captions(year, references, candidates, **with_weights):
    parts = edition_caption_parts(year, references, candidates, with_weights)
    return {name.removeprefix(f"imageclef_{year}_"): part.score() for name, part in parts.items()}


def concepts(year, references, predictions, manual=None):
    parts = edition_concept_parts(year, references, predictions, manual)
    return {name.removeprefix(f"imageclef_{year}_"): part.score() for name, part in parts.items()}


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("T1-weighted MRI, 2.5 × 3 cm", "tnumberweighted mri numbernumber × number cm"),
        ("L4-L5", "lnumberlnumber"),
        ("L4–L5", "lnumber–lnumber"),  # a dash outside ASCII stays
        ("Day 12.", "day number"),
    ],
)
def test_text_of_2023(caption, text):
    assert text_of_2023(caption) == text


def test_2022_keeps_the_endings_that_2021_takes_off():
    assert tokens_of_2022("The renal arteries, T1-weighted.") == ["renal", "arteries", "t1weighted"]


def test_bleu_of_2021_is_the_official_one():
    said = (["renal arteries of the left kidney", "cyst"], ["renal artery of the right kidney", "a cyst"])
    assert captions("2021", *said) == {"bleu": caption_scores(*said)["imageclef_2021_bleu"]}


def test_bleu_of_2022_drops_orders_without_a_match():
    words = "brain liver lung heart bone skull colon node"
    assert captions("2022", [words], [words])["bleu"] == 1
    # One right word of eight: its order alone counts, with the weight of a quarter.
    assert captions("2022", [words], ["brain a1 a2 a3 a4 a5 a6 a7"])["bleu"] == pytest.approx((1 / 8) ** 0.25)
    # Stems are not taken: arteries is not artery.
    assert captions("2022", ["arteries"], ["artery"])["bleu"] == 0
    assert captions("2021", ["arteries"], ["artery"])["bleu"] == 1
    assert captions("2022", ["The."], ["of"]) == {"bleu": 1, "rouge_1": 1}


def test_rouge_1():
    # 2022 without stop words: of (cyst, liver) and (cyst, kidney, left) one word is shared.
    assert captions("2022", ["cyst of the liver"], ["cyst in the left kidney"])["rouge_1"] == pytest.approx(2 / 5)
    # 2023 with them: cyst and the, of 4 and 5 words.
    assert captions("2023", ["cyst of the liver"], ["cyst in the left kidney"])["rouge_1"] == pytest.approx(4 / 9)
    # (numbernumber, number, cm) and (number, cm): the times sign is no word to ROUGE.
    assert captions("2026", ["2.5 × 3 cm"], ["4 cm"])["rouge_1"] == pytest.approx(2 * 2 / (3 + 2))


def test_what_counts_as_empty_differs():
    assert both_empty("2023", "...", "") and not both_empty("2026", "...", "")
    assert captions("2023", ["..."], [""])["rouge_1"] == 1
    assert captions("2026", ["..."], [""])["rouge_1"] == 0
    assert captions("2026", [""], [""])["rouge_1"] == 1


def test_concept_f1_of_2021_skips_images_without_truth():
    truth, named = [["C1", "C2"], []], [["c1"], ["C3"]]
    assert concepts("2021", truth, named) == {"concept_f1": pytest.approx(2 / 3)}
    assert concept_f1(truth, named) == pytest.approx(2 / 3)


@pytest.mark.parametrize("year", ["2022", "2023", "2024", "2025", "2026"])
def test_concept_f1_since_2022_counts_them(year):
    assert concepts(year, [["C1", "C2"], []], [["c1"], ["C3"]])["concept_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert concepts(year, [["C1", "C2"], []], [["C1"], []])["concept_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert concepts(year, [[]], [[]])["concept_f1"] == 1


def test_the_secondary_score_sees_fifteen_codes():
    xray, thorax = "C1306645", "C0817096"
    manual = [[xray, "C0000001"], ["C0000001"], [xray, thorax]]
    named = [[xray.lower(), "C0000002"], [xray], [xray]]
    # 1 and 2/3; the second image has nothing true among the fifteen.
    assert concepts("2026", [["C9"]] * 3, named, manual)["concept_f1_manual"] == pytest.approx((1 + 2 / 3) / 2)
    assert "concept_f1_manual" not in concepts("2026", [["C9"]] * 3, named)
    assert "concept_f1_manual" not in concepts("2022", [["C9"]] * 3, named, manual)


def test_means_exist_with_all_their_parts_alone():
    said = (["one cyst", "a node"], ["one cyst", "none"])  # ROUGE-1: 1 and 0
    some = captions("2026", *said, bertscore=[0.6, 0.8], similarity=[0.4, 0.6])
    assert set(some) == {"bertscore", "rouge_1", "similarity", "relevance_without_bleurt"}
    assert some["relevance_without_bleurt"] == pytest.approx((0.7 + 0.5 + 0.5) / 3)
    weights = {"bertscore": [0.6, 0.8], "similarity": [0.4, 0.6], "umls_f1": [0.2, 0.4], "alignscore": [0.1, 0.1]}
    whole = captions("2026", *said, **weights, bleurt=[0.3, 0.3])
    assert whole["relevance"] == pytest.approx((0.7 + 0.5 + 0.5 + 0.3) / 4)
    assert whole["factuality"] == pytest.approx((0.3 + 0.1) / 2)
    assert whole["overall"] == pytest.approx((0.5 + 0.2) / 2)
    assert whole["overall_without_bleurt"] == pytest.approx((1.7 / 3 + 0.2) / 2)


def test_what_is_not_computed_is_said_with_the_parts_that_are_there():
    computed = edition_caption_parts("2026", ["one cyst"], ["one cyst"])
    notes = missing_parts("2026", computed, {"bleurt": "no weights"})
    assert notes["imageclef_2026_bleurt"] == "not computed: no weights"
    assert notes["imageclef_2026_relevance"] == "not computed: 1 of its 4 parts are there (rouge_1)"
    assert notes["imageclef_2026_overall"].startswith("not computed: 1 of its 6 parts")
    assert "imageclef_2026_rouge_1" not in notes and parts_named("2026", computed) == {}
    whole = {score_name("2026", name): 1.0 for name in ("relevance", "overall")}
    assert parts_named("2026", whole)["imageclef_2026_relevance"].startswith("of 4 scores (bertscore")
    assert "of 6 scores" in parts_named("2026", whole)["imageclef_2026_overall"]


def test_2024_computes_what_can_be():
    scores = captions("2024", ["one cyst of 3 cm", "left lung"], ["one cyst of 4 cm", "left kidney"])
    assert set(scores) == {"rouge_1", "bleu_1", "cider"}
    assert scores["bleu_1"] == pytest.approx(6 / 7) and math.isfinite(scores["cider"])
    assert "not public" in missing_parts("2024", {}, {})["imageclef_2024_meteor"]


def test_every_mean_is_made_of_its_editions_scores():
    for edition in EDITIONS.values():
        for name in edition.means:
            assert set(leaves_of(edition, name)) <= set(edition.captions)
