"""The commands as a person types them: output, exit codes, and errors without tracebacks."""

from __future__ import annotations

import configparser
import json
import pkgutil

import pandas as pd
import pytest

from medcap_tf.cli.main import main
from tests.conftest import ROOT, run_command


def medcap(*arguments, check=True):
    return run_command("-m", "medcap_tf", *arguments, check=check)


def write(path, *rows):
    path.write_text("ID,Caption\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_the_installed_command_is_the_same():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    name, _, target = settings["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert name == "medcap" and pkgutil.resolve_name(target) is main


def test_help_teaches_and_starts_without_tensorflow():
    assert "records" in medcap("--help").stdout
    shown = run_command("train.py", "--help").stdout
    assert "decoding.beam_width=3  1 to 64" in shown
    done = run_command(
        "-X", "importtime", "-c", "import sys; sys.argv = ['m', '--help']; import medcap_tf.cli.main as c; c.main()"
    )
    assert "tensorflow" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("caption",),
        ("phantoms", "x", "--train", "many"),
        ("phantoms", "x", "--seed", "-1"),
        ("audit", "x", "--data", "d", "--seed", "-1"),
        ("explain", "x", "i.png", "--out", "o", "--maps", "bmp"),
        ("compare", "a", "b", "--references", "c", "--seed", "x"),
    ],
)
def test_wrong_usage_exits_with_two(arguments):
    assert medcap(*arguments, check=False).returncode == 2


@pytest.mark.parametrize("command", ["evaluate", "audit", "explain"])
def test_nothing_is_written_into_a_data_set(phantoms, command):
    done = medcap(command, "no_run", "--data", phantoms, "--out", phantoms / "test" / "images", check=False)
    assert done.returncode == 1 and "lies in the data set, which would be read with it" in done.stderr


def test_score_prints_every_metric(tmp_path):
    references = write(tmp_path / "r.csv", "a,CT of the chest with effusion", "b,Renal cyst")
    predictions = write(tmp_path / "p.csv", "b,renal cysts", "a,")
    scores = json.loads(medcap("score", "--references", references, "--predictions", predictions).stdout)
    assert list(scores) == [
        "imageclef_2021_bleu", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_1", "rouge_l", "cider",
        "meteor", "notes",
    ]  # fmt: skip
    # Of three and two words: no n-gram of four.
    assert scores["notes"]["bleu_4"].startswith("no reference has 4 words")
    assert scores["imageclef_2021_bleu"] == 0.5  # one right, one empty
    assert scores["bleu_1"] == pytest.approx(2.718281828 ** (1 - 5 / 2), rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [(["a,x"], "has no captions for 1 IDs"), (["a,x", "b,y", "c,z"], "has captions for unknown 1 IDs")],
)
def test_score_wants_the_same_ids(tmp_path, rows, message):
    references, predictions = write(tmp_path / "r.csv", "a,one", "b,two"), write(tmp_path / "p.csv", *rows)
    done = medcap("score", "--references", references, "--predictions", predictions, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def three_tables(tmp_path):
    """References, and two tables of predictions of which the second is right more often."""
    words = "brain liver lung heart bone skull colon cyst mass node lobe duct".split()
    references = {f"i{i}": " ".join(words[i % 8 : i % 8 + 5]) for i in range(40)}
    first = {i: caption if n % 3 else "axial film" for n, (i, caption) in enumerate(references.items())}
    second = {i: caption if n % 9 else "axial film" for n, (i, caption) in enumerate(references.items())}
    return [
        write(tmp_path / f"{name}.csv", *(f"{i},{caption}" for i, caption in table.items()))
        for name, table in (("r", references), ("a", first), ("b", second))
    ]


def test_compare_tells_the_difference(three_tables):
    references, first, second = three_tables
    arguments = ("compare", first, second, "--references", references, "--metric", "rouge_l", "bleu_4")
    found = json.loads(medcap(*arguments, "--json").stdout)
    assert found["images"] == 40 and list(found["metrics"]) == ["rouge_l", "bleu_4"]
    rouge = found["metrics"]["rouge_l"]
    assert (rouge["first"], rouge["second"]) == pytest.approx((26 / 40, 35 / 40))
    assert rouge["difference"] == pytest.approx(9 / 40)
    assert 0 < rouge["low"] < 9 / 40 < rouge["high"]
    # Nine images differ, all in one direction: of 2^9 swaps, two are as far from 0.
    assert rouge["p_value"] == pytest.approx(2 / 2**9, abs=0.003)
    lines = medcap(*arguments).stdout.splitlines()
    assert lines[0].startswith("40 images") and lines[2].split()[:4] == ["rouge_l", "0.6500", "0.8750", "+0.2250"]


def test_scores_that_mean_something_have_no_notes(three_tables):
    references, first, second = three_tables
    assert "notes" not in json.loads(medcap("score", "--references", references, "--predictions", second).stdout)
    assert "notes" not in json.loads(medcap("compare", first, second, "--references", references, "--json").stdout)


def test_compare_of_one_image_says_what_cannot_mean_anything(tmp_path):
    references, first, second = (
        write(tmp_path / f"{name}.csv", f"CXR1/0.png,{caption}")
        for name, caption in zip("rab", ("cyst", "cyst", "mass"))
    )
    arguments = ("compare", first, second, "--references", references, "--metric", "meteor", "cider")
    found = json.loads(medcap(*arguments, "--json").stdout)
    assert list(found["notes"]) == ["meteor", "cider", "intervals"]
    assert "0.50 of 1" in found["notes"]["meteor"] and "p is 1 at least" in found["notes"]["meteor"]
    lines = medcap(*arguments).stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith(" *")] == ["meteor", "cider"]
    assert "* intervals: one image alone: an interval over it has no width, whatever the truth is" in lines


