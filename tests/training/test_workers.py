"""Who of several processes does what, by values that can be told by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.data.pipeline import Examples
from medcap_tf.data.records import Record
from medcap_tf.data.splits import Splits
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import Normalizer, Vocabulary
from medcap_tf.training.stages import token_share
from medcap_tf.training.workers import Workers, check_shares, check_whole_batch, find_workers, together

TWO = {"worker": ["a:1", "b:1"]}


class Four:
    """The strategy of two processes with two replicas each, as far as it is asked for numbers."""

    num_replicas_in_sync = 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("{}", None),
        (json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}), None),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 1}}), (1, 2)),
        (json.dumps({"cluster": {"chief": ["c:1"], **TWO}, "task": {"type": "worker", "index": 1}}), (2, 3)),
        (json.dumps({"cluster": {"chief": ["c:1"], **TWO}, "task": {"type": "chief", "index": 0}}), (0, 3)),
    ],
)
def test_a_process_knows_its_place_by_its_environment(monkeypatch, text, expected):
    monkeypatch.setenv("TF_CONFIG", text)
    assert find_workers() == expected


@pytest.mark.parametrize(
    "text", ["{", "[1]", json.dumps({"cluster": TWO}), json.dumps({"cluster": TWO, "task": {"type": "ps", "index": 0}})]
)
def test_an_environment_that_is_damaged_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="TF_CONFIG: .* it should be like"):
        find_workers()


def splits(train, valid, test=0):
    return Splits(*([Record("a", None, "", ())] * size for size in (train, valid, test)))


def test_every_replica_needs_an_equal_share():
    workers = Workers(Four(), 1, 2)
    assert workers.replicas == (2, 4, 4)
    check_shares(workers, 8, splits(8, 2))
    with pytest.raises(InputError, match="training.batch_size: 6 cannot be shared by 4 replicas"):
        check_shares(workers, 6, splits(8, 2))
    with pytest.raises(InputError, match="auto asks one machine alone"):
        check_shares(workers, 0, splits(8, 2))
    for few in (splits(8, 1), splits(8, 2, 1)):
        with pytest.raises(InputError, match="1 records to score are too few for 2 workers"):
            check_shares(workers, 8, few)
    check_shares(Workers(tf.distribute.get_strategy()), 7, splits(1, 1))
    with pytest.raises(InputError, match="training.batch_size: 6 cannot be shared by 4 replicas"):
        check_shares(Workers(Four()), 6, splits(8, 2))  # of one process
    check_shares(Workers(Four()), 0, splits(8, 2))  # found later, as a multiple


def test_replicas_need_a_whole_batch():
    records = [Record(name, None, caption, concepts) for name, caption, concepts in (
        ("a", "left kidney", ("C1",)), ("b", "cyst", ("C1",)), ("c", "lung", ()), ("d", "", ("C1",)),
    )]  # fmt: skip
    captions = [record.caption for record in records]
    train = Examples.of(records, ["C1"], Vocabulary.build(captions, Normalizer(), 1), 10)
    four, alone = Workers(Four()), Workers(tf.distribute.get_strategy())
    check_whole_batch(four, 2, train, with_concepts=True)
    check_whole_batch(four, 3, train, with_concepts=False)
    check_whole_batch(alone, 4, train, with_concepts=True)
    with pytest.raises(InputError, match="batch_size: 3 images a batch, and 2 records .* words and concepts: 4 replic"):
        check_whole_batch(four, 3, train, with_concepts=True)
    with pytest.raises(InputError, match="batch_size: 4 images a batch, and 3 records to train have words: 4 replicas"):
        check_whole_batch(four, 4, train, with_concepts=False)


def test_a_mean_of_means_over_shares_is_the_mean_of_all_tokens():
    # Three tokens of loss 1 in one share, one of loss 5 in the other: (3 + 5) / 4 = 2.
    means, tokens = [1.0, 5.0], [[[4, 9, 9, 0]], [[9, 0, 0, 0]]]
    shares = [
        token_share({"targets": tf.constant(own), "batch_tokens": tf.constant([4], tf.int64)}, 2) for own in tokens
    ]
    assert np.mean([float(share) * mean for share, mean in zip(shares, means)]) == pytest.approx(2.0)
    assert token_share({}, 1) == 1.0


def test_a_process_that_is_alone_waits_for_nobody(tmp_path):
    alone, values = Workers(tf.distribute.get_strategy()), np.arange(3)
    assert alone.total(values) is values
    assert alone.any(["SIGTERM"]) and not alone.any([])
    run = RunFolder(tmp_path / "run")
    with together(alone, run) as folder:
        assert folder is run
    with pytest.raises(tf.errors.InternalError), together(alone, run):
        raise tf.errors.InternalError(None, None, "a fault of one process")


def test_others_write_beside_the_run_and_leave_their_messages_alone(tmp_path, capsys):
    import sys

    run = RunFolder(tmp_path / "run")
    with together(Workers(Four(), 1, 2), run) as folder:
        assert folder.path == tmp_path / ".run-worker1"
        folder.path.mkdir()
        print("said", file=sys.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert (run.logs / "worker-1.log").read_text() == "said\n"
    assert capsys.readouterr().err == ""
