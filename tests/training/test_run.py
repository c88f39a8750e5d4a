"""Whole trainings, as a person runs them: what is left behind, interruption, resumption, refusal."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, SMALL, run_command
from tests.training.test_killed import assert_same_weights, weights

pytestmark = pytest.mark.slow


# Of stages and choices that a test does not look at.
NO_NEIGHBORS, NO_SEMANTIC = "decoding.neighbors=0", "semantic.epochs=0"


def train(data, run, config, *more, check=True):
    return run_command("train.py", "--data", data, "--out", run, "--config", config, *more, check=check)


def test_a_finished_run_holds_what_is_promised(small_run):
    names = {path.name for path in small_run.iterdir()}
    assert names >= {
        "config.json", "vocabulary.json", "concepts.json", "checkpoints", "logs", "history.csv", "history.png",
        "predictions.csv", "concepts.csv", "scores.json", "problems.json", "groups.csv", "groups.png",
    }  # fmt: skip
    written = json.loads((small_run / "config.json").read_text())
    assert written["config"]["visual"]["image_size"] == 32
    assert written["versions"]["tensorflow"] == "2.15.1"
    with open(small_run / "history.csv") as file:
        assert [(row["stage"], row["epoch"]) for row in csv.DictReader(file)] == [
            ("visual", "1"), ("semantic", "1"), ("semantic", "2"), ("caption", "1"), ("caption", "2"),
        ]  # fmt: skip
    scores = json.loads((small_run / "scores.json").read_text())
    assert (scores["split"], scores["images"]) == ("test", 8)
    assert set(scores["model"]) == set(scores["popular_words"]) == set(scores["nearest_image"])
    assert set(scores["model"]) >= {"bleu_4", "rouge_1", "concept_f1", "concept_micro_f1", "concept_map", "mean_length"}
    assert scores["nearest_image"]["unseen_captions"] == 0.0
    for method, ends in scores["intervals"].items():
        assert all(low <= scores[method][metric] <= high for metric, (low, high) in ends.items())
    assert len(pd.read_csv(small_run / "predictions.csv", keep_default_na=False)) == 8


def test_a_taken_folder_is_not_overwritten(small_run, phantoms, small_config):
    done = train(phantoms, small_run, small_config, check=False)
    assert done.returncode == 1
    assert "already holds a run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_is_not_resumed_with_other_settings(small_run, phantoms, small_config):
    done = train(phantoms, small_run, small_config, "--resume", "--set", "decoder.units=33", check=False)
    assert done.returncode == 1
    assert "decoder.units was 32, now 33" in done.stderr


def test_sigterm_saves_inside_the_epoch_and_says_how_to_go_on(small_run, phantoms, small_config, tmp_path):
    run = tmp_path / "stopped"
    command = [sys.executable, "train.py", "--data", phantoms, "--out", run, "--config", small_config]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        seen = ""
        while "1/4" not in seen:  # the first batch of the first stage is done
            seen += process.stderr.read(1)
        process.send_signal(signal.SIGTERM)
        seen += process.stderr.read()
    assert process.returncode == 130
    assert "SIGTERM: saved at visual epoch 1, batch" in seen
    assert "--resume" in seen
    train(phantoms, run, small_config, "--resume")
    assert_same_weights(small_run, run)


def test_mixed_precision_trains_with_loss_scaling(phantoms, small_config, tmp_path):
    run = tmp_path / "mixed"
    more = ["training.precision=mixed_float16", "visual.trainable=last_stage", NO_NEIGHBORS]
    train(phantoms, run, small_config, "--set", *more)
    with open(run / "history.csv") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file) if row["stage"] == "caption"]
    assert np.isfinite(losses).all()
    assert losses[1] < losses[0]
    assert all(array.dtype != np.float16 for array in weights(run).values())


def test_xla_compiles_the_steps_on_images_and_captions(phantoms, small_config, tmp_path):
    run, more = tmp_path / "xla", ["training.deterministic=false", "semantic.epochs=1", "training.epochs=1"]
    done = train(phantoms, run, small_config, "--set", "training.xla=true", *more, NO_NEIGHBORS)
    assert "XLA on" in done.stderr
    with open(run / "history.csv") as file:
        rows = {row["stage"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["visual", "semantic", "caption"]
    assert all(np.isfinite(float(row["loss"])) for row in rows.values())


def test_concepts_go_on_from_those_of_another_run_where_they_are_the_same(small_run, phantoms, small_config, tmp_path):
    more = [f"visual.weights={small_run}", "visual.concept_learning_rate=0", "semantic.epochs=0", "training.epochs=1"]
    more += [NO_NEIGHBORS, NO_SEMANTIC]
    done = train(phantoms, tmp_path / "same", small_config, "--set", *more)
    assert "begins anew" not in done.stderr
    before, after = (
        {name: array for name, array in weights(run).items() if name.startswith("concept_head") and array.ndim}
        for run in (small_run, tmp_path / "same")
    )
    assert before.keys() == after.keys() and before
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    done = train(phantoms, tmp_path / "fewer", small_config, "--set", *more, "data.min_concept_count=9")
    assert "the concept head begins anew: visual.weights: the run" in done.stderr


def test_other_paths_through_the_loop(phantoms, small_config, tmp_path):
    """Smaller images first, scheduled sampling, no semantic encoder, tf-explain's pictures."""
    run = tmp_path / "other"
    more = ["training.scheduled_sampling=0.5", "decoder.semantic_source=none", "training.explain_every=1"]
    more += ["training.label_smoothing=0.1", "data.equalize=true", NO_NEIGHBORS, NO_SEMANTIC]
    more += ["visual.small_epochs=1", "visual.small_size=32"]
    train(phantoms, run, small_config, "--set", *more)
    pictures = {path.name for path in (run / "logs" / "tf_explain").glob("*.png")}
    assert {
        "small_epoch_001_grad_cam.png",
        "visual_epoch_001_grad_cam.png",
        "visual_epoch_001_conv1_relu.png",
        "caption_epoch_002_grad_cam.png",
    } <= pictures


