"""`lint`, `rate` and `ratings` on tables."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from medcap_tf.cli.main import main


@pytest.fixture
def tables(tmp_path):
    texts = {
        "captions": "ID,Caption\na,Axial CT with a white arrow\nb,Chest film\n",
        "concepts": "ID,CUIs\na,C0000001\nb,\n",
        "names": "concept,name\nC0000001,Magnetic Resonance Imaging\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return [str(tmp_path / f"{name}.csv") for name in texts]


def medcap(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == code
    return capsys.readouterr()


def lint(capsys, *arguments):
    return medcap(capsys, "lint", *arguments).out


def test_every_doubt_has_its_image(tables, capsys):
    captions, concepts, names = tables
    lines = lint(capsys, captions, "--concepts", concepts, "--names", names).splitlines()
    assert lines[0] == "a: modality: 'ct': the image's concepts say MR"
    assert lines[1].startswith("a: mark: 'white arrow': ")
    assert lines[2] == "1 of 2 captions have doubtful claims: 1 modality, 1 mark"


def test_for_machines(tables, capsys):
    found = json.loads(lint(capsys, tables[0], "--json"))
    assert found["captions"] == 2 and found["rules"] == {"mark": 1}
    assert found["doubts"]["a"][0]["word"] == 4


def test_a_form_of_some_images_and_what_its_table_says(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / "train" / f"{name}.png"), np.full((8, 8, 3), 50, np.uint8))
    (tmp_path / "train" / "captions.csv").write_text("ID,Caption\na,one film\nb,two films\nc,a third\n")
    predictions, form = tmp_path / "p.csv", tmp_path / "form.html"
    predictions.write_text("ID,Caption\na,said of a\nb,said of b\nz,of no image\n")
    arguments = ("rate", str(predictions), "--data", str(tmp_path), "--split", "train", "--out", str(form))
    assert medcap(capsys, *arguments).out.strip() == str(form)
    text = form.read_text()
    assert "said of a" in text and "said of b" in text and "of no image" not in text and "one film" not in text
    medcap(capsys, *arguments, "--limit", "1")
    assert form.read_text().count("<article") == 1
    predictions.write_text("ID,Caption\nz,of no image\n")
    assert "none of the 1 captions has an image" in medcap(capsys, *arguments, code=1).err


def test_ratings_of_two_raters(tmp_path, capsys):
    header = "ID,correctness,faithfulness,clinical_relevance,clarity,completeness,comment"
    for name, ratings in (("a", "5,4,3,2,1,"), ("b", "3,4,3,2,1,")):
        (tmp_path / f"{name}.csv").write_text(f"{header}\nx,{ratings}\n")
    tables = [str(tmp_path / f"{name}.csv") for name in "ab"]
    lines = medcap(capsys, "ratings", *tables).out.splitlines()
    assert lines[1].split()[:3] == ["correctness", "1", "4.00"]
    assert json.loads(medcap(capsys, "ratings", *tables, "--json").out)["criteria"]["completeness"]["mean"] == 1


def test_ids_in_another_form_and_those_without_a_partner(tmp_path, tables, capsys):
    (tmp_path / "captions.csv").write_text("ID,Caption\n001,Axial CT\n002,Chest film\n003,Film\n")
    (tmp_path / "concepts.csv").write_text("ID,CUIs\n1,C0000001\n2,C0000001\n")
    captions, concepts, names = tables
    done = medcap(capsys, "lint", captions, "--concepts", concepts, "--names", names)
    assert "001: modality: 'ct': the image's concepts say MR" in done.out
    assert f"1 of 3 captions are without codes in {concepts}: 003" in done.err
    (tmp_path / "concepts.csv").write_text("ID,CUIs\nx,C0000001\n")
    err = medcap(capsys, "lint", captions, "--concepts", concepts, code=1).err
    assert "none of the 3 captions has codes in" in err and "the first ID is '001'" in err


def test_a_form_does_not_take_the_place_of_its_table(tables, tmp_path, capsys):
    (tmp_path / "test" / "images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "test" / "images" / "a.png"), np.zeros((4, 4), np.uint8))
    (tmp_path / "test" / "captions.csv").write_text("ID,Caption\na,an effusion\n")
    done = medcap(capsys, "rate", tables[0], "--data", str(tmp_path / "test"), "--out", tables[0], code=1)
    assert "which it would replace" in done.err
    assert (tmp_path / "captions.csv").read_text().startswith("ID,Caption")


def test_codes_without_names_are_said_and_names_found_in_any_case(capsys, tables):
    captions, concepts, names = tables
    assert "1 codes have no name" in medcap(capsys, "lint", captions, "--concepts", concepts).err
    with open(concepts, "w") as file:
        file.write("ID,CUIs\na,mod_mr\nb,mod_xr\n")
    with open(names, "w") as file:
        file.write("concept,name\nMOD_MR,Magnetic Resonance Imaging\nMOD_XR,Plain x-ray\n")
    assert "1 modality" in lint(capsys, captions, "--concepts", concepts, "--names", names)


def test_one_table_of_ratings_is_one_rater(capsys, tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("ID,correctness,faithfulness,clinical_relevance,clarity,completeness,comment\nx,1,2,3,4,5,\n")
    assert "is given twice" in medcap(capsys, "ratings", str(table), str(table), code=1).err
