"""Two processes train as one; stopped inside an epoch, killed, and resumed they end with the same numbers."""

from __future__ import annotations

import csv
import json
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.cluster.namespace import loopback_alone
from tests.conftest import run_command

pytestmark = pytest.mark.slow
PAIR = ("-m", "tests.training.pair")


@pytest.fixture(scope="module")
def inside():
    """A network namespace: TensorFlow's servers ask nobody who they are."""
    with loopback_alone() as namespace:
        yield namespace


def start(inside, port, *commands):
    """A process for each command, which find each other by `TF_CONFIG`."""
    cluster = {"worker": [f"127.0.0.1:{port + i}" for i in range(len(commands))]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(len(commands))]
    return [inside.start(*command, TF_CONFIG=json.dumps(task)) for command, task in zip(commands, tasks)]


def codes(workers):
    return [worker.wait(600) for worker in workers]


def numbers(run, stage):
    """Every number of a stage's last checkpoint, and of each replica's moving averages."""
    latest = tf.train.latest_checkpoint(str(run / "checkpoints" / stage))
    reader = tf.train.load_checkpoint(latest)
    names = [name for name in reader.get_variable_to_shape_map() if "GRAPH" not in name and "save_counter" not in name]
    found = {name: reader.get_tensor(name) for name in names}
    for path in (run / "checkpoints" / stage).glob(f"{latest.rpartition('/')[2]}.replica-*"):
        with np.load(path) as values:
            found.update({f"{path.name.partition('.')[2]}/{name}": values[name] for name in values.files})
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not np.array_equal(one[name], other[name])] == []


def test_stopped_and_killed_workers_end_with_the_same_numbers(inside, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    workers = start(inside, 4000, (*PAIR, whole), (*PAIR, whole))
    assert codes(workers) == [0, 0], workers[0].log.read_text()[-2000:]
    # In the second batch of the first epoch, the second process gets a signal: both stop there.
    workers = start(inside, 4010, (*PAIR, resumed), (*PAIR, resumed, "SIGTERM", "2"))
    assert codes(workers) == [130, 130], workers[0].log.read_text()[-2000:]
    assert "another worker's signal: saved at tiny epoch 1, batch 2" in workers[0].log.read_text()
    first, second = ({k: v for k, v in numbers(resumed, "tiny").items() if f"replica-{i}" in k} for i in (0, 1))
    assert any(not np.array_equal(a, b) for a, b in zip(first.values(), second.values()))  # each its own averages
    # Then it is killed, in the second epoch: the first says so within seconds.
    workers = start(inside, 4020, (*PAIR, resumed), (*PAIR, resumed, "SIGKILL", "4"))
    assert workers[1].wait(600) == -signal.SIGKILL
    began = time.monotonic()
    assert workers[0].wait(60) == 3, workers[0].log.read_text()[-2000:]
    print(f"the other process ended {time.monotonic() - began:.1f} s later")
    assert "error: worker 1 of 2 has lost another one" in workers[0].log.read_text()
    workers = start(inside, 4030, (*PAIR, resumed), (*PAIR, resumed))
    assert codes(workers) == [0, 0], workers[0].log.read_text()[-2000:]
    assert "tiny: resuming at epoch 2, batch 1" in workers[0].log.read_text()
    assert_same(numbers(whole, "tiny"), numbers(resumed, "tiny"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed", "whole"]
    assert "tiny epoch 3/3" in (whole / "logs" / "worker-1.log").read_text()


def losses(run):
    with open(run / "history.csv") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_workers_learn_what_one_learns_up_to_rounding(inside, texts, tmp_path):
    settings = ["--set", "semantic.dropout=0", "training.deterministic=true"]
    arguments = ["train.py", *texts, *settings, "--out"]
    run_command(*arguments, tmp_path / "one")
    workers = start(inside, 4100, *[[*arguments, tmp_path / "two"]] * 2)
    assert codes(workers) == [0, 0], workers[0].log.read_text()[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, two = (numbers(tmp_path / name, "semantic") for name in ("one", "two"))
    names = [name for name in one if "classifier" in name and "OPTIMIZER" not in name and one[name].dtype == np.float32]
    assert len(names) > 5
    for name in names:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
