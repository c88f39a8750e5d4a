"""What commands share: columns of trust, numbers in their range."""

from __future__ import annotations

import argparse
import json

import pytest

from medcap_tf.cli.main import main
from medcap_tf.cli.options import percentile, port, suffix_of_files, trust_columns
from medcap_tf.config import Config
from medcap_tf.data.records import Record
from medcap_tf.data.splits import Splits, check_images
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.identity import Identity, describe_data


def test_a_model_that_knows_neither_prints_neither():
    assert trust_columns(None, None) == []


def test_what_is_unknown_keeps_its_column():
    assert trust_columns(0.91234, 12.345) == ["0.912", "12.3"]
    assert trust_columns(None, 99.0) == ["", "99.0", "unlike the training images"]
    assert trust_columns(0.5, 99.0, novel_from=99.5) == ["0.500", "99.0"]


def test_a_port_lies_between_1_and_65535():
    assert [port("1"), port("65535")] == [1, 65535]
    for text in ("0", "65536", "http"):
        with pytest.raises(argparse.ArgumentTypeError):
            port(text)


def test_more_dots_than_memory_holds_are_refused_before_anything_is_loaded(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["explain", str(tmp_path), str(tmp_path), "--dpi", "20000", "--out", str(tmp_path / "out")])
    assert "--dpi 20000: give at most" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_percentile_lies_between_0_and_100():
    assert percentile("99.5") == 99.5
    for wrong in ("-1", "100.5", "high", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match="should be a number from 0 to 100"):
            percentile(wrong)


def record(image_id, caption):
    return Record(image_id, None, caption, ())


TEST = [record("a", "caption of a"), record("b", "caption of b")]


@pytest.fixture
def run(tmp_path):
    """A run folder, as far as it tells its data and its decoding."""
    splits = Splits([record("c", "caption of c")], [record("d", "caption of d")], TEST)
    identity = Identity.of(splits, [check_images(own, "some") for own in splits], {})
    folder = tmp_path / "run"
    folder.mkdir()
    content = {"config": Config().to_json(), **describe_data(tmp_path / "data", identity)}
    (folder / "config.json").write_text(json.dumps(content))
    identity.save(RunFolder(folder))
    return folder


@pytest.mark.parametrize(
    ("changes", "records", "suffix"),
    [
        ({}, TEST, ""),
        ({"data": "elsewhere/the same"}, TEST, ""),  # moved
        ({"beam_width": 3}, TEST, ""),  # its own
        ({"beam_width": 5, "neighbors": 0}, TEST, "_beam_width_5_neighbors_0"),
        ({"split": "valid"}, [record("d", "caption of d")], "_valid"),
        ({"data": "x/new data"}, [record("a", "another caption")], "_new-data"),
        ({"data": "x/new data", "split": "valid"}, [*TEST, record("e", "caption of e")], "_new-data_valid"),
        ({"out": "RUN", "split": "train"}, TEST, "_train"),
        ({"out": "other", "split": "train", "beam_width": 5}, [], ""),
    ],
)
def test_what_is_not_of_the_test_split_has_a_name_of_its_own(run, tmp_path, changes, records, suffix):
    given = {"out": None, "data": "data", "split": "test"}
    given.update(dict.fromkeys(("beam_width", "max_length", "neighbors", "no_repeat_ngram")))
    given.update(changes)
    given["data"] = tmp_path / given["data"]
    given["out"] = given["out"] and {"RUN": run, "other": tmp_path / "other"}[given["out"]]
    assert suffix_of_files(argparse.Namespace(model=run, **given), records) == suffix


def test_a_run_of_an_earlier_version_tells_no_data(run, tmp_path):
    (run / "data.csv").unlink()
    options = dict.fromkeys(("out", "beam_width", "max_length", "neighbors", "no_repeat_ngram"))
    given = argparse.Namespace(model=run, data=tmp_path / "new", split="test", **options)
    assert suffix_of_files(given, [record("x", "")]) == ""
