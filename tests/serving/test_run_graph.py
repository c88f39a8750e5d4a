"""The graph that lies beside a run's weights: the same captions, for as long as it is of these weights."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import medcap_tf
from medcap_tf.captioner import RunCaptioner
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.serving.run_graph import RunGraph
from tests.conftest import run_command

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(small_run, tmp_path):
    """A run that a test may change."""
    return RunFolder(shutil.copytree(small_run, tmp_path / "run"))


def test_it_captions_as_the_weights_do(small_run, image_paths, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    sources = [*image_paths, tmp_path / "broken.png", np.full((50, 70), 90, np.uint8)]
    graph = RunGraph.find(RunFolder(small_run))
    one, other = (list(captioner.caption(sources)) for captioner in (graph, RunCaptioner.load(small_run)))
    assert [caption.error for caption in one] == [caption.error for caption in other] and one[-2].error
    for ours, theirs in zip(one, other):
        assert (ours.words, ours.stems, ours.path) == (theirs.words, theirs.stems, theirs.path)
        assert [code for code, _ in ours.concepts] == [code for code, _ in theirs.concepts]
        assert ours.signals == pytest.approx(theirs.signals, abs=1e-4)
        numbers = ("score", "confidence", "novelty", "attention", "word_importance", "word_scores", "concept_scores")
        for name in (*numbers, "evidence", "image_share", "pooled", "tokens"):
            mine, their = getattr(ours, name), getattr(theirs, name)
            assert (mine is None) == (their is None), name
            if mine is not None:
                np.testing.assert_allclose(mine, their, atol=1e-4, err_msg=name)
    assert any(len(caption.words) for caption in one)


def test_the_command_captions_by_it_without_tensorflow_of_python(small_run, image_paths):
    code = """
import atexit, sys
from medcap_tf.cli.main import main
atexit.register(lambda: print([name for name in sys.modules if name.startswith(("keras", "tensorflow.python"))]))
main(sys.argv[1:])
"""
    asked = ("caption", str(small_run), str(image_paths[0]), "--json")
    by_graph = run_command("-c", code, *asked)
    by_weights = run_command("-m", "medcap_tf", *asked, "--max-length", "12")
    line, modules = by_graph.stdout.splitlines()
    assert modules == "[]"
    assert by_graph.stderr == ""  # TensorFlow's own messages would stand there
    assert json.loads(line)["caption"] == json.loads(by_weights.stdout)["caption"]


@pytest.mark.parametrize(
    "name", ["vocabulary", "concepts", "retrieval", "calibration", "datastore_features", "weights"]
)
def test_a_graph_of_other_files_is_not_taken(copied, name):
    assert RunGraph.find(copied) is not None
    path = next(copied.best.glob("decoder.h5")) if name == "weights" else getattr(copied, name)
    path.write_bytes(path.read_bytes() + b" ")
    assert RunGraph.find(copied) is None


def test_a_graph_of_other_settings_or_versions_is_not_taken(copied, monkeypatch):
    monkeypatch.setattr("medcap_tf.run_folder.__version__", "0")
    assert RunGraph.find(copied) is None
    monkeypatch.undo()
    values = json.loads(copied.config.read_text())
    copied.config.write_text(json.dumps({**values, "data": "elsewhere"}))
    assert RunGraph.find(copied) is not None  # where the data lies makes no difference
    values["config"]["decoding"]["beam_width"] = 1
    copied.config.write_text(json.dumps(values))
    assert RunGraph.find(copied) is None


def test_without_a_graph_or_with_a_broken_one_the_weights_caption(copied, image_paths, capsys):
    by_graph = medcap_tf.load(copied.path).caption(image_paths[0])
    (copied.graph / "saved_model.pb").write_bytes(b"no graph")
    assert medcap_tf.load(copied.path).caption(image_paths[0]).text == by_graph.text
    assert "graph: cannot be loaded" in capsys.readouterr().err
    shutil.rmtree(copied.graph)
    assert medcap_tf.load(copied.path).caption(image_paths[0]).text == by_graph.text


def test_a_graph_that_fails_to_be_written_leaves_the_one_before(copied):
    before = sorted(path.name for path in copied.path.iterdir())
    with pytest.raises(InputError), copied.new_graph() as folder:
        folder.mkdir()
        raise InputError("no space")
    assert sorted(path.name for path in copied.path.iterdir()) == before
    assert RunGraph.find(copied) is not None
