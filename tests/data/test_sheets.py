"""Tables as people's programs leave them: headers, titles, quotation marks, encodings, sheets, cells without text."""

from __future__ import annotations

import datetime
import re
import zipfile
from pathlib import Path

import openpyxl
import pytest

from medcap_tf.data.tables import read_captions, read_concepts
from medcap_tf.errors import InputError
from tests.data.test_tables import kinds, workbook, write

ONE = {"a": "chest film"}


def rows_of(problems: list) -> list[tuple[int, str]]:
    return [(row, kind) for _, row, kind in kinds(problems)]


# Headers


@pytest.mark.parametrize(
    "text",
    [
        *("image_path,caption,split\na.png,chest film,train\n", "study_id,caption,view\na.png,chest film,PA\n"),
        *("uid,report,split\na.png,chest film,train\n", "name\tcaption\tlabel\na.png\tchest film\t3\n"),
        *(
            "Image ID,CAPTION\na,chest film\n",
            "IMAGE_ID , Caption \na, chest film\n",
            "\ufeffid;caption\na;chest film\n",
        ),
        *("ID,Caption,,,\na,chest film,,,\n", "a,chest film,,\n", ",ID,Caption\n0,a,chest film\n"),
        *("Unnamed: 0,ID,Caption\n0,a,chest film\n", "index\tfile_name\tdescription\n0\ta.jpg\tchest film\n"),
        *("split,caption,filename\ntrain,chest film,a.png\n", '"ID"|"Caption"|"x"\n"a"|"chest film"|"1"\n'),
        *("Caption;ID\nchest film;a\n", "\n\nID,Caption\n\n\na,chest film\n\n", "ID,Caption,\na,chest film,\n"),
        *("sep=,\nID,Caption\na,chest film\n", "dicom_id,findings,view\na.dcm,chest film,PA\n"),
        *("path,impression\nimages/../a.png,\na.png,chest film\n", "0,a.png,chest film\n1,b.png,\n"),
        *('"ID","Caption"\n"1","a","chest film"\n"2","b",""\n', "ID;Caption\n0;a;chest film\n"),
        *("subject_id,study_id,report\n10,a,chest film\n10,b,\n", "study,findings\na,chest film\n"),
        *("ID,Caption\n'a',chest film\n", "ID,Source,Caption\na,an open atlas,chest film\n"),
        *("chest film,a.png\nno film,\n", "a.png,chest film,train\nb.png,,test\n"),
    ],
)
def test_columns_told_by_their_names_or_their_content(tmp_path, text):
    assert read_captions(write(tmp_path / "t.csv", text)).values == ONE


@pytest.mark.parametrize("header", ["bild,befund,teil", "图像,描述,部分", "изображение,описание,часть"])
def test_headers_in_no_list_are_told_by_content_and_said(tmp_path, header):
    table = read_captions(write(tmp_path / "t.csv", f"{header}\na.png,chest film,train\nb.png,knee of a boy,test\n"))
    assert table.values == {**ONE, "b": "knee of a boy"}
    assert rows_of(table.problems) == [(0, "columns by content"), (1, "header by content")]


def test_titles_above_the_header_are_passed_over_and_said(tmp_path):
    table = read_captions(workbook(tmp_path / "t.xlsx", ["Captions"], [], ["", "by us"], ["ID", "Caption"], ["a", "A"]))
    assert (table.values, rows_of(table.problems)) == ({"a": "A"}, [(1, "title row"), (3, "title row")])
    table = read_captions(write(tmp_path / "t.csv", "Our captions, version 2\nID,Caption\na,A\n"))
    assert (table.values, rows_of(table.problems)) == ({"a": "A"}, [(1, "title row")])


def test_a_header_that_comes_again_is_no_record(tmp_path):
    table = read_captions(write(tmp_path / "t.csv", "ID,Caption\na,A\nid , CAPTION\nb,B\n"))
    assert (table.values, rows_of(table.problems)) == ({"a": "A", "b": "B"}, [(3, "repeated header")])


def test_a_first_record_is_no_header(tmp_path):
    for text in ("x1,one\nx2,two\n", "a,chest film\nb,caption\n", "knee,Chest film with a nodule\nhip,Hip of a boy\n"):
        assert len(read_captions(write(tmp_path / "t.csv", text)).values) == 2


