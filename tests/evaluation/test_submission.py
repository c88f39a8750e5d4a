"""Run files, written and checked; what each edition's script would reject, and what it would silently lose."""

from __future__ import annotations

import argparse
import csv
import io

import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.cli.submissions import add_commands
from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics import EDITIONS
from medcap_tf.evaluation.submission import CAPTIONS, CONCEPTS, FORMATS, check, codes_of, render, write

IDS = ["a1", "b2", "c3"]
SAID = [("a1", 'CT | axial,\n "halo" sign'), ("b2", ""), ("c3", "  liver\tcyst ")]
NAMED = [("a1", "C0000001;C0000002"), ("b2", ""), ("c3", "C0000003")]
LAX = [edition for edition in FORMATS if not FORMATS[edition].strict]


@pytest.mark.parametrize("edition", ["2021", "2022", "2023", "2024"])
def test_pipe_tables(edition):
    assert render(CAPTIONS, SAID, edition).decode() == 'a1|CT axial, "halo" sign\nb2|\nc3|liver cyst\n'
    assert render(CONCEPTS, NAMED, edition).decode() == "a1|C0000001;C0000002\nb2|\nc3|C0000003\n"


def test_comma_tables_have_a_header_and_quotes_but_no_bom():
    data = render(CAPTIONS, SAID, "2025")
    assert list(csv.reader(io.StringIO(data.decode()))) == [
        ["ID", "Caption"], ["a1", 'CT | axial, "halo" sign'], ["b2", ""], ["c3", "liver cyst"],
    ]  # fmt: skip
    assert data.startswith(b"ID,Caption\n")
    assert render(CONCEPTS, NAMED, "2025") == b"ID,CUIs\na1,C0000001;C0000002\nb2,\nc3,C0000003\n"


@pytest.mark.parametrize("edition", LAX)
@pytest.mark.parametrize(("kind", "rows"), [(CAPTIONS, SAID), (CONCEPTS, NAMED)])
def test_what_is_written_passes(tmp_path, edition, kind, rows):
    [path] = write(tmp_path, {kind: rows}, edition)
    assert path.relative_to(tmp_path).as_posix() == (f"{kind}/submission.csv" if edition == "2025" else f"{kind}.csv")
    found = check(path.read_bytes(), "run", IDS, edition)
    assert (found.kind, found.problems, found.remarks) == (kind, [], [])


@pytest.mark.parametrize("edition", FORMATS)
def test_images_of_one_name_keep_their_folders(tmp_path, edition):
    rows = [("CXR1/0", "left lung"), ("CXR2/0", "right kidney"), ("0", "skull base")]
    [path] = write(tmp_path, {CAPTIONS: rows}, edition)
    ids = [image_id for image_id, _ in rows]
    assert check(path.read_bytes(), "run", ids, edition).problems == []
    found = check(path.read_bytes().replace(b"CXR2/0", b"CXR1/0"), "run", ids, edition)
    assert kinds(found) == [(2 + FORMATS[edition].header, "duplicate ID"), (0, "missing IDs")]


def test_what_does_not_pass_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"captions\.csv: nothing is written.*row 2: duplicate ID: 'a1' is in row 1"):
        write(tmp_path, {CAPTIONS: [("a1", "one x"), ("a1", "two x")]}, "2021")
    assert list(tmp_path.iterdir()) == []


def test_captions_are_not_written_where_the_concepts_do_not_pass(tmp_path):
    many = [("a1", ";".join(f"C{i}" for i in range(101)))]
    with pytest.raises(InputError, match=r"concepts\.csv: nothing is written.*too many codes"):
        write(tmp_path, {CAPTIONS: [("a1", "one x")], CONCEPTS: many}, "2021")
    assert list(tmp_path.iterdir()) == []


def kinds(found):
    return [(problem.row, problem.problem.partition(":")[0]) for problem in found.problems]


