"""What a run folder writes it reads again, and what earlier versions wrote too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medcap_tf.config import Config
from medcap_tf.errors import InputError
from medcap_tf.run_folder import ConceptList, RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_files_go_by_the_names_that_users_know(run):
    names = {name: path.relative_to(run.path).as_posix() for name, path in vars(run).items() if name != "path"}
    assert names == {
        "config": "config.json", "data": "data.csv", "vocabulary": "vocabulary.json", "concepts": "concepts.json",
        "problems": "problems.json", "checkpoints": "checkpoints", "best": "checkpoints/best",
        "history": "history.csv", "history_plot": "history.png", "logs": "logs",
        "datastore_records": "library.json", "datastore_features": "library.npy",
        "datastore_lists": "library_lists.npz", "retrieval": "neighbours.json", "baselines": "baselines.json",
        "predictions": "predictions.csv", "predicted_concepts": "concepts.csv", "scores": "scores.json",
        "subgroups": "groups.csv", "subgroups_plot": "groups.png", "audit": "audit.json", "audit_plot": "audit.png",
        "submission": "submission", "graph": "graph", "calibration": "calibration.json",
        "calibration_plot": "calibration.png",
    }  # fmt: skip


def test_a_folder_without_settings_is_no_run(run):
    with pytest.raises(InputError, match=r"run: no run folder \(no config\.json in it\); give the folder that train"):
        run.read_config()


def test_settings_of_an_earlier_version_are_read(run):
    write(run.config, json.dumps({"config": {"decoding": {"neighbours": 5}}}))
    assert run.read_config() == Config().replace({"decoding.neighbors": 5})


def test_the_data_is_found_from_any_folder(run, tmp_path, monkeypatch):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def folder(**written):
        write(run.config, json.dumps(written))
        return run.data_folder()

    assert folder(data="data", data_path=str(data)) == data
    # A run of an earlier version has the typed path alone.
    assert folder(data="../data") == folder(data="../data", data_path="/gone") == Path("../data")
    assert folder(data="gone", data_path="/gone") == Path("/gone")
    assert folder() == Path("unknown")


def test_concepts_are_read_as_they_were_written(run):
    concepts = ConceptList.of(["C2", "C1"], {"C1": "Zyste (Niere)", "C9": "not learned"})
    assert concepts.names == {"C1": "Zyste (Niere)"}
    run.write_concepts(ConceptList(concepts.codes, {"image": 0.25}, concepts.names))
    assert run.read_concepts() == ConceptList(("C2", "C1"), {"image": 0.25}, {"C1": "Zyste (Niere)"})


def test_concepts_of_an_earlier_version_have_no_names(run):
    write(run.concepts, '{"codes": ["C1"], "thresholds": {"words": 0.5}}')
    assert run.read_concepts() == ConceptList(("C1",), {"words": 0.5}, {})


def test_parameters_of_retrieval_are_read_as_they_were_written(run):
    assert run.read_retrieval() is None
    run.write_retrieval({"decoder_similarity": 0.9, "temperature": 0.1})
    assert run.read_retrieval() == {"decoder_similarity": 0.9, "temperature": 0.1}
    run.write_retrieval(None)
    run.write_retrieval(None)
    assert not run.retrieval.exists()


def test_parameters_of_retrieval_of_an_earlier_version_go_by_todays_name(run):
    write(run.retrieval, '{"level": 0.9, "temperature": 0.1, "concept_threshold": 0.4}')
    assert run.read_retrieval() == {"decoder_similarity": 0.9, "temperature": 0.1, "concept_threshold": 0.4}


def test_calibration_is_read_as_it_was_written(run):
    assert run.read_calibration() is None
    run.write_calibration({"images": 150, "concepts": None})
    assert run.read_calibration() == {"images": 150, "concepts": None}
    run.write_calibration(None)
    assert not run.calibration.exists()
    write(run.calibration, "[1]")
    with pytest.raises(InputError, match=r"calibration\.json: cannot be read; move it away"):
        run.read_calibration()


@pytest.mark.parametrize("text", ["", "{", "[0.9]", "0.9"])
def test_broken_parameters_of_retrieval_are_named(run, text):
    write(run.retrieval, text)
    with pytest.raises(InputError, match=r"neighbours\.json: cannot be read"):
        run.read_retrieval()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"codes": ["C1"]}', '{"codes": 1, "thresholds": {}}', '{"codes": ["C1"], "thresholds": [0.5]}',
        '{"codes": ["C1"], "thresholds": {"image": "high"}}',
    ],
)  # fmt: skip
def test_broken_concepts_are_named(run, text):
    write(run.concepts, text)
    with pytest.raises(InputError, match=r"concepts\.json: cannot be read"):
        run.read_concepts()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": 3}'])
def test_a_broken_vocabulary_is_named(run, text):
    write(run.vocabulary, text)
    with pytest.raises(InputError, match=r"vocabulary\.json: cannot be read"):
        run.read_vocabulary()


def test_scores_are_empty_before_there_are_any(run):
    assert run.read_scores() == {}
    write(run.scores, '{"split": "test"}')
    assert run.read_scores() == {"split": "test"}


def test_what_exists_is_listed_by_its_file_name(run):
    write(run.scores, "{}")
    write(run.audit_plot, "")
    assert run.listed(["audit_plot", "scores", "predictions"]) == ["audit.png", "scores.json"]