def test_commas_too_many_belong_to_the_caption(tmp_path):
    text = "ID,Caption,Split\na,chest film, frontal,train\nb,knee,test,\n"
    table = read_captions(write(tmp_path / "t.csv", text))
    assert table.values == {"a": "chest film, frontal", "b": "knee"}
    assert rows_of(table.problems) == [(2, "too many fields")]


def test_columns_of_codes(tmp_path):
    path = write(
        tmp_path / "t.csv", "image_file,cui1,cui2,split\na.png,C0000001,C0000002,train\nb.png,C0000002,,test\n"
    )
    assert read_concepts(path).values == {"a": ("C0000001", "C0000002"), "b": ("C0000002",)}
    path = write(tmp_path / "t.csv", "bild,zeichen\na.png,\"['C0000001']\"\nb.png,C0000002\n")
    assert read_concepts(path).values == {"a": ("C0000001",), "b": ("C0000002",)}


# Quotation marks, separators, encodings


@pytest.mark.parametrize(
    "text, values, stray",
    [
        (
            'ID,Caption\na,"first\nsecond"\nb,"open\nc,"third\nfourth"\nd,D\n',
            {"a": "first\nsecond", "b": '"open', "c": "third\nfourth", "d": "D"},
            [4],
        ),
        ('x1,"open\nx2,"two, lines"\nx3,close"\n', {"x1": '"open', "x2": "two, lines", "x3": 'close"'}, [1]),
        ('x1,"open\nx2,C\nx3,5"\nx4,D\n', {"x1": '"open', "x2": "C", "x3": '5"', "x4": "D"}, [1]),
        ('x1\t"A ""halo"", axial\nview"\nx2\tthe "sign"\n', {"x1": 'A "halo", axial\nview', "x2": 'the "sign"'}, []),
        ('x1\t"open\nx2\tB\n', {"x1": '"open', "x2": "B"}, []),
        ('a,"A"\r\nb,"B\r\nb"\r\nc,C', {"a": "A", "b": "B\nb", "c": "C"}, []),
        ('a,"A"\rb,"B, b"\r', {"a": "A", "b": "B, b"}, []),
        ('a, "A, b"\nd,D\n', {"a": "A, b", "d": "D"}, []),
        ('a,""\nb,"B"\n', {"b": "B"}, []),
        ('a,"last', {"a": '"last'}, [1]),
    ],
)
def test_quotation_marks(tmp_path, text, values, stray):
    table = read_captions(write(tmp_path / "t.csv", text))
    assert table.values == values
    assert [row for row, kind in rows_of(table.problems) if kind == "unpaired quotation marks"] == stray


def test_a_row_with_another_separator_is_parted_there_and_said(tmp_path):
    table = read_captions(write(tmp_path / "t.csv", "ID,Caption\na\tchest film\nb\tknee, lateral\nc;hip\n"))
    assert table.values == {"a": "chest film", "b": "knee, lateral", "c": "hip"}
    assert (4, "other separator") in rows_of(table.problems)


