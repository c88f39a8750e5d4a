"""The commands as a person types them: output, exit codes, and errors without tracebacks."""

from __future__ import annotations

import json

import pytest

from tests.conftest import run_command


def medcap(*arguments, check=True):
    return run_command("-m", "medcap_tf", *arguments, check=check)


def write(path, *rows):
    path.write_text("ID,Caption\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_help_teaches_and_starts_without_tensorflow():
    assert "records" in medcap("--help").stdout
    shown = run_command("train.py", "--help").stdout
    assert "decoding.beam_width=3  1 to 64" in shown
    done = run_command(
        "-X", "importtime", "-c", "import sys; sys.argv = ['m', '--help']; import medcap_tf.cli as c; c.main()"
    )
    assert "tensorflow" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("fly",), ("caption",), ("phantoms", "x", "--train", "many")])
def test_wrong_usage_exits_with_two(arguments):
    assert medcap(*arguments, check=False).returncode == 2


def test_score_prints_every_metric(tmp_path):
    references = write(tmp_path / "r.csv", "a,CT of the chest with effusion", "b,Renal cyst")
    predictions = write(tmp_path / "p.csv", "b,renal cysts", "a,")
    scores = json.loads(medcap("score", "--references", references, "--predictions", predictions).stdout)
    assert list(scores) == [
        "imageclef_2021_bleu", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "meteor",
    ]  # fmt: skip
    assert scores["imageclef_2021_bleu"] == 0.5  # one right, one empty
    assert scores["bleu_1"] == pytest.approx(2.718281828 ** (1 - 5 / 2), rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [(["a,x"], "has no caption for 1 IDs"), (["a,x", "b,y", "c,z"], "has captions for unknown 1 IDs")],
)
def test_score_wants_the_same_ids(tmp_path, rows, message):
    references, predictions = write(tmp_path / "r.csv", "a,one", "b,two"), write(tmp_path / "p.csv", *rows)
    done = medcap("score", "--references", references, "--predictions", predictions, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_records_for_machines(phantoms):
    report = json.loads(medcap("records", phantoms, "--json").stdout)
    assert report["splits"]["train"]["images"] == report["splits"]["train"]["captions"] == 32
    assert report["problems"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("records", "nowhere"), "nowhere"),
        (("caption", "nowhere", "setup.cfg"), "no run folder"),
        (("phantoms", "tests", "--train", "1"), "tests"),
    ],
)
def test_errors_name_what_is_wrong(arguments, message):
    done = medcap(*arguments, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_caption_prints_a_line_an_image(small_run, phantoms):
    done = medcap("caption", small_run, phantoms / "test" / "images")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 8
    assert all(len(line) == 3 and float(line[2]) < 0 for line in lines)
    first = next(iter(sorted((phantoms / "test" / "images").iterdir())))
    found = json.loads(medcap("caption", small_run, first, "--json").stdout)
    assert found["caption"] == lines[0][1]
    assert len(found["words"]) == len(found["word_importance"])
    assert "TensorFlow" not in done.stderr


@pytest.mark.slow
def test_caption_goes_on_after_a_broken_image(small_run, phantoms, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    done = medcap("caption", small_run, broken, phantoms / "test" / "images", check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 8
    assert "broken.jpg" in done.stderr
    assert "1 of 9 images could not be read" in done.stderr
