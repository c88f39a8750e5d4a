"""A training killed at any point and resumed ends with the weights of one that was not."""

from __future__ import annotations

import csv
import json
import signal

import h5py
import numpy as np
import pytest

from tests.conftest import run_command

pytestmark = pytest.mark.slow

# In the order in which a training comes to them.
FROZEN = ["config.json", "vocabulary.json", "visual.best", "visual.done", "semantic.validation", "semantic.uncommitted",
          "concepts.json", "features", "caption.begin", "caption.validation", "history.csv", "done.json",
          "library.npy", "predictions.csv"]  # fmt: skip
LEARNING = ["visual.uncommitted", "caption.begin", "caption.best", "caption.uncommitted", "caption.done"]


def weights(run):
    """Every array of a run's best weights, by file and name."""
    found = {}
    for path in sorted((run / "checkpoints" / "best").glob("*.h5")):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, stem=path.stem: (
                    found.update({f"{stem}/{name}": item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
    return found


def assert_same_weights(run, other):
    one, two = weights(run), weights(other)
    assert one.keys() == two.keys()
    assert len(one) > 100
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def killed_at(points, command):
    """Kill at each point in turn, one run resumed; then let it end."""
    for point in points:
        done = run_command("-m", "tests.training.killed", point, *command, check=False)
        assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.stderr[-2000:]}"
    run_command("train.py", *command)


def epochs(run):
    with open(run / "history.csv") as file:
        return [(row["stage"], row["epoch"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("points", [FROZEN[0::2], FROZEN[1::2]], ids=",".join)
def test_killed_and_resumed_ends_as_if_nothing_had_happened(small_run, phantoms, small_config, tmp_path, points):
    run = tmp_path / "killed"
    killed_at(points, ["--data", phantoms, "--out", run, "--config", small_config, "--resume"])
    assert_same_weights(small_run, run)
    assert epochs(run) == epochs(small_run)
    for name in ("scores.json", "concepts.json", "predictions.csv", "library.npy", "data.csv"):
        assert (run / name).read_bytes() == (small_run / name).read_bytes()


def test_a_stage_that_trains_the_encoder_on_begins_from_the_concepts_encoder(phantoms, small_config, tmp_path):
    whole, run = tmp_path / "whole" / "run", tmp_path / "killed" / "run"  # each with a feature cache of its own
    # What the encoder has no part in is left out.
    settings = ("visual.trainable=last_stage", "decoder.semantic_source=none", "semantic.epochs=0")
    command = ["--data", phantoms, "--config", small_config, "--resume", "--set", *settings, "decoding.neighbors=0"]
    run_command("train.py", "--out", whole, *command)
    killed_at(LEARNING, ["--out", run, *command])
    assert_same_weights(whole, run)
    assert epochs(run) == epochs(whole)
    assert json.loads((run / "concepts.json").read_text()) == json.loads((whole / "concepts.json").read_text())


def test_one_set_of_best_weights_is_kept_for_each_stage(small_run):
    kept = {path.parent.name: path.name for path in (small_run / "checkpoints").glob("*/best-*")}
    for stage in ("visual", "semantic", "caption"):
        done = json.loads((small_run / "checkpoints" / stage / "done.json").read_text())
        assert kept[stage] == f"best-{done['best_epoch']}"