@pytest.mark.parametrize(
    ("edition", "text", "problems"),
    [
        ("2021", "a1|one x\nb2|two\nc3|\n", []),
        ("2021", "a1|one x\nz9|two\na1|three\n", [(2, "unknown ID"), (3, "duplicate ID"), (0, "missing IDs")]),
        ("2021", "ID|Caption\na1|one x\nb2|\nc3|\n", [(1, "header")]),
        ("2021", "a1|one | x\nb2|two\nc3|three\n", [(1, "3 fields")]),
        ("2025", "ImageID,Caption\na1,one x\nb2,two\nc3,three\n", [(1, "wrong header")]),
        ("2025", "ID,CUIs\na1,C1\nID,CUIs\nb2,C2\nc3,C3\n", [(3, "header")]),
        ("2025", 'ID,CUIs\na1,"C1,C2"\nb2,C2 C3\nc3,C3\n', [(2, "joined codes"), (3, "joined codes")]),
        ("2022", "a1|C1, C2\nb2|C2 C3\nc3|C3\n", [(1, "joined codes"), (2, "joined codes")]),
        ("2026", "ID,Caption\na1,one x\nb2,two\nc3,three\n,four\n", [(5, "no ID")]),
        ("2021", "a1|one x\nb2\nc3|three\n", [(2, "one field")]),
        ("2021", "a1|one x\n\nb2|\nc3|\n", [(2, "empty line")]),
        ("2021", "a1.jpg|one x\nb2|\nc3|\n", [(1, "unknown ID"), (0, "missing IDs")]),
        ("2021", "a1|one x\nb2|two\nc3\tthree\n", [(3, "unknown ID"), (3, "one field"), (0, "missing IDs")]),
        ("2021", "a1|one\u2028and\x0cx\r\nb2|two\r\nc3|\r\n", []),
        ("2023", "a1\tone x\nb2\ttwo\nc3\t\n", []),
        ("2023", "ID|Caption\na1|one x\nb2|\nc3|\n", []),
        ("2021", "a1|C1;C2;C1\nb2\nc3|\n", [(1, "repeated code")]),
        ("2021", "a1|" + ";".join(f"C{i}" for i in range(101)) + "\nb2|C1\nc3|C1\n", [(1, "too many codes")]),
        ("2025", 'ID,Caption\na1,"one, x\ny"\nb2,two\nc3,three\n', []),
        ("2025", "ID,Caption\na1,one, x\nb2,two\nc3,three\n", [(2, "3 fields")]),
        ("2025", "a1,one x\nb2,two\nc3,three\n", [(1, "no header")]),
        ("2025", "\ufeffID,CUIs\na1,C1\nb2,\nc3,C2; C3\n", [(1, "byte order mark")]),
        ("2025", 'ID,Caption\na1,"open x\nb2,two\n', [(0, "not a table of commas")]),
        ("2025", 'ID,Caption\na1,"one\nx"\nb2,two\nb2,two\nc3,\n', [(5, "duplicate ID")]),
        ("2025", "ID,CUIs\na1\nb2,c2\nc3,C2;\n", []),
        ("2022", "a1|C1;C2\nb2|\nc3\n", []),
        ("2026", 'ID,Caption\na1,"one, x"\nb2,\nc3,three y\n', []),
        ("2026", 'ID,Caption\na1,one, x\nb2,"a\nb c"\nc3,three \n',
         [(2, "3 fields"), (2, "blank around a field"), (3, "line break"), (5, "blank around a field")]),
        ("2026", "ID,Caption\nb2,two x\na1,\nc3,\n", [(2, "order")]),
        ("2026", "ID,Caption\na1,one x\n\nb2,\nc3,\n", [(3, "empty line")]),
        ("2026", "ID,CUIs\na1,C1;C1\nb2,\nc3,C2;;c3\n",
         [(2, "repeated code"), (3, "no code"), (4, "empty code"), (4, "not a code")]),
        ("2026", "id,cuis\na1,C1\nb2,C2\nc3\n", [(1, "wrong header"), (4, "one field")]),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_its_row(edition, text, problems):
    assert kinds(check(text.encode(), "run", IDS, edition)) == problems


def test_bytes_that_are_not_utf8():
    found = check("a1|café x\n".encode("latin-1"), "run", IDS, "2021")
    assert kinds(found) == [(1, "not UTF-8")]
    assert kinds(check("a|C1\nb|C2\n".encode("utf-16-le"), "run", None, "2022")) == [(1, "zero byte")]


def test_captions_of_one_word_are_captions_when_written(tmp_path):
    [path] = write(tmp_path, {CAPTIONS: [("a1", "cyst;cyst"), ("b2", "mass")]}, "2021")
    assert path.read_text() == "a1|cyst;cyst\nb2|mass\n"


def test_another_order_is_remarked_and_no_fault():
    found = check(b"b2|x y\na1|\nc3|\n", "run", IDS, "2021")
    assert found.problems == [] and "order" in found.remarks[0]


def test_without_ids_all_else_is_checked():
    found = check(b"ID,CUIs\nz9,C1;C1\n", "run", None, "2025")
    assert kinds(found) == [(2, "repeated code")] and "not compared" in found.remarks[0]


def test_an_image_without_codes_gets_its_likeliest_where_one_is_wanted():
    caption = Caption(concept_scores=np.array([0.1, 0.3], np.float32))
    assert codes_of(caption, ["C1", "C2"], "2026") == ["C2"] and codes_of(caption, ["C1", "C2"], "2025") == []
    assert codes_of(Caption(concepts=(("C1", 0.9),)), ["C1", "C2"], "2026") == ["C1"]


def test_the_command_offers_every_format():
    commands = argparse.ArgumentParser().add_subparsers()
    add_commands(commands)
    options = {action.dest: action for action in commands.choices["submit"]._actions}
    assert list(options["edition"].choices) == list(FORMATS) == list(EDITIONS)


@pytest.mark.parametrize("edition", FORMATS)
@pytest.mark.parametrize("text", ["", "\n", "ID;Caption\na1;left lung\n"])
def test_what_is_no_run_file_is_no_valid_one(edition, text):
    faults = [problem.problem for problem in check(text.encode(), "run", None, edition).problems]
    assert any("this is no run file" in fault for fault in faults)


def test_codes_with_blanks_are_codes():
    assert check(b"a1|C1 ;C2\nb2|C3;;\n", "run", None, "2023").kind == CONCEPTS
    assert check(b"a1|C1 ;C2\nb2|left lung; cyst\n", "run", None, "2023").kind == CAPTIONS


def test_a_file_name_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(InputError, match=r"ID 'caf\\udce9': the image's file name is not UTF-8"):
        write(tmp_path, {CAPTIONS: [("a", "x"), ("caf\udce9", "y")]}, "2025")
