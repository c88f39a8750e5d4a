"""`history.csv` by itself."""

from __future__ import annotations

import pytest

from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.history import History


def test_rows_of_stages_with_other_scores_share_the_columns(tmp_path):
    history = History(RunFolder(tmp_path))
    history.add("one", 1, {"loss": 0.5})
    history.add("two", 1, {"loss": 1 / 3, "valid_f1": 1.0})
    assert (tmp_path / "history.csv").read_text() == "stage,epoch,loss,valid_f1\none,1,0.5,\ntwo,1,0.333333,1\n"
    assert [path.name for path in tmp_path.glob("logs/*")] != []


def test_epochs_that_are_trained_again_are_forgotten_of_their_stage_alone(tmp_path):
    history = History(RunFolder(tmp_path))
    for stage, epoch in [("one", 1), ("one", 2), ("two", 1), ("two", 2)]:
        history.add(stage, epoch, {"loss": 0.0})
    again = History(RunFolder(tmp_path))
    again.forget("two", 2)
    assert [(row["stage"], row["epoch"]) for row in again.rows] == [("one", "1"), ("one", "2"), ("two", "1")]


@pytest.mark.parametrize("text", ["stage,epoch\none,first\n", "stage,epoch\n,1\n", "epoch\n1\n", "stage,epoch\na\n"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InputError, match=r"history\.csv: cannot be read .* bring it back, or remove it"):
        History(RunFolder(tmp_path))