def test_files_of_one_name_are_scored_each_with_its_own_reference(tmp_path):
    references = write(tmp_path / "r.csv", "CXR1/0.png,left lung", "CXR2/0.png,right kidney", "0.png,skull")
    predictions = write(tmp_path / "p.csv", "0,skull", "CXR2/0,right kidney", "CXR1\\0.png,left lung")
    scores = json.loads(medcap("score", "--references", references, "--predictions", predictions).stdout)
    assert scores["bleu_1"] == scores["rouge_l"] == 1.0
    done = medcap(
        "score", "--references", references, "--predictions", write(tmp_path / "q.csv", "0,skull"), check=False
    )
    assert done.returncode == 1 and "has no captions for 2 IDs" in done.stderr and "CXR1/0, CXR2/0" in done.stderr


def test_a_row_left_out_is_said(tmp_path):
    references = write(tmp_path / "r.csv", "a,one", "b,two")
    predictions = write(tmp_path / "p.csv", "a,one", "b,two", "a,three")
    done = medcap("score", "--references", references, "--predictions", predictions)
    assert f"{predictions}:4: duplicate ID: 'a' is in row 2" in done.stderr


def test_compare_of_concepts(tmp_path):
    tables = []
    for name, codes in (("r", "C0000001;C0000002"), ("a", "C0000001"), ("b", "C0000001;C0000002")):
        tables.append(tmp_path / f"{name}.csv")
        tables[-1].write_text("ID,CUIs\n" + "".join(f"i{n},{codes}\n" for n in range(12)))
    references, first, second = tables
    found = json.loads(medcap("compare", first, second, "--references", references, "--concepts", "--json").stdout)
    assert list(found["metrics"]) == ["concept_f1", "concept_micro_f1"]
    assert found["metrics"]["concept_f1"]["difference"] == pytest.approx(1 - 2 / 3)


def test_compare_names_the_table_and_the_ids_that_differ(three_tables):
    references, first, second = three_tables
    second.write_text(second.read_text().replace("i7,", "x7,"))
    done = medcap("compare", first, second, "--references", references, check=False)
    assert done.returncode == 1
    assert f"{second}: has no captions for 1 IDs of {references} (i7)" in done.stderr
    done = medcap("compare", first, first, "--references", references, "--metric", "bleu_5", check=False)
    assert done.returncode == 1 and "--metric bleu_5: there are imageclef_2021_bleu, bleu_1" in done.stderr


def test_submit_checks_a_file(phantoms, tmp_path):
    run = tmp_path / "captions.csv"
    run.write_text("".join(f"test{n:05}|a finding\n" for n in range(8)))
    arguments = ("submit", "--check", run, "--data", phantoms, "--split", "test", "--format", "2021")
    assert "a valid 2021 run of captions for 8 images" in medcap(*arguments).stdout
    run.write_text(run.read_text().replace("test00003|", "test00002|"))
    done = medcap(*arguments, check=False)
    assert done.returncode == 1
    assert f"{run}:4: duplicate ID: 'test00002' is in row 3" in done.stdout
    assert f"{run}:0: missing IDs: 1 of 8 images have no row (test00003)" in done.stdout
    assert "2 problems" in done.stderr and "Traceback" not in done.stderr
    done = medcap("submit", "--data", phantoms, "--format", "2021", check=False)
    assert done.returncode == 1 and "either a RUN" in done.stderr


@pytest.mark.slow
def test_submit_writes_runs_that_pass(small_run, phantoms, tmp_path):
    arguments = ("--data", phantoms, "--format", "2025")
    paths = medcap("submit", small_run, *arguments, "--out", tmp_path).stdout.split()
    assert paths == [str(tmp_path / kind / "submission.csv") for kind in ("captions", "concepts")]
    for path, kind in zip(paths, ("captions", "concepts")):
        assert f"of {kind} for 8 images" in medcap("submit", "--check", path, *arguments).stdout
    one, other = (pd.read_csv(path, keep_default_na=False) for path in (paths[0], small_run / "predictions.csv"))
    assert one.equals(other)


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
