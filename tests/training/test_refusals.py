"""A command that is refused leaves every byte of a finished run as it was."""

from __future__ import annotations

import json
import shutil

import openpyxl
import pytest

from medcap_tf import config
from medcap_tf.errors import InputError
from medcap_tf.training.run import train
from tests.conftest import contents, run_command

pytestmark = pytest.mark.slow


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture
def data(phantoms, tmp_path):
    return shutil.copytree(phantoms, tmp_path / "moved" / "phantoms")


def edit(table, change):
    """Change the text of every row of a workbook; None takes the row out."""
    book = openpyxl.load_workbook(table)
    for row in list(book.active.iter_rows(min_row=2)):
        row[1].value = change(row[1].value)
        if row[1].value is None:
            book.active.delete_rows(row[0].row)
    book.save(table)


def more_words(data):
    edit(data / "train" / "captions.xlsx", lambda text: f"{text} Comparison unavailable.")


def other_words(data):
    edit(data / "train" / "captions.xlsx", lambda text: text.replace("a", "o", 1))


def fewer_rows(data):
    book = openpyxl.load_workbook(data / "train" / "captions.xlsx")
    book.active.delete_rows(3, 2)
    book.save(data / "train" / "captions.xlsx")


def other_concepts(data):
    edit(data / "valid" / "concepts.xlsx", lambda codes: "C0000001")


def other_references(data):
    edit(data / "test" / "captions.xlsx", lambda text: text[::-1])


def broken_image(data):
    next((data / "train" / "images").iterdir()).write_bytes(b"no image")


def image_gone(data):
    next((data / "test" / "images").iterdir()).unlink()


def swapped_images(data):
    one, other, *_ = sorted((data / "train" / "images").iterdir())
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def no_table(data):
    (data / "train" / "captions.xlsx").unlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (more_words, "32 records with other captions or concepts: train train00000"),
        (other_words, "records with other captions or concepts: train train0000"),
        (fewer_rows, "2 records gone: train train0000"),
        (other_concepts, "records with other captions or concepts: valid valid0000"),
        (other_references, "8 records with other captions or concepts: test test00000"),
        (broken_image, "1 record whose image cannot be read any more: train train000"),
        (image_gone, "1 record gone: test test0000"),
        (swapped_images, "2 records with another image: train train00000, train train00001"),
        (no_table, "no table of captions"),
    ],
)
def test_other_data_are_refused_by_name(run, data, small_config, change, named):
    change(data)
    before = contents(run)
    with pytest.raises(InputError, match=named):
        train(config.load(small_config), data, run, resume=True)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("config.json", b"{", "not JSON"),
        ("history.csv", b"stage,epoch\nvisual,one\n", "history.csv: cannot be read"),
        ("concepts.json", b"{}", "concepts.json: is not what the data gives now"),
        ("vocabulary.json", None, "vocabulary.json: is not what the data gives now"),
    ],
)
def test_a_damaged_file_of_the_run_is_named(run, phantoms, small_config, name, content, named):
    if content is None:
        words = json.loads((run / name).read_text())
        words["words"] = dict(reversed(words["words"].items()))
        content = json.dumps(words).encode()
    (run / name).write_bytes(content)
    before = contents(run)
    command = ("train.py", "--data", phantoms, "--out", run, "--config", small_config, "--resume")
    done = run_command(*command, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert named in done.stderr
    assert contents(run) == before


def test_a_new_run_that_cannot_begin_leaves_no_folder(phantoms, small_config, tmp_path, small_run):
    cases = {
        "visual.layer": ["visual.layer=conv9"],
        "visual.weights": [f"visual.weights={tmp_path / 'none.h5'}"],
        "concepts": [f"visual.weights={small_run}", "visual.concept_epochs=0", "data.min_concept_count=9"],
    }
    for named, settings in cases.items():
        command = ("train.py", "--data", phantoms, "--out", tmp_path / "new", "--config", small_config)
        done = run_command(*command, "--set", *settings, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert named in done.stderr
        assert not (tmp_path / "new").exists()


def test_moved_data_are_the_same_and_the_new_path_is_kept(run, data, small_config):
    run_command("train.py", "--data", data, "--out", run, "--config", small_config, "--resume")
    written = json.loads((run / "config.json").read_text())
    assert (written["data"], written["data_path"]) == (str(data), str(data))


def test_a_run_of_before_is_resumed_and_says_what_could_not_be_checked(run, phantoms, small_config):
    (run / "data.csv").unlink()
    written = json.loads((run / "config.json").read_text())
    del written["data_path"], written["data_digest"]
    (run / "config.json").write_text(json.dumps(written))
    done = run_command("train.py", "--data", phantoms, "--out", run, "--config", small_config, "--resume")
    (line,) = [line for line in done.stderr.splitlines() if "could not be checked" in line]
    assert "begun by an earlier version" in line
    assert json.loads((run / "config.json").read_text()) == written
