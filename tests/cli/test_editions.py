"""Commands with `--edition`: what is computed, what is said not to be, and run files checked and mended."""

from __future__ import annotations

import json

import pytest

from medcap_tf.cli.main import main


def table(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture
def captions(tmp_path):
    references = table(tmp_path / "r.csv", 'ID,Caption\na,"cyst of the liver, 3 cm"\nb,Left lung\n')
    predictions = table(tmp_path / "p.csv", "ID,Caption\na,cyst of the liver 4 cm\nb,Right kidney\n")
    return references, predictions


def medcap(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == code
    return capsys.readouterr()


def test_score_says_what_was_not_computed(captions, capsys):
    references, predictions = captions
    out = medcap(capsys, "score", "--references", references, "--predictions", predictions, "--edition", "2026").out
    scores = json.loads(out)
    assert scores["imageclef_2026_rouge_1"] == 0.5
    assert scores["imageclef_2026_overall"] is None and scores["imageclef_2026_bleurt"] is None
    assert scores["notes"]["imageclef_2026_overall"] == "not computed: 1 of its 6 parts are there (rouge_1)"


def test_an_edition_scores_captions_as_they_are_written(tmp_path, capsys):
    # Elsewhere typographic dashes are those of the keyboard; the scripts delete ASCII punctuation alone.
    references = table(tmp_path / "r.csv", "ID,Caption\na,disc at L4\u2013L5\n")
    predictions = table(tmp_path / "p.csv", "ID,Caption\na,disc at L4-L5\n")
    out = medcap(capsys, "score", "--references", references, "--predictions", predictions, "--edition", "2025").out
    scores = json.loads(out)
    assert scores["rouge_1"] == 1 and scores["imageclef_2025_rouge_1"] == pytest.approx(2 * 2 / (4 + 3))


def test_score_of_concepts_with_the_manual_ones(tmp_path, capsys):
    references = table(tmp_path / "r.csv", "ID,CUIs\na,C0000001;C1306645\nb,C0000002\n")
    predictions = table(tmp_path / "p.csv", "ID,CUIs\na,C1306645\nb,C0000002;C0040405\n")
    manual = table(tmp_path / "concepts_manual.csv", "ID,CUIs\na,C1306645\nb,C1306645\n")
    arguments = ["score", "--references", references, "--predictions", predictions, "--concepts", "--edition", "2025"]
    scores = json.loads(medcap(capsys, *arguments).out)
    assert scores["imageclef_2025_concept_f1"] == pytest.approx(2 / 3)
    assert scores["imageclef_2025_concept_f1_manual"] is None and "--manual" in str(scores["notes"])
    scores = json.loads(medcap(capsys, *arguments, "--manual", manual).out)
    assert scores["imageclef_2025_concept_f1_manual"] == 0.5
    assert "notes" not in scores or "imageclef_2025_concept_f1_manual" not in scores["notes"]


def test_manual_concepts_belong_to_concepts_of_an_edition(captions, capsys):
    references, predictions = captions
    arguments = ("score", "--references", references, "--predictions", predictions, "--manual", references)
    assert "--manual: is for --concepts with --edition" in medcap(capsys, *arguments, code=1).err


def test_findings_by_the_names_of_concepts(captions, tmp_path, capsys):
    references, predictions = captions
    names = table(tmp_path / "names.csv", "concept,name\nA,Cyst\nB,Liver\n")
    arguments = ("score", "--references", references, "--predictions", predictions, "--names", names)
    scores = json.loads(medcap(capsys, *arguments).out)
    assert scores["finding_precision"] == scores["finding_recall"] == scores["wrong_side"] == 1
    assert scores["wrong_organ"] == 0.5  # kidney for lung
    assert "--names: is for captions" in medcap(capsys, *arguments, "--concepts", code=1).err
    compared = medcap(capsys, "compare", predictions, references, *arguments[1:3], "--names", names).out
    assert "wrong_side" in compared
    silent = table(tmp_path / "q.csv", "ID,Caption\na,film\nb,film\n")
    for pair in ((silent, predictions), (predictions, silent)):
        compared = medcap(capsys, "compare", *pair, *arguments[1:3], "--names", names).out
        assert "* wrong_side: not computed: " in compared
    predictions = silent
    scores = json.loads(medcap(capsys, *arguments[:4], predictions, "--names", names).out)
    assert scores["wrong_side"] is None and "not computed: no image has a side" in scores["notes"]["wrong_side"]


def test_compare_names_what_it_cannot_test(captions, capsys):
    references, predictions = captions
    arguments = ("compare", predictions, predictions, "--references", references, "--edition", "2023")
    out = medcap(capsys, *arguments, "--permutations", "10").out
    assert "imageclef_2023_rouge_1" in out and "* imageclef_2023_bertscore: not computed: it needs" in out
    err = medcap(capsys, *arguments, "--metric", "imageclef_2023_bertscore", code=1).err
    assert "imageclef_2023_bertscore was not computed: it needs" in err


def test_weights_that_are_not_there(captions, tmp_path, capsys):
    references, predictions = captions
    arguments = ("score", "--references", references, "--predictions", predictions, "--edition", "2025")
    assert "no such folder" in medcap(capsys, *arguments, "--weights", str(tmp_path / "w"), code=1).err


def test_check_names_every_row(tmp_path, capsys):
    run = table(tmp_path / "submission.csv", "\ufeffID,CUIs\na,C1;C1\n\nb,\n")
    done = medcap(capsys, "check", run, "--edition", "2026", code=1)
    assert [line.removeprefix(run).split(": ")[0] for line in done.out.splitlines()[:4]] == [":1", ":2", ":3", ":4"]
    assert "4 problems; as a 2026 run of concepts it would fail" in done.err


def test_repair_writes_what_passes(tmp_path, capsys):
    run = table(tmp_path / "submission.csv", "\ufeffa,c1;c1\n\nb,C2\n")
    out = tmp_path / "new" / "submission.csv"
    done = medcap(capsys, "check", run, "--edition", "2026", "--repair", str(out))
    assert out.read_text() == "ID,CUIs\na,C1\nb,C2\n"
    assert f"{run}:2: empty line: taken out" in done.out and f"{out}: a valid 2026 run of concepts" in done.out


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert "cannot be opened" in medcap(capsys, "check", str(tmp_path / "x"), "--edition", "2026", code=1).err


def test_a_score_of_nothing_is_null(tmp_path, capsys):
    references = table(tmp_path / "r.csv", "ID,CUIs\na,C0000001\n")
    manual = table(tmp_path / "concepts_manual.csv", "ID,CUIs\na,\n")
    arguments = ("score", "--references", references, "--predictions", references, "--concepts", "--edition", "2023")
    out = medcap(capsys, *arguments, "--manual", manual).out
    scores = json.loads(out, parse_constant=pytest.fail)
    assert scores["imageclef_2023_concept_f1_manual"] is None
    assert "not computed" in scores["notes"]["imageclef_2023_concept_f1_manual"]


def test_a_file_is_not_repaired_in_its_own_place(tmp_path, capsys):
    run = table(tmp_path / "submission.csv", "a,c1\n")
    err = medcap(capsys, "check", run, "--edition", "2026", "--repair", run, code=1).err
    assert "is the file itself" in err and (tmp_path / "submission.csv").read_text() == "a,c1\n"


def test_a_score_that_cannot_be_computed_is_not_compared(capsys, tmp_path):
    (tmp_path / "r.csv").write_text("ID,CUIs\na1,C0000001\na2,C0000003\na3,C0000004\n")
    (tmp_path / "a.csv").write_text("ID,CUIs\na1,C0000001\na2,C0000009\na3,C0000004\n")
    r, a = str(tmp_path / "r.csv"), str(tmp_path / "a.csv")
    options = ["--concepts", "--edition", "2023", "--manual", r, "--references", r, "--json"]
    with pytest.raises(SystemExit):
        main(["compare", *options, a, r])
    compared = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert "imageclef_2023_concept_f1_manual" not in compared["metrics"]
    assert compared["notes"]["imageclef_2023_concept_f1_manual"].startswith("not computed")


@pytest.mark.parametrize(
    ("references", "predictions", "flags", "said"),
    [
        ("a,C0000001\nb,C0000002\n", "a,C0000001:0.9\nb,C0000002:0.8\n", ["--concepts"], "none of its codes is one of"),
        ("a,C0000001\nb,C0000002\n", "a,C0000001\nb,C0000002\n", [], "holds codes, not captions; give --concepts"),
    ],
)
def test_codes_that_cannot_be_right_are_said(capsys, tmp_path, references, predictions, flags, said):
    for name, text in (("r", references), ("p", predictions)):
        (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(SystemExit):
        main(["score", "--references", str(tmp_path / "r.csv"), "--predictions", str(tmp_path / "p.csv"), *flags])
    assert said in capsys.readouterr().err


def test_a_mended_file_does_not_replace_a_table_of_the_data(capsys, phantoms, tmp_path):
    (tmp_path / "run.csv").write_text("ID,Caption\na,x y\n")
    tables = [path for path in (phantoms / "test").iterdir() if path.is_file()]
    before = tables[0].read_bytes()
    with pytest.raises(SystemExit):
        main(
            [
                "check",
                str(tmp_path / "run.csv"),
                "--edition",
                "2026",
                "--data",
                str(phantoms),
                "--repair",
                str(tables[0]),
            ]
        )
    assert "lies in the data set" in capsys.readouterr().err and tables[0].read_bytes() == before


@pytest.mark.parametrize("flags", [[], ["--concepts", "--edition", "2023"]])
def test_weights_that_no_score_needs_are_refused(capsys, captions, flags):
    references, predictions = captions
    with pytest.raises(SystemExit):
        main(["score", "--references", references, "--predictions", predictions, "--weights", "nowhere", *flags])
    assert "--weights: is for captions with --edition" in capsys.readouterr().err


def test_what_is_no_code_is_wrong_in_an_answer_and_nothing_in_the_truth(capsys, tmp_path):
    truth = table(tmp_path / "r.csv", "ID,CUIs\na,C0000001;JUNK\nb,C0000002\n")
    answer = table(tmp_path / "p.csv", "ID,CUIs\na,C0000001;JUNK\nb,C0000002\n")
    options = ["--concepts", "--edition", "2025", "--references", truth]
    done = medcap(capsys, "score", *options, "--predictions", answer)
    scores = json.loads(done.out)
    assert scores["concept_f1"] == scores["imageclef_2025_concept_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert "'JUNK', in a table of CUIs (C and 7 digits); the code is left out" in done.err
    assert "'JUNK', in a table of CUIs (C and 7 digits); it counts as a wrong one" in done.err