def test_an_oracle_is_labeled_and_cannot_caption(phantoms, small_config, tmp_path):
    run = tmp_path / "oracle"
    train(phantoms, run, small_config, "--set", "decoder.semantic_source=reference", "visual.concept_epochs=0")
    scores = json.loads((run / "scores.json").read_text())
    assert "model" not in scores
    assert scores["oracle"]["bleu_1"] >= 0
    done = run_command("-m", "medcap_tf", "caption", run, phantoms / "test" / "images", check=False)
    assert done.returncode == 1
    assert "oracle" in done.stderr


def test_a_test_split_without_captions_is_captioned_and_validation_scored(phantoms, small_config, tmp_path):
    data = shutil.copytree(phantoms, tmp_path / "data")
    for table in ("captions.xlsx", "concepts.xlsx"):
        (data / "test" / table).unlink()
    run = tmp_path / "run"
    done = train(data, run, small_config, "--set", NO_NEIGHBORS, NO_SEMANTIC, "training.epochs=1")
    assert "no captions to score against: scores are those of the validation split" in done.stderr
    assert set(pd.read_csv(run / "predictions.csv").ID) == {f"test{i:05}" for i in range(8)}
    assert set(pd.read_csv(run / "predictions_valid.csv").ID) == {f"valid{i:05}" for i in range(8)}
    assert json.loads((run / "scores.json").read_text())["split"] == "valid"
    assert (run / "scores.json").read_bytes() == (run / "scores_valid.json").read_bytes()


def test_text_alone_trains_the_semantic_stage(phantoms, small_config, tmp_path, monkeypatch):
    """On a machine with a card that TensorFlow does not use, in batches of a size that is found."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA A100, 470.57.02, 40960, 39500, 8.0'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    data = tmp_path / "text"
    shutil.copytree(phantoms, data, ignore=shutil.ignore_patterns("images", "masks"))
    run, more = tmp_path / "text_run", ["semantic.epochs=8", "training.batch_size=auto"]
    done = train(data, run, small_config, "--set", *more)
    assert "the semantic stage alone" in done.stderr
    assert "GPU 0: NVIDIA A100, 39,500 of 40,960 MiB free" in done.stderr
    assert "warning: TensorFlow does not use the NVIDIA card of this machine: " in done.stderr
    written = json.loads((run / "config.json").read_text())
    assert written["config"]["training"]["batch_size"] == 0 and 8 <= written["batch_size"] <= 256
    assert f"training.batch_size=auto: {written['batch_size']} images fit" in done.stderr
    assert "images fit" not in train(data, run, small_config, "--set", *more, "--resume").stderr
    scores = json.loads((run / "scores.json").read_text())
    assert scores["captions"] == 8
    assert 0 <= scores["model"]["concept_f1"] <= 1
    low, high = scores["intervals"]["model"]["concept_f1"]
    assert low <= scores["model"]["concept_f1"] <= high
    assert set(scores["model"]) == {"concept_f1", "concept_micro_f1", "concept_macro_f1", "concept_map"}


def test_a_loss_that_is_not_finite_names_the_images(phantoms, small_config, tmp_path):
    more = [
        "training.learning_rate=1e30",
        "training.clip_norm=0",
        "training.warmup_epochs=0",
        "visual.concept_epochs=0",
    ]
    done = train(phantoms, tmp_path / "nan", small_config, "--set", *more, "semantic.epochs=0", check=False)
    assert done.returncode == 1
    assert "the loss is" in done.stderr
    assert "train000" in done.stderr
    assert "Traceback" not in done.stderr


def test_several_replicas_train_as_one(phantoms, small_config, tmp_path):
    """Two logical CPUs stand in for two GPUs."""
    script = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from medcap_tf import config
from medcap_tf.training import device, run
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
run.prepare_device = lambda c: device.Device(mirrored, "float32", "float32", "two")
settings = {"training.deterministic": False, "decoding.neighbors": 0, "visual.ema_decay": 0.9, "data.erase": 0.5}
scores = run.train(config.load(Path(sys.argv[1])).replace(settings), Path(sys.argv[2]), Path(sys.argv[3]))
print(scores["model"]["bleu_1"])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = run_command("-c", script, small_config, phantoms, tmp_path / "two", env=environment)
    assert float(done.stdout) >= 0


@pytest.mark.gpu
def test_a_gpu_is_used(phantoms, small_config, tmp_path):
    done = train(phantoms, tmp_path / "gpu", small_config, "--set", "training.precision=auto")
    assert "GPU" in done.stderr
    assert "mixed_float16" in done.stderr


def test_small_settings_are_the_ones_written(small_run):
    written = json.loads((small_run / "config.json").read_text())["config"]
    for section, fields in SMALL.items():
        assert {name: written[section][name] for name in fields} == fields