def test_commas_in_cells_of_several_lines_do_not_tell_the_separator(tmp_path):
    table = read_captions(write(tmp_path / "t.csv", 'x1\t"one, a\ntwo, b\nthree, c"\n'))
    assert table.values == {"x1": "one, a\ntwo, b\nthree, c"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(tmp_path, encoding):
    text = "ID\tCaption\nb1\tcafé\nb2\tsecond film\n"
    table = read_captions(write(tmp_path / "t.txt", text.encode(encoding)))
    assert table.values == {"b1": "café", "b2": "second film"}
    assert rows_of(table.problems) == ([(2, "not UTF-8")] if encoding == "cp1252" else [])


def test_text_that_was_encoded_twice(tmp_path):
    table = read_captions(write(tmp_path / "t.csv", "a,cafÃ© 3â€“5 mm\nb,Ärzte fanden Größe\n"))
    assert table.values == {"a": "café 3-5 mm", "b": "Ärzte fanden Größe"}
    assert rows_of(table.problems) == [(1, "encoded twice")]


# Workbooks


def book(path: Path, **sheets: list) -> Path:
    found = openpyxl.Workbook()
    found.remove(found.active)
    for title, rows in sheets.items():
        sheet = found.create_sheet(title.strip("_"))
        for row in rows:
            sheet.append(row)
        if title.startswith("_"):
            sheet.sheet_state = "veryHidden" if title.startswith("__") else "hidden"
    if all(title.startswith("_") for title in sheets):
        found.create_sheet("Empty")
    found.save(path)
    return path


DATA = [["ID", "Caption"], ["a", "NEW"]]
OLD = [["ID", "Caption"], ["a", "OLD"]]
CODES = [["ID", "CUIs"], ["a", "C0000001"]]


@pytest.mark.parametrize(
    "sheets, problems",
    [
        ({"_Old": OLD, "Data": DATA}, ["several sheets"]),
        ({"__Old": OLD, "Data": DATA}, ["several sheets"]),
        ({"About": [["About this table"]], "Data": DATA}, ["several sheets"]),
        ({"About": [["Author", "us"], ["Date", "today"]], "Data": DATA}, ["several sheets"]),
        ({"Blank": [], "Data": DATA}, []),
        ({"Codes": CODES, "Data": DATA}, ["several sheets"]),
        ({"Data": DATA, "Old": OLD}, ["several sheets"]),
        ({"_Data": DATA}, ["hidden sheet"]),
        ({"About": [["See the other sheet"]], "_Data": DATA}, ["several sheets"]),
    ],
)
def test_which_sheet_is_read(tmp_path, sheets, problems):
    table = read_captions(book(tmp_path / "t.xlsx", **sheets))
    assert table.values == {"a": "NEW"}
    assert rows_of(table.problems) == [(0, kind) for kind in problems]


def test_the_sheet_of_codes_is_read_for_codes(tmp_path):
    assert read_concepts(book(tmp_path / "t.xlsx", Captions=DATA, Codes=CODES)).values == {"a": ("C0000001",)}


def test_a_workbook_without_a_cell(tmp_path):
    with pytest.raises(InputError, match="empty .sheets: One, Two"):
        read_captions(book(tmp_path / "t.xlsx", One=[], Two=[]))


def test_formulas_without_values_errors_dates_and_numbers(tmp_path):
    path = workbook(tmp_path / "t.xlsx", ["ID", "Caption"], ["a", '=A2&" film"'], ["b", "#N/A"], [7, "seven"])
    found = openpyxl.load_workbook(path)
    found.active.append([datetime.datetime(2024, 1, 2), "dated"])
    found.active.append([1e5, "large"])
    found.active["B3"].data_type = "e"
    found.active["A4"].number_format = "000"
    found.save(path)
    table = read_captions(path)
    assert table.values == {"007": "seven", "2024-01-02": "dated", "100000": "large"}
    assert rows_of(table.problems) == [
        *[(2, "formula without a value"), (2, "empty caption"), (3, "error value"), (3, "empty caption"), (5, "date")]
    ]


def test_formulas_that_were_computed_and_wrong_dimensions(tmp_path):
    path = workbook(tmp_path / "t.xlsx", ["ID", "Caption"], ["a", '=A2&" film"'], ["b", "B"])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    sheet = re.sub(rb'(<c r="B2")[^>]*>(<f>.*?</f>)<v ?/>', rb'\1 t="str">\2<v>a film</v>', parts[name])
    parts[name] = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:A1"', sheet)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    table = read_captions(path)
    assert (table.values, table.problems) == ({"a": "a film", "b": "B"}, [])


def test_a_cell_at_the_end_of_excel_costs_neither_time_nor_memory(tmp_path):
    path = workbook(tmp_path / "t.xlsx", ["ID", "Caption"], ["a", "A"])
    found = openpyxl.load_workbook(path)
    found.active["XFD1048576"] = "far"
    found.save(path)
    assert read_captions(path).values == {"a": "A"}


# Several values of an ID


def test_several_captions_of_an_image(tmp_path):
    text = "ID,Caption\na.jpg#0,one\na.jpg#1,two\na.jpg#2,one\nb,\nb,B\n"
    table = read_captions(write(tmp_path / "t.csv", text))
    assert table.values == {"a": "one", "b": "B"}
    assert table.further == {"a": [(3, "two")]}
    assert [(p.row, p.problem.rpartition(";")[0]) for p in table.problems] == [
        (3, "duplicate ID: 'a' is in row 2 with another value"),
        (4, "duplicate ID: 'a' is in row 2"),
        (6, "duplicate ID: 'b' is in row 5, too, where it is empty"),
    ]


def test_several_columns_of_captions(tmp_path):
    table = read_captions(write(tmp_path / "t.csv", "ID,caption_1,caption_2,caption_3\na,one,two,\nb,only,,\n"))
    assert (table.values, table.further) == ({"a": "one", "b": "only"}, {"a": [(2, "two")]})
    assert rows_of(table.problems) == [(2, "several captions")]
