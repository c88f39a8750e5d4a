"""Votes, consensus captions and thresholds by label on a handful of images, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.data.concepts import ConceptMatrix
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.evaluation import neighbors as module
from medcap_tf.evaluation.answers import baseline_answers
from medcap_tf.evaluation.baselines import best_threshold, find_neighbors, nearest, official_f1
from medcap_tf.evaluation.neighbors import Neighborhood, Tuned, consensus, named, thresholds_by_label, tune, votes
from medcap_tf.run_folder import RunFolder

FEATURES = np.array([[1, 0], [0.8, 0.2], [0, 1]], np.float32)


def test_neighbors_are_the_most_alike_and_never_ones_own():
    rows, likeness = find_neighbors(np.array([[1, 0], [0, 1]], np.float32), FEATURES, 2)
    assert rows.tolist() == [[0, 1], [2, 1]] and likeness[0, 0] == pytest.approx(1)
    assert nearest(FEATURES, FEATURES).tolist() == [0, 1, 2]
    own, contents = np.array([0, -1]), np.array([0, 1, 2])
    rows, likeness = find_neighbors(np.array([[1, 0], [0, 1]], np.float32), FEATURES, 3, own, contents)
    assert rows[0].tolist() == [1, 2, 0] and likeness[0, 2] == -np.inf


def test_votes_weigh_by_likeness():
    near = Neighborhood(np.array([[0, 1, 2]]), np.array([[1.0, 0.5, -np.inf]]))
    labels = ConceptMatrix.of(records(("A",), ("B",), ("A", "B")), ["A", "B"])
    assert votes(near, labels, 1).tolist() == [[1, 0]]
    assert votes(near, labels, 2)[0] == pytest.approx([2 / 3, 1 / 3])
    assert votes(near, labels, 3)[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-5)  # a left-out image has no say


def test_the_caption_that_most_agree_on():
    tokens = [["liver", "cyst"], ["renal", "cyst"], ["renal", "cyst"], ["chest"]]
    rows = np.array([[0, 1, 2, 3]])
    assert consensus(rows[:, :1], tokens) == [0]
    assert consensus(rows[:, :2], tokens) == [0]  # of two, the nearest
    assert consensus(rows[:, :3], tokens) == [1]


def test_the_concepts_above_their_own_thresholds():
    assert named(np.array([[0.9, 0.5, 0.2]]), [0.8, 0.1, 0.3], ["A", "B", "C"]) == [["B", "A"]]


def records(*codes):
    return [Record(str(i), None, "x", own) for i, own in enumerate(codes)]


def test_the_official_f1_of_what_is_named():
    f1 = official_f1(records(("A",), ("A", "never learned"), ()), ["A", "B"])
    assert f1(np.array([[1, 0], [1, 1], [0, 1]], bool)) == pytest.approx((1 + 2 / 4) / 2)


def test_a_concept_with_a_scale_of_its_own_gets_its_own_threshold():
    # A is scored around 0.8, B around 0.2: no threshold of all does for both.
    truth = records(*[("A", "B") if i % 2 else ("C",) for i in range(60)])
    labels = np.array([[i % 2, i % 2, 1 - i % 2] for i in range(60)])
    scores = np.where(labels == 1, [0.9, 0.25, 0.5], [0.7, 0.1, 0.0])
    thresholds = thresholds_by_label(scores, truth, ["A", "B", "C"])
    f1 = official_f1(truth, ["A", "B", "C"])
    assert f1(scores >= thresholds) == 1 > best_threshold(scores, truth, ["A", "B", "C"])[1]


def test_noise_chooses_no_thresholds_of_its_own(monkeypatch):
    rng = np.random.default_rng(0)
    truth = [tuple(c for c in "ABCDEF" if rng.random() < 0.3) or ("A",) for _ in range(60)]
    scores = rng.random((60, 6))
    usual, _ = best_threshold(scores, records(*truth), list("ABCDEF"))
    assert thresholds_by_label(scores, records(*truth), list("ABCDEF")) == pytest.approx([usual] * 6, abs=0.25)
    monkeypatch.setattr(module, "LEAST_TRUE", 1000)
    assert thresholds_by_label(scores, records(*truth), list("ABCDEF")) == pytest.approx([usual] * 6)


def captioned(features, scores):
    return [Caption(pooled=f, concept_scores=np.array(s, np.float32)) for f, s in zip(features, scores)]


@pytest.fixture
def datastore():
    texts = [("liver cyst in the right lobe", ("A",)), ("renal stone on the left side", ("B",))]
    trained = [Record(f"t{i}", None, *texts[i % 2]) for i in range(6)]
    return Datastore(trained, np.array([[1, 0.01 * i] if i % 2 == 0 else [0.01 * i, 1] for i in range(6)], np.float16))


def test_tuned_baselines_answer_by_their_neighbors(datastore):
    valid = [Record("v0", None, "liver cyst in the right lobe", ("A",)), Record("v1", None, "renal stone", ("B",))]
    captions = captioned([[1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8]])
    tuned = tune(captions, valid, datastore, ["A", "B"])
    assert tuned.caption_neighbors == tuned.concept_neighbors == 1  # more are not better, and of equals the fewest
    answers = dict(baseline_answers(captions, datastore, ["A", "B"], np.full(2, -1), tuned))
    assert answers["neighbors"].concepts == answers["thresholds_by_label"].concepts == [["A"], ["B"]]
    assert answers["neighbors"].captions == answers["nearest_image"].captions
    assert answers["thresholds_by_label"].captions is None
    assert set(dict(baseline_answers(captions, datastore, [], np.full(2, -1)))) == {"popular_words", "nearest_image"}


def test_without_concepts_captions_alone_are_tuned(datastore):
    tuned = tune(captioned([[1, 0]], [[]]), [Record("v", None, "liver cyst", ())], datastore, [])
    assert tuned.vote_thresholds == tuned.label_thresholds == []


def test_they_are_kept_with_the_run(tmp_path):
    run, tuned = RunFolder(tmp_path), Tuned(5, [0.5, 0.25], 3, [0.1, 0.2])
    assert Tuned.load(run, ["A", "B"]) is None
    run.write_baselines(tuned._asdict())
    assert Tuned.load(run, ["A", "B"]) == tuned
    with pytest.raises(InputError, match="vote_thresholds has 2 values for the run's 1 concepts"):
        Tuned.load(run, ["A"])
    run.baselines.write_text(json.dumps({"x": 1}))
    with pytest.raises(InputError, match=r"baselines\.json: cannot be read"):
        Tuned.load(run, [])
