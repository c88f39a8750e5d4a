"""Scores as people read them."""

from __future__ import annotations

from medcap_tf.evaluation.score_files import format_scores


def test_scores_are_printed_with_their_intervals():
    scores = {
        "split": "test",
        "images": 2,
        "model": {"bleu_4": 0.5, "mean_length": 7.25},
        "nearest_image": {"bleu_4": 0.25, "mean_length": 9.0},
        "intervals": {"model": {"bleu_4": [0.4, 0.6]}, "nearest_image": {"bleu_4": [0.125, 0.5]}},
    }
    header, bleu, length = format_scores(scores).splitlines()
    assert header.split() == ["test:", "2", "images", "model", "nearest_image"]
    assert " ".join(bleu.split()) == "bleu_4 0.5000 [0.400, 0.600] 0.2500 [0.125, 0.500]"
    assert length.split() == ["mean_length", "7.2500", "9.0000"]
    assert length.index("7.25") == bleu.index("0.5")


def test_scores_are_printed_with_their_notes():
    note = "no reference has 4 words, so that it is 0 whatever is generated"
    scores = {
        "split": "test", "images": 1, "model": {"bleu_4": 0.0}, "nearest_image": {"bleu_4": 0.0},
        "notes": {"model": {"bleu_3": note, "bleu_4": note}, "nearest_image": {"bleu_4": note},
                  "all": {"intervals": "x"}},
    }  # fmt: skip
    assert format_scores(scores).splitlines()[2:] == [
        f"note: bleu_3, bleu_4 (model, nearest_image): {note}", "note: intervals (all): x",
    ]  # fmt: skip
