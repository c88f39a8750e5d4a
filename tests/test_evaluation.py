"""Baselines and thresholds with answers known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcap_tf.baselines import nearest, popular_concepts, popular_words
from medcap_tf.caption import Caption
from medcap_tf.captioner import Captioner
from medcap_tf.evaluation import attention_statistics, best_threshold, evaluate, format_scores, score_concepts
from medcap_tf.library import Library
from medcap_tf.metrics import concept_f1
from medcap_tf.records import Record
from tests.conftest import run_command


def record(*concepts):
    return Record("id", None, "caption", concepts)


def test_popular_words_leave_stop_words_out():
    captions = ["CT of the chest", "CT of the brain", "the chest of the chest"]
    assert popular_words(captions, 2) == "chest ct"


def test_popular_concepts_are_as_many_as_score_best():
    # A alone: (1 + 1 + 0) / 3; A and B: (2/3 + 2/3 + 2/3) / 3, equal; A, B and C are worse.
    records = [record("A"), record("A"), record("B")]
    assert popular_concepts(records) == ("A",)
    assert popular_concepts([record("A", "B"), record("B", "A")]) == ("A", "B")
    assert popular_concepts([record()]) == ()


def test_nearest_is_by_angle():
    library = np.array([[10.0, 0], [1, 1], [0, 0.1]])
    assert nearest(np.array([[1.0, 0.1], [0, 9], [2, 2]]), library).tolist() == [0, 2, 1]


def test_the_threshold_is_the_best_of_the_official_score():
    scores = np.array([[0.9, 0.3, 0.1], [0.2, 0.7, 0.35]], np.float32)
    records = [record("A", "B"), record("b".upper(), "never learned")]
    threshold, value = best_threshold(scores, records, ["A", "B", "C"])
    named = [[c for c, s in zip("ABC", row) if s >= threshold] for row in scores]
    assert value == pytest.approx(concept_f1([r.concepts for r in records], named))
    assert 0.2 < threshold <= 0.3
    assert value == pytest.approx((1 + 2 / 4) / 2)


def test_without_true_concepts_there_is_no_threshold_to_choose():
    assert best_threshold(np.ones((1, 1), np.float32), [record()], ["A"]) == (0.5, 0.0)


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
    note = "no reference has 4 words, so that it is 0 whatever is written"
    scores = {
        "split": "test", "images": 1, "model": {"bleu_4": 0.0}, "nearest_image": {"bleu_4": 0.0},
        "notes": {"model": {"bleu_3": note, "bleu_4": note}, "nearest_image": {"bleu_4": note},
                  "all": {"intervals": "x"}},
    }  # fmt: skip
    assert format_scores(scores).splitlines()[2:] == [
        f"note: bleu_3, bleu_4 (model, nearest_image): {note}", "note: intervals (all): x",
    ]  # fmt: skip


def test_concepts_alone_say_what_cannot_mean_anything():
    records = [Record(str(i), None, "x", ("A",)) for i in range(3)]
    scores = score_concepts("test", records, np.ones((3, 1)), 0.5, ["A"], records)
    assert scores["model"]["concept_map"] == 1
    assert "any scores have 1" in scores["notes"]["model"]["concept_map"]
    assert "only 3 images" in scores["notes"]["all"]["intervals"]


@pytest.mark.slow
def test_a_split_of_one_image_is_scored_with_notes(small_run, tmp_path):
    captioner, path = Captioner.load(small_run), tmp_path / "x.png"
    cv2.imwrite(str(path), np.full((64, 64), 99, np.uint8))
    records = [Record("x", path, "cyst", ())]
    evaluate(captioner, records, "test", Library.load(small_run), tmp_path)
    notes = json.loads((tmp_path / "scores.json").read_text())["notes"]
    assert {"cider", "meteor", "bleu_4", "concept_f1"} <= set(notes["model"])
    assert "no width" in notes["all"]["intervals"] and "between_images" in notes["attention"]
    path.write_text("no image")
    evaluate(captioner, records, "test", Library.load(small_run), tmp_path)
    notes = json.loads((tmp_path / "scores.json").read_text())["notes"]
    assert notes["all"]["unreadable"] == "1 of 1 images, which count as empty captions"


@pytest.mark.slow
def test_evaluating_again_gives_the_scores_of_the_training(small_run, phantoms, tmp_path):
    run_command("-m", "medcap_tf", "evaluate", small_run, "--data", phantoms, "--out", tmp_path)
    again, first = (json.loads((folder / "scores.json").read_text()) for folder in (tmp_path, small_run))
    assert again == first
    assert (tmp_path / "groups.csv").read_bytes() == (small_run / "groups.csv").read_bytes()
    one, other = (pd.read_csv(f / "predictions.csv", keep_default_na=False) for f in (tmp_path, small_run))
    assert one.equals(other)
    assert list(one.columns) == ["ID", "Caption"]


@pytest.mark.slow
def test_a_split_that_is_not_there_is_named(small_run, phantoms):
    done = run_command("-m", "medcap_tf", "evaluate", small_run, "--data", phantoms, "--split", "exam", check=False)
    assert done.returncode == 1
    assert "no split 'exam'; there are train, valid, test" in done.stderr


def test_attention_that_never_moves_has_collapsed():
    def caption(*maps):
        return Caption(Path("i"), tuple("ab"[: len(maps)]), attention=np.array(maps, np.float32).reshape(-1, 1, 2))

    moving = [caption([1, 0], [0, 1]), caption([0.5, 0.5], [0.5, 0.5]), Caption(Path("empty"))]
    # The words of the first differ wholly, those of the second not; their means are the same map.
    assert attention_statistics(moving) == {"between_words": 0.5, "between_images": 0.0}
    still = [caption([1, 0]), caption([0.25, 0.75])]
    assert attention_statistics(still) == {"between_words": 0.0, "between_images": 0.75}
    assert attention_statistics([]) == {"between_words": 0.0, "between_images": 0.0}
