"""Thresholds with answers known by hand, and whole evaluations of a run."""

from __future__ import annotations

import hashlib
import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.evaluation.baselines import best_threshold
from medcap_tf.evaluation.evaluate import (
    evaluate,
    own_entries,
    score_concepts,
)
from medcap_tf.evaluation.metrics import concept_f1
from medcap_tf.evaluation.score_files import file_suffix
from medcap_tf.run_folder import RunFolder
from tests.conftest import contents, run_command


def record(*concepts):
    return Record("id", None, "caption", concepts)


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


def test_concepts_alone_say_what_cannot_mean_anything():
    records = [Record(str(i), None, "x", ("A",)) for i in range(3)]
    scores = score_concepts("test", records, np.ones((3, 1)), 0.5, ["A"], records)
    assert scores["model"]["concept_map"] == 1
    assert "any scores have 1" in scores["notes"]["model"]["concept_map"]
    assert "only 3 images" in scores["notes"]["all"]["intervals"]


@pytest.mark.slow
def test_a_split_of_one_image_is_scored_with_notes(small_run, tmp_path):
    captioner, path = RunCaptioner.load(small_run), tmp_path / "x.png"
    cv2.imwrite(str(path), np.full((64, 64), 99, np.uint8))
    records = [Record("x", path, "cyst", ())]
    evaluate(captioner, records, "test", Datastore.load(RunFolder(small_run)), tmp_path)
    notes = json.loads((tmp_path / "scores.json").read_text())["notes"]
    assert {"cider", "meteor", "bleu_4", "concept_f1"} <= set(notes["model"])
    assert "no width" in notes["all"]["intervals"] and "between_images" in notes["attention"]
    path.write_text("no image")
    evaluate(captioner, records, "test", Datastore.load(RunFolder(small_run)), tmp_path)
    notes = json.loads((tmp_path / "scores.json").read_text())["notes"]
    assert notes["all"]["unreadable"] == "1 of 1 images, which count as empty captions"


def test_only_the_test_split_keeps_the_plain_names():
    assert [file_suffix(split, "test") for split in ("train", "valid", "test")] == ["_train", "_valid", ""]
    assert [file_suffix(split, "valid") for split in ("valid", "test")] == ["", "_test"]


class TestOwnEntries:
    """A datastore of three files; each image shows its name's bytes."""

    def numbers(self, folder, shown, split="valid", known=True):
        records = [Record(f"{split}{i}", folder / f"{i}", "some", ()) for i in range(len(shown))]
        for record, content in zip(records, shown):
            record.image_path.write_text(content)
        images = [hashlib.sha256(content.encode()).hexdigest() for content in "abc"] if known else ()
        datastore = Datastore([Record(f"train{i}", None, "some", ()) for i in range(3)], np.ones((3, 2)), images)
        return own_entries(records, split, "train", datastore).tolist()

    def test_under_other_names_too(self, tmp_path):
        assert self.numbers(tmp_path, "cab") == [2, 0, 1]
        assert self.numbers(tmp_path, "cax") == [2, 0, -1]

    def test_a_split_of_which_it_holds_few_is_no_part_of_it(self, tmp_path):
        assert self.numbers(tmp_path, "axyz") == [-1] * 4
        assert self.numbers(tmp_path, "axyz", split="train") == [0, -1, -1, -1]

    def test_a_datastore_without_contents_goes_by_id(self, tmp_path):
        assert self.numbers(tmp_path, "xyz", split="train", known=False) == [0, 1, 2]
        assert self.numbers(tmp_path, "abc", known=False) == [-1, -1, -1]

    def test_a_file_that_cannot_be_opened_is_nobody(self, tmp_path):
        records = [Record("a", tmp_path / "none", "", ())]
        assert own_entries(records, "train", "train", Datastore(records, np.ones((1, 2)), ["x"])).tolist() == [-1]


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


def evaluate_run(run, data, *more):
    return run_command("-m", "medcap_tf", "evaluate", run, "--data", data, *more)


@pytest.mark.slow
def test_another_split_leaves_the_test_split_its_files(small_run, phantoms, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    before = contents(run)
    done = evaluate_run(run, phantoms, "--split", "valid")
    after = contents(run)
    assert {name: after[name] for name in before} == before
    new = ["concepts_valid.csv", "groups_valid.csv", "groups_valid.png", "predictions_valid.csv", "scores_valid.json"]
    assert sorted(after.keys() - before.keys()) == new
    assert json.loads((run / "scores_valid.json").read_text())["split"] == "valid"
    assert "predictions_valid.csv" in done.stderr


@pytest.mark.slow
def test_training_images_are_not_their_own_neighbors(small_run, phantoms, tmp_path):
    done = evaluate_run(small_run, phantoms, "--split", "train", "--out", tmp_path)
    assert "32 of these images are in the run's datastore" in done.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["own_entries_left_out"] == 32
    # With itself among its neighbors every image would have its own caption from the nearest.
    assert scores["nearest_image"]["bleu_4"] < 0.9
    assert "own_entries_left_out" not in json.loads((small_run / "scores.json").read_text())


@pytest.mark.slow
def test_a_split_without_captions_is_captioned_and_not_scored(small_run, phantoms, tmp_path):
    data = shutil.copytree(phantoms, tmp_path / "data")
    for table in ("captions.xlsx", "concepts.xlsx"):
        (data / "test" / table).unlink()
    done = evaluate_run(small_run, data, "--out", tmp_path / "out")
    assert "no captions to score against" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["concepts.csv", "predictions.csv"]
    one, other = (pd.read_csv(f / "predictions.csv", keep_default_na=False) for f in (tmp_path / "out", small_run))
    assert one.sort_values("ID").values.tolist() == other.sort_values("ID").values.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--data", "nowhere"), ("--split", "other"), ("--beam-width", "0")])
def test_a_refused_evaluation_leaves_the_run_as_it_was(small_run, phantoms, more):
    before = contents(small_run)
    done = run_command("-m", "medcap_tf", "evaluate", small_run, "--data", phantoms, *more, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert contents(small_run) == before
