"""The loop on a stage made by hand: one weight `w`, six values `x`, and w * mean(x) of each batch of two as the loss.

Adam moves a weight whose gradient stays the same by the learning rate, so every value here can be told by hand.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.config import TrainingConfig
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.device import Device
from medcap_tf.training.history import History
from medcap_tf.training.loop import Interrupted, Stage, _compile, _optimizer, _Progress, run_stage
from medcap_tf.training.watch import UnreadLosses

DEVICE = Device(tf.distribute.get_strategy(), "float32", "float32", "this process")
CONFIG = TrainingConfig(warmup_epochs=0, clip_norm=0, weight_decay=0)
VALUES = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


class Weight(tf.Module):
    """What is trained."""

    def __init__(self, value=1.0):
        super().__init__()
        self.w = tf.Variable(value)


def made(scores, *, epochs=None, rate=0.0, values=VALUES, loss=None, **more):
    """A stage with a score for each epoch, or an exception to raise instead, and the weight that it trains.

    Its best weights are a file that says what `w` was.
    """
    weight, scores = Weight(), iter(scores)

    def batches(epoch, skip):
        rows = {"rows": np.arange(len(values)), "x": np.array(values, np.float32)}
        return tf.data.Dataset.from_tensor_slices(rows).batch(2).skip(skip)

    def keep_best(folder):
        folder.mkdir(parents=True)
        (folder / "w").write_text(str(float(weight.w)))

    stage = Stage(
        name="tiny", epochs=epochs or 1, learning_rate=rate, steps=-(-len(values) // 2), modules={"weight": weight},
        variables=[weight.w], batches=batches, loss=loss or (lambda batch, step: weight.w * tf.reduce_mean(batch["x"])),
        validate=lambda: {"f1": next(scores)}, monitor="f1", keep_best=keep_best,
        row_ids=lambda rows: [f"image{row}" for row in rows], **more,
    )  # fmt: skip
    return stage, weight


def run(stage, folder, config=CONFIG):
    folder = RunFolder(folder)
    return run_stage(stage, config, DEVICE, folder, History(folder))


def rows(folder):
    with open(folder / "history.csv") as file:
        return list(csv.DictReader(file))


def scores(row):
    return {name: value for name, value in row.items() if not name.endswith("_seconds")}


def kept(best):
    return float((best / "w").read_text())


def send(*signals):
    """Called in an epoch, before its first batch."""
    for number in signals:
        os.kill(os.getpid(), number)


def test_the_rate_warms_up_and_falls_by_a_cosine(tmp_path):
    config = TrainingConfig(warmup_epochs=1, clip_norm=0, weight_decay=0)
    stage, weight = made([0.1, 0.2], epochs=2, rate=0.1, values=[2.0] * 4)
    run(stage, tmp_path, config)
    # Of two steps of warm-up the first has rate 0; of two of the cosine, which ends at 0.01, the second is half way.
    assert float(weight.w) == pytest.approx(1 - 0.1 * (0 + 0.5 + 1 + (0.99 / 2 + 0.01)), abs=1e-5)


def test_a_row_of_history_is_the_mean_loss_and_the_scores(tmp_path):
    stage, _ = made([0.25])
    run(stage, tmp_path)
    (row,) = rows(tmp_path)
    assert {name: row[name] for name in ("stage", "epoch", "loss", "learning_rate", "valid_f1")} == {
        "stage": "tiny", "epoch": "1", "loss": "3.5", "learning_rate": "0", "valid_f1": "0.25",
    }  # fmt: skip


def test_matrices_decay_and_vectors_do_not(tmp_path):
    stage, _ = made([0.0], rate=0.1, values=VALUES[:2])
    matrix, vector = tf.Variable([[1.0]]), tf.Variable([1.0])
    stage.variables = [matrix, vector]
    stage.loss = lambda batch, step: 0.0 * (matrix[0, 0] + vector[0])
    run(stage, tmp_path, TrainingConfig(warmup_epochs=0, weight_decay=0.5))
    assert (float(matrix[0, 0]), float(vector[0])) == (pytest.approx(1 - 0.1 * 0.5), 1)


def test_gradients_are_clipped_by_their_norm(tmp_path):
    """Adam hides a factor that all steps share, so the gradient is read off its first moment: (1 - 0.9) of it."""
    stage, weight = made([0.0], rate=0.1)
    optimizer = _optimizer(stage, TrainingConfig(clip_norm=2.0), DEVICE)
    optimizer.build([weight.w])
    optimizer.apply_gradients([(tf.constant(50.0), weight.w)])
    assert float(optimizer._momentums[0]) == pytest.approx(0.1 * 2.0)


def test_rows_of_a_word_that_a_batch_repeats_are_one_gradient_to_clip(tmp_path):
    words = tf.Variable(tf.ones([3, 2]))
    stage, _ = made([0.0], rate=0.1)
    stage.variables = [words]
    stage.loss = lambda batch, step: tf.reduce_sum(tf.gather(words, [1] * 16))
    optimizer = _optimizer(stage, TrainingConfig(clip_norm=1.0, warmup_epochs=0), DEVICE)
    optimizer.build([words])
    batches = stage.batches(0, 0)
    _compile(stage, optimizer, DEVICE, batches.element_spec, _Progress(), None)(next(iter(batches)))
    assert float(tf.norm(optimizer._momentums[0])) == pytest.approx(0.1 * 1.0)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.5, 0.4, 0.3], 0),
        ([0.5, 0.5, 0.4], 1),
        ([0.1, 0.2, 0.3], 2),
    ],
)
def test_weights_that_a_stage_begins_with_compete_where_they_are_trained(tmp_path, scores, best):
    stage, weight = made(scores, epochs=2, rate=0.01, begins_trained=True)
    trained = [float(weight.w)]
    stage.epoch_end = [lambda epoch, values: trained.append(float(weight.w))]
    folder = run(stage, tmp_path)
    assert folder.name == f"best-{best}" and kept(folder) == trained[best]
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]
    assert run(stage, tmp_path) == folder


def test_what_a_resumed_stage_began_with_is_not_rated_again(tmp_path):
    stage, _ = made([0.5, 0.4], epochs=1, rate=0.01, begins_trained=True)
    run(stage, tmp_path)
    again, _ = made([0.3], epochs=2, rate=0.01, begins_trained=True)
    (tmp_path / "checkpoints/tiny/done.json").unlink()
    assert run(again, tmp_path).name == "best-0"


@pytest.mark.parametrize(
    ("scores", "trained", "best"),
    [
        ([0.1, 0.3, 0.2, 0.1, 0.9], 4, 2),  # two epochs without a better score are enough
        ([0.1, 0.2, 0.2, 0.1, 0.1], 5, 3),  # of equals the later one
        ([0.0, 0.0, 0.0, 0.0, 0.0], 5, 5),  # and a score of 0 is no end of patience
        ([0.5, 0.4, 0.6, 0.5, 0.4], 5, 3),
    ],
)
def test_training_stops_when_patience_ends_and_the_best_weights_stay(tmp_path, scores, trained, best):
    stage, weight = made(scores, epochs=5, rate=0.01)
    after = []
    stage.epoch_end = [lambda epoch, values: after.append(float(weight.w))]
    folder = run(stage, tmp_path, TrainingConfig(warmup_epochs=0, clip_norm=0, weight_decay=0, patience=2))
    assert [row["epoch"] for row in rows(tmp_path)] == [str(epoch + 1) for epoch in range(trained)]
    assert folder.name == f"best-{best}" and kept(folder) == after[best - 1]
    assert [path.name for path in folder.parent.glob("best-*")] == [folder.name]
    done = json.loads((folder.parent / "done.json").read_text())
    assert done == {"epochs": trained, "best_epoch": best, "f1": max(scores[:trained])}


def test_the_average_of_the_weights_is_validated_and_kept_and_training_goes_on_from_its_own(tmp_path):
    """Of a weight that falls from 1 by less and less: by a cosine."""
    stage, weight = made([0.1, 0.2], epochs=2, rate=0.1, ema_decay=0.25)
    seen, own, validate = [], [], stage.validate
    stage.validate = lambda: (seen.append(float(weight.w)), validate())[1]
    batch_loss = stage.loss
    stage.loss = lambda batch, step: (
        tf.py_function(lambda w: (own.append(float(w)), w)[1], [weight.w], tf.float32) * (0.0) + batch_loss(batch, step)
    )
    best = run(stage, tmp_path)
    after = [*own[1:], float(weight.w)]  # each step
    average, expected = 1.0, []
    for step, value in enumerate(after, 1):
        kept_share = min(0.25, (1 + step) / (10 + step))
        average = kept_share * average + (1 - kept_share) * value
        expected.append(average)
    assert len(after) == 6 and after == sorted(after, reverse=True)
    assert seen == pytest.approx([expected[2], expected[5]], abs=1e-5)
    assert kept(best) == seen[1] != float(weight.w)


SCORES = (0.1, 0.3, 0.2)


@pytest.fixture(scope="module", params=[0.0, 0.9], ids=["plain", "average"])
def whole(tmp_path_factory, request):
    """A stage of three epochs that was let alone, with an average of its weights or without: its best weights, `w` and
    history, and what else to make it of."""
    folder, more = tmp_path_factory.mktemp("whole"), {"rate": 0.1, "ema_decay": request.param}
    stage, weight = made(SCORES, epochs=3, **more)
    return run(stage, folder), float(weight.w), rows(folder), more


class TestResumption:
    """Interrupted and resumed the stage ends in the same."""

    def check(self, whole, folder, weight, best):
        assert (kept(best), best.name) == (kept(whole[0]), whole[0].name)
        assert float(weight.w) == whole[1]
        for one, other in zip(rows(folder), whole[2], strict=True):
            assert scores(one) == scores(other)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_in_the_middle_of_an_epoch(self, whole, tmp_path, capsys, number):
        stage, _ = made(SCORES[:1], epochs=3, **whole[3])
        stage.epoch_start = lambda epoch: send(number) if epoch == 1 else None
        before = signal.getsignal(number)
        with pytest.raises(Interrupted, match=f"{number.name}: saved at tiny epoch 2, batch 1"):
            run(stage, tmp_path)
        assert signal.getsignal(number) is before
        stage, weight = made(SCORES[1:], epochs=3, **whole[3])
        asked, batches = [], stage.batches
        stage.batches = lambda epoch, skip: asked.append((epoch, skip)) or batches(epoch, skip)
        best = run(stage, tmp_path)
        assert "tiny: resuming at epoch 2, batch 2" in capsys.readouterr().err
        assert asked[-2:] == [(1, 1), (2, 0)]
        self.check(whole, tmp_path, weight, best)

    def test_at_the_end_of_an_epoch(self, whole, tmp_path):
        stage, _ = made(SCORES[:1], epochs=3, **whole[3])
        validate = stage.validate
        stage.validate = lambda: (send(signal.SIGTERM), validate())[1]
        with pytest.raises(Interrupted, match="saved at the end of tiny epoch 1"):
            run(stage, tmp_path)
        stage, weight = made(SCORES[1:], epochs=3, **whole[3])
        self.check(whole, tmp_path, weight, run(stage, tmp_path))

    def test_what_was_not_saved_is_trained_again(self, whole, tmp_path):
        """The second epoch ends in a crash after its best weights and its row are written."""
        stage, _ = made(SCORES[:2], epochs=3, **whole[3])
        stage.epoch_end = [lambda epoch, values: 1 / (2 - epoch)]
        with pytest.raises(ZeroDivisionError):
            run(stage, tmp_path)
        assert len(rows(tmp_path)) == 2
        stage, weight = made(SCORES[1:], epochs=3, **whole[3])
        keep_best = stage.keep_best

        def keep_again(folder):
            (folder / "w").unlink()
            folder.rmdir()
            keep_best(folder)

        stage.keep_best = keep_again
        self.check(whole, tmp_path, weight, run(stage, tmp_path))

    def test_a_stage_that_is_done_is_left_alone(self, whole):
        stage, weight = made([], epochs=3)
        assert run(stage, whole[0].parents[2]) == whole[0]
        assert float(weight.w) == 1

    def test_of_earlier_versions_the_best_weights_lie_together(self, tmp_path):
        folder = tmp_path / "checkpoints" / "tiny"
        folder.mkdir(parents=True)
        (folder / "done.json").write_text('{"epochs": 3, "best_epoch": 2, "f1": 0.5}')
        assert run(made([])[0], tmp_path) == tmp_path / "checkpoints" / "best"


def test_a_second_ctrl_c_acts_at_once(tmp_path):
    stage, _ = made([])
    stage.epoch_start = lambda epoch: send(signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(stage, tmp_path)


def test_a_stage_without_epochs_has_no_weights(tmp_path):
    stage, _ = made([])
    stage.epochs = 0
    assert run(stage, tmp_path) is None
    assert json.loads((tmp_path / "checkpoints" / "tiny" / "done.json").read_text())["epochs"] == 0


def test_losses_are_read_every_few_steps_and_each_is_counted(tmp_path, monkeypatch):
    """45 batches of two: read after the 20th, the 40th and at the end."""
    read, check = [], UnreadLosses.check
    monkeypatch.setattr(UnreadLosses, "check", lambda self: (read.append(len(self._unread)), check(self))[1])
    stage, _ = made([0.5], values=[1.0, 3.0] * 45)
    run(stage, tmp_path)
    assert read == [20, 20, 5]
    (row,) = rows(tmp_path)
    assert row["loss"] == "2" and 0 <= float(row["waiting_seconds"]) <= float(row["training_seconds"])


def test_a_bad_loss_among_good_ones_is_found_when_they_are_read(tmp_path):
    stage, _ = made([0.5], values=[1.0, 1.0] * 29 + [np.nan, 1.0] + [1.0, 1.0] * 20)
    with pytest.raises(InputError, match=r"tiny, epoch 1, batch 30: the loss is nan; images image58, image59\."):
        run(stage, tmp_path)


def test_a_profile_of_some_batches_is_written_for_tensorboard(tmp_path):
    stage, _ = made([0.5, 0.5], epochs=2)
    run(stage, tmp_path, TrainingConfig(warmup_epochs=0, profile="2:3"))
    assert len(list((tmp_path / "logs" / "tiny" / "plugins" / "profile").glob("*/*.xplane.pb"))) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_its_batch(tmp_path, value):
    stage, _ = made([0.5], epochs=2)
    stage.batches = lambda epoch, skip, batches=stage.batches: batches(epoch, skip).map(
        lambda batch: {**batch, "x": tf.where((batch["rows"] == 3) & (epoch == 1), value, batch["x"])}
    )
    message = rf"tiny, epoch 2, batch 2: the loss is {value}; images image2, image3\. .* the last whole epoch is saved"
    with pytest.raises(InputError, match=message):
        run(stage, tmp_path)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1"]
    stage, _ = made([0.6], epochs=2)  # the image is mended
    assert run(stage, tmp_path).name == "best-2"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("ckpt-1.data-00000-of-00001", lambda content: b""),
        ("ckpt-1.data-00000-of-00001", lambda content: content[:-1] + b"?"),
        ("ckpt-1.index", lambda content: content[:40]),
        ("checkpoint", lambda content: b""),
        ("checkpoint", lambda content: b"\xff" + content),
    ],
)
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, name, damage):
    run(made([0.5])[0], tmp_path)
    folder = tmp_path / "checkpoints" / "tiny"
    (folder / "done.json").unlink()
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(InputError, match=r"tiny: the last checkpoint cannot be read .* remove this folder to begin"):
        run(made([0.5])[0], tmp_path)
    shutil.rmtree(folder)
    assert kept(run(made([0.5])[0], tmp_path)) == 1


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(made([0.5])[0], tmp_path)
    (tmp_path / "checkpoints" / "tiny" / "done.json").unlink()
    stage, weight = made([0.5])
    weight.w = tf.Variable([1.0, 2.0])
    with pytest.raises(InputError, match=r"the last checkpoint cannot be read .*shape"):
        run(stage, tmp_path)
