"""`medcap cluster train` while a worker is killed: started again, it ends with the numbers of one that was not."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

from tests.cluster.namespace import loopback_alone, wait_for
from tests.conftest import run_command
from tests.training.test_pair import assert_same, codes, numbers, start

pytestmark = pytest.mark.slow


def trainers(inside):
    """The processes that train, by number: their environment says which they are."""
    found = {}
    for pid in inside.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            environment = Path(f"/proc/{pid}/environ").read_text()
        except OSError:
            continue  # it has ended meanwhile
        if "train" in command and "cluster" not in command and "TF_CONFIG=" in environment:
            config = json.loads(environment.partition("TF_CONFIG=")[2].partition("\0")[0])
            found[config["task"]["index"]] = pid
    return found


def epochs(run):
    if not (run / "history.csv").exists():
        return 0
    with open(run / "history.csv") as file:
        return len(list(csv.DictReader(file)))


def test_a_killed_worker_is_started_again_and_the_numbers_are_the_same(texts, tmp_path):
    settings = [*texts, "--set", "training.deterministic=true", "semantic.epochs=12"]
    run = tmp_path / "killed"
    with loopback_alone() as inside:
        workers = start(inside, 4200, *[["train.py", *settings, "--out", tmp_path / "whole"]] * 2)
        assert codes(workers) == [0, 0], workers[0].log.read_text()[-2000:]
        driver = inside.start("-m", "medcap_tf", "cluster", "train", "--workers", "2", *settings, "--out", run)
        wait_for(lambda: epochs(run) >= 2 or driver.poll() is not None, "second epoch", 400)
        assert driver.poll() is None, driver.log.read_text()[-3000:]
        os.kill(trainers(inside)[1], signal.SIGKILL)
        assert driver.wait(400) == 0, driver.log.read_text()[-3000:]
        printed = driver.log.read_text()
    assert "semantic: resuming at epoch" in printed and "concept_f1" in printed
    assert_same(numbers(tmp_path / "whole", "semantic"), numbers(run, "semantic"))
    assert (run / "scores.json").read_bytes() == (tmp_path / "whole" / "scores.json").read_bytes()


def test_what_workers_refuse_is_said_once_and_not_tried_again(texts, tmp_path):
    arguments = ["--workers", "2", *texts, "--out", tmp_path / "run", "--set", "training.batch_size=7"]
    with loopback_alone() as inside:
        driver = inside.start("-m", "medcap_tf", "cluster", "train", *arguments)
        assert driver.wait(400) == 1
        last = driver.log.read_text().strip().splitlines()[-1]
    assert last == "error: setting training.batch_size: 7 cannot be shared by 2 replicas; choose a multiple"


def test_a_run_that_is_taken_is_refused_before_anything_is_started(texts, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    done = run_command("-m", "medcap_tf", "cluster", "train", *texts, "--out", tmp_path / "run", check=False)
    assert done.returncode == 1 and "already holds a run" in done.stderr
