"""The graph that lies beside a run's weights: the same captions, for as long as it is of these weights."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import medcap_tf
from medcap_tf import run_folder
from medcap_tf.captioner import RunCaptioner
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.serving.capi import OutOfMemory
from medcap_tf.serving.run_graph import RunGraph
from medcap_tf.training import finish
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


def test_a_graph_of_other_settings_versions_or_code_is_not_taken(copied, monkeypatch, tmp_path):
    monkeypatch.setattr("medcap_tf.run_folder.__version__", "0")
    assert RunGraph.find(copied) is None
    monkeypatch.undo()
    package = shutil.copytree(Path(run_folder.__file__).parent, tmp_path / "package")
    monkeypatch.setattr("medcap_tf.run_folder.__file__", str(package / "run_folder.py"))
    assert RunGraph.find(copied) is not None
    (package / "models" / "evidence.py").write_text("changed")
    assert RunGraph.find(copied) is None
    monkeypatch.undo()
    values = json.loads(copied.config.read_text())
    copied.config.write_text(json.dumps({**values, "data": "elsewhere"}))
    assert RunGraph.find(copied) is not None  # where the data lies makes no difference
    values["config"]["training"]["patience"] = 99
    copied.config.write_text(json.dumps(values))
    assert RunGraph.find(copied) is not None  # nor what training alone depends on
    values["config"]["decoding"]["beam_width"] = 1
    copied.config.write_text(json.dumps(values))
    assert RunGraph.find(copied) is None


def test_without_a_graph_or_with_a_broken_one_the_weights_caption(copied, image_paths, capsys):
    by_graph = medcap_tf.load(copied.path).caption(image_paths[0])
    (copied.graph / "saved_model.pb").write_bytes(b"no graph")
    assert medcap_tf.load(copied.path).caption(image_paths[0]).text == by_graph.text
    assert "graph: cannot be loaded" in capsys.readouterr().err
    (copied.graph / "made_of.txt").write_bytes(b"\xff\xfe")
    assert RunGraph.find(copied) is None
    shutil.rmtree(copied.graph)
    assert medcap_tf.load(copied.path).caption(image_paths[0]).text == by_graph.text


def test_a_graph_that_fails_to_be_written_leaves_the_one_before(copied):
    before = sorted(path.name for path in copied.path.iterdir())
    with pytest.raises(InputError), copied.new_graph() as folder:
        folder.mkdir()
        raise InputError("no space")
    assert sorted(path.name for path in copied.path.iterdir()) == before
    assert RunGraph.find(copied) is not None


def test_a_graph_takes_the_place_of_whatever_stands_there(copied, tmp_path):
    whole = shutil.copytree(copied.graph, tmp_path / "whole")
    left = copied.path / ".graph"
    left.mkdir()  # by a process that was killed
    (left / "half").touch()
    shutil.rmtree(copied.graph)
    copied.graph.symlink_to(whole)
    with copied.new_graph() as folder:
        assert not folder.exists()
        shutil.copytree(whole, folder)
    assert copied.graph.is_dir() and not copied.graph.is_symlink() and not left.exists()
    assert RunGraph.find(copied) is not None and whole.is_dir()


def test_where_no_graph_can_be_written_the_run_is_scored_without(monkeypatch, copied, capsys):
    def full(run):
        raise OSError(28, "No space left on device")

    captioner = RunCaptioner.load(copied.path)
    monkeypatch.setattr(captioner, "save_graph", full)
    finish._save_graph(captioner, copied)
    assert "graph: cannot be written" in capsys.readouterr().err


def test_a_run_that_has_changed_since_is_not_explained(copied, image_paths):
    captioner = medcap_tf.load(copied.path)
    caption = captioner.caption(image_paths[0])
    copied.vocabulary.write_bytes(copied.vocabulary.read_bytes() + b" ")
    with pytest.raises(InputError, match="has changed since it was loaded; load it again"):
        captioner.explain(caption)


def test_it_explains_from_another_working_folder(copied, image_paths, monkeypatch):
    monkeypatch.chdir(copied.path.parent)
    captioner = medcap_tf.load(copied.path.name)
    caption = captioner.caption(image_paths[0].resolve())
    monkeypatch.chdir("/")
    assert captioner.explain(caption).word_maps()


def test_arrays_may_be_written_and_memory_comes_back(small_run, image_paths):
    graph = RunGraph.find(RunFolder(small_run))
    caption = next(iter(graph.caption(image_paths[:1])))
    caption.attention[0] *= 2
    released = graph._graph._release
    assert released.alive
    del graph
    gc.collect()
    assert not released.alive


def test_where_memory_runs_out_the_setting_is_named(small_run, image_paths, monkeypatch):
    graph = RunGraph.find(RunFolder(small_run))

    def exhausted(signature, inputs):
        raise OutOfMemory("signature caption: OOM when allocating tensor with shape[16,7]")

    monkeypatch.setattr(graph._graph, "run", exhausted)
    with pytest.raises(InputError, match=r"1 images: out of memory for a tensor of shape \[16,7\]; lower decoding"):
        list(graph.caption(image_paths[:1]))


def test_tensorflows_want_of_memory_is_one_of_its_own(small_run):
    model = RunGraph.find(RunFolder(small_run))._graph
    with pytest.raises(OutOfMemory, match="here: full"), model._status("here") as status:
        model._c.TF_SetStatus(ctypes.c_void_p(status), 8, b"full")
