"""Single tables of every kind, their values known by hand; every problem with its row."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from medcap_tf.data.sheets import Problem
from medcap_tf.data.tables import read_captions, read_concept_names, read_concepts
from medcap_tf.errors import InputError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def workbook(path: Path, *rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def kinds(problems: list[Problem]) -> list[tuple[str, int, str]]:
    return [(p.file, p.row, p.problem.partition(":")[0]) for p in problems]


# Values


def test_excel_ids_keep_their_digits_and_na_stays_text(tmp_path):
    rows = [["ID", "Caption"], [123, "NA"], [4.0, "null"], ["007", "nan"], ["None", "None"], ["NA", 5]]
    table = read_captions(workbook(tmp_path / "t.xlsx", *rows))
    assert table.values == {"123": "NA", "4": "null", "007": "nan", "None": "None", "NA": "5"}
    assert table.rows == {"123": 2, "4": 3, "007": 4, "None": 5, "NA": 6}


def test_na_in_text_stays_text(tmp_path):
    assert read_captions(write(tmp_path / "t.csv", "ID,Caption\nNA,None\nnull,NA\n")).values == {
        "NA": "None",
        "null": "NA",
    }


def test_an_index_column_and_other_columns_are_passed_over(tmp_path):
    table = read_captions(workbook(tmp_path / "t.xlsx", ["", "Caption", "ID", "Note"], [0, "A", "a.jpg", "x"]))
    assert table.values == {"a": "A"}


@pytest.mark.parametrize(
    "text",
    [
        "a\tA, b | c\nd\tD\n",
        "a|A, b | c\nd|D\n",
        "a,A, b | c\nd,D\n",
        'a,"A, b | c"\nd,D\n',
        '"a"|"A, b | c"\n"d"|"D"\n',
        'ID\tCaption\r\n"a"\t"A, b | c"\r\n"d"\t"D"\r\n',
        'ID;Caption\na;"A, b | c"\nd;D\n',
        "\ufeffImage,Caption\ra.jpg,A, b | c\rd.PNG,D",
    ],
)
def test_delimiters_quotes_and_line_ends(tmp_path, text):
    table = read_captions(write(tmp_path / "table.csv", text))
    assert table.values == {"a": "A, b | c", "d": "D"}
    assert table.problems == []


def test_utf16_text_and_a_workbook_named_csv(tmp_path):
    assert read_captions(write(tmp_path / "t.txt", "ID\tCaption\na\té\n".encode("utf-16"))).values == {"a": "é"}
    book = workbook(tmp_path / "t.xlsx", ["ID", "Caption"], ["a", "A"])
    assert read_captions(book.rename(tmp_path / "Training_Set_Captions.csv")).values == {"a": "A"}


def test_predictions_may_be_empty_and_are_still_known_by_row(tmp_path):
    table = read_captions(write(tmp_path / "predictions.csv", "ID,Caption\na,A\nb,\n"))
    assert table.values == {"a": "A"}
    assert table.rows == {"a": 2, "b": 3}


def test_other_code_systems_are_no_problem(tmp_path):
    path = write(tmp_path / "concepts.csv", "ID,CUIs\na,PLANE_AXIAL;C0000001\nb,ORGAN_KNEE;RID5\n")
    table = read_concepts(path)
    assert table.values == {"a": ("PLANE_AXIAL", "C0000001"), "b": ("ORGAN_KNEE", "RID5")}
    assert table.problems == []


def test_lower_case_cuis_are_the_same_codes(tmp_path):
    table = read_concepts(write(tmp_path / "concepts.txt", "a\tc0000001;C0000002\n"))
    assert table.values == {"a": ("C0000001", "C0000002")}


@pytest.mark.parametrize("cell", ["C0000001;C0000002", "C0000001, C0000002", "C0000001 C0000002", "C0000001\nC0000002"])
def test_codes_joined_in_several_ways(tmp_path, cell):
    path = workbook(tmp_path / "concepts.xlsx", ["ID", "CUIs"], ["a", cell])
    assert read_concepts(path).values == {"a": ("C0000001", "C0000002")}


@pytest.mark.parametrize(
    "content",
    [
        "concept,name\nC0000001,X-ray\nORGAN,knee\n",
        "c0000001\tX-ray\nORGAN\tknee\n",
        "CUI;Semantic type;Canonical name\nC0000001;T1;X-ray\nORGAN;T2;knee\n",
        "name,concept\nX-ray,C0000001\nknee,ORGAN\n",
    ],
)
def test_names_of_concepts(tmp_path, content):
    table = read_concept_names(write(tmp_path / "names.csv", content))
    assert table.values == {"C0000001": "X-ray", "ORGAN": "knee"}
    assert table.problems == []


# Problems


def test_too_few_fields(tmp_path):
    path = write(tmp_path / "captions.txt", "a\tA\n\nb\nc\tC\n")
    table = read_captions(path)
    assert table.values == {"a": "A", "c": "C"}
    assert kinds(table.problems) == [(str(path), 3, "too few fields")]


def test_bytes_that_are_not_utf8_are_read_as_windows_1252(tmp_path):
    path = write(tmp_path / "captions.csv", b"\xef\xbb\xbfa,\xc3\xa9\nb,caf\xe9\n")
    table = read_captions(path)
    assert table.values == {"a": "é", "b": "café"}
    assert kinds(table.problems) == [(str(path), 2, "not UTF-8")]
    assert "0xe9" in table.problems[0].problem


def test_an_unpaired_quotation_mark_swallows_nothing(tmp_path):
    path = write(tmp_path / "captions.csv", 'ID,Caption\na,"halo" sign, axial\nb,"x, y"\nc,"open\nd,D\n')
    table = read_captions(path)
    assert table.values == {"a": '"halo" sign, axial', "b": "x, y", "c": '"open', "d": "D"}
    assert kinds(table.problems) == [
        (str(path), 2, "unpaired quotation marks"),
        (str(path), 4, "unpaired quotation marks"),
    ]


# Unusable tables


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.xlsx", b"ID,Caption\na,A\n", "named like an Excel workbook but is none"),
        ("t.xlsx", b"PK\x03\x04 broken", "not a readable Excel workbook"),
        ("t.xlsx", b"\xd0\xcf\x11\xe0 old", "password-protected"),
        ("t.xls", b"\xd0\xcf\x11\xe0 old", r"save it as \.xlsx"),
        ("t.xlsx", b"", "the file is empty"),
        ("t.csv", b"", "not a table"),
        ("t.csv", b"ID,Caption\n", "no rows"),
        ("t.csv", b"just a sentence\n", "starts with 'just a sentence'"),
        ("t.csv", b"ID,Finding\na,A\n", "its columns: id, finding.*name them ID and Caption"),
        ("t.csv", b"a\0b,c\n", "binary"),
    ],
)
def test_unusable_tables_say_so(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as error:
        read_captions(path)
    assert str(path) in str(error.value)


def test_a_table_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(InputError, match="is a folder; give the table in it"):
        read_captions(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_captions(tmp_path / "t.csv")


def test_a_table_of_code_names_is_no_table_of_concepts(tmp_path):
    with pytest.raises(InputError, match="gives codes their names"):
        read_concepts(write(tmp_path / "concepts.csv", "C0000001\tX-ray\nC0000002\tThorax\n"))


def test_one_column_is_too_few(tmp_path):
    with pytest.raises(InputError, match="one column"):
        read_captions(workbook(tmp_path / "t.xlsx", ["a"], ["b"]))


@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_counts_rows_is_no_id_where_another_one_is(tmp_path, first):
    rows = "".join(f"{i + first},{name},Of {name}\n" for i, name in enumerate(["x.jpg", "y.jpg"]))
    path = write(tmp_path / "t.csv", f"id,file_name,caption\n{rows}")
    assert read_captions(path).values == {"x": "Of x.jpg", "y": "Of y.jpg"}
    path = write(tmp_path / "u.csv", f"id,caption\n{first},One film\n{first + 1},Two films\n")
    assert list(read_captions(path).values) == [str(first), str(first + 1)]


def test_what_programs_write_for_no_codes_is_none_and_no_header(tmp_path):
    for blank in ("None", "nan", "NA"):
        path = write(tmp_path / f"{blank}.csv", f"a1\t{blank}\na2\tC0000001\na3\tC0000002;{blank}\n")
        assert read_concepts(path).values == {"a1": (), "a2": ("C0000001",), "a3": ("C0000002",)}


# Columns that may be mistaken for each other


@pytest.mark.parametrize("read", [read_captions, read_concepts])
def test_two_columns_of_one_kind_are_a_question_to_the_user(tmp_path, read):
    captions = "ID,reference_caption,generated_caption\na,chest film of a man,brain\nb,ct of the head,knee film\n"
    codes = "ID,true_cuis,predicted_cuis\na,C0000001,C0000002\nb,C0000003,C0000004\n"
    path = write(tmp_path / "t.csv", captions if read is read_captions else codes)
    with pytest.raises(InputError, match="t.csv: '.*' and '.*' may both hold .*; name the one that is meant C"):
        read(path)


def test_of_columns_of_several_kinds_the_one_that_is_read_is_said(tmp_path):
    rows = "a,a chest film without any fluid,normal chest\nb,a brain scan with a mass,mass in brain\n"
    table = read_captions(write(tmp_path / "t.csv", f"ID,findings,impression\n{rows}"))
    assert table.values["b"] == "a brain scan with a mass"
    assert "captions from 'findings' (not from 'impression')" in table.problems[0].problem
    assert read_captions(write(tmp_path / "s.csv", f"ID,Caption,impression\n{rows}")).problems == []


@pytest.mark.parametrize("header", ["id,image_path,caption\n", ""])
def test_an_id_that_counts_rows_gives_way_to_what_names_images(tmp_path, header):
    rows = "0,img/aa.png,chest film from the front\n1,img/bb.png,ct of the head\n2,img/cc.png,mr of a knee\n"
    assert set(read_captions(write(tmp_path / "t.csv", header + rows)).values) == {"img/aa", "img/bb", "img/cc"}
    two = "ID,Caption\n0,chest film from the front\n1,ct of the head\n"
    assert set(read_captions(write(tmp_path / "u.csv", two)).values) == {"0", "1"}


def test_columns_of_prose_without_names_are_read_as_one_and_said(tmp_path):
    table = read_captions(write(tmp_path / "t.csv", "a,foo bar,chest film\nb,foo,ct of the head\n"))
    assert table.values["a"] == "foo bar,chest film"
    assert kinds(table.problems) == [(str(tmp_path / "t.csv"), 0, "no header")]


def test_among_answers_what_is_no_code_is_a_wrong_one(tmp_path):
    path = write(tmp_path / "t.csv", "ID,CUIs\na,C0000001;JUNK;JUNK\nb,C0000002\n")
    assert read_concepts(path).values["a"] == ("C0000001",)
    table = read_concepts(path, keep_all=True)
    assert table.values["a"] == ("C0000001", "JUNK")
    assert "it counts as a wrong one" in table.problems[0].problem


@pytest.mark.parametrize(
    "text",
    [
        "Pleural effusion,C0000001\nCyst,C0000002\n",
        "CUI,TUI,Term\nC0000001,T033,Pleural effusion\nC0000002,T191,Cyst\n",
        "C0000001,T033,Pleural effusion\nC0000002,T191,Cyst\n",
    ],
)
def test_names_of_codes_wherever_they_stand(tmp_path, text):
    assert read_concept_names(write(tmp_path / "t.csv", text)).values == {
        "C0000001": "Pleural effusion",
        "C0000002": "Cyst",
    }
