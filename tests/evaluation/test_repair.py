"""Run files put right: what is beyond doubt is mended and said, what needs a decision is left to the check."""

from __future__ import annotations

import re

import pytest

from medcap_tf.errors import InputError
from medcap_tf.evaluation.repair import repair
from medcap_tf.evaluation.submission import check

IDS = ["a1", "b2", "c3"]


def mended(text, edition="2026", ids=IDS):
    data = text if isinstance(text, bytes) else text.encode()
    done = repair(data, "run", ids, edition)
    return done.data.decode(), [(change.row, change.problem.partition(":")[0]) for change in done.changes]


def test_what_is_right_stays():
    right = 'ID,Caption\na1,"one, x"\nb2,two y\nc3,\n'
    assert mended(right) == (right, [])
    assert mended("a1|C1;C2\nb2|\nc3|C3\n", "2021") == ("a1|C1;C2\nb2|\nc3|C3\n", [])


@pytest.mark.parametrize(
    ("edition", "text", "result", "changes"),
    [
        ("2026", "\ufeffID,Caption\na1,one x\nb2,\nc3,\n", "ID,Caption\na1,one x\nb2,\nc3,\n",
         [(1, "byte order mark")]),
        ("2026", "a1,one x\nb2,\nc3,\n", "ID,Caption\na1,one x\nb2,\nc3,\n", [(1, "header")]),
        ("2026", "id,caption\na1,2,5 cm\nb2,\nc3,\n", 'ID,Caption\na1,"2,5 cm"\nb2,\nc3,\n',
         [(1, "header"), (2, "3 fields")]),
        ("2026", "ID,Caption\nb2, two  y \na1.jpg,one\n\nc3,\n", "ID,Caption\na1,one\nb2,two y\nc3,\n",
         [(2, "white space"), (3, "ID"), (4, "empty line"), (0, "order")]),
        ("2026", "ID,CUIs\na1,c1;C2; C2;\nb2,C1\nb2,C1\nc3,C3\n", "ID,CUIs\na1,C1;C2\nb2,C1\nc3,C3\n",
         [(2, "codes"), (4, "duplicate")]),
        ("2026", "ImageID,Caption\na1,one x\nb2,\nc3,\n", "ID,Caption\na1,one x\nb2,\nc3,\n", [(1, "header")]),
        ("2025", 'ID,CUIs\na1,"C1, c2"\nb2,C1 C3\nc3,C3\n', "ID,CUIs\na1,C1;C2\nb2,C1;C3\nc3,C3\n",
         [(2, "codes"), (3, "codes")]),
        ("2022", "a1|one x\nb2\nc3|y\n", "a1|one x\nb2|\nc3|y\n", [(2, "one field")]),
        ("2026", "ID,CUIs\na1,C1,C2\nb2,C1\nc3,C3\n", "ID,CUIs\na1,C1;C2\nb2,C1\nc3,C3\n", [(2, "3 fields")]),
        ("2026", "a1|one x\nb2|\nc3|\n", "ID,Caption\na1,one x\nb2,\nc3,\n", [(1, "separator"), (1, "header")]),
        ("2026", 'ID,Caption\na1,"one x\nb2,two\nc3,\n', 'ID,Caption\na1,"""one x"\nb2,two\nc3,\n',
         [(2, "unpaired quotation marks")]),
        ("2026", "ID;Caption\na1;left; lung\nb2;right, lower\nc3;\n",
         'ID,Caption\na1,"left, lung"\nb2,"right, lower"\nc3,\n', [(1, "separator"), (2, "3 fields")]),
        ("2021", 'ID,Caption\na1,"one | x"\nb2,\nc3,\n', "a1|one x\nb2|\nc3|\n",
         [(1, "separator"), (1, "header")]),
    ],
)  # fmt: skip
def test_what_is_mended(edition, text, result, changes):
    assert mended(text, edition) == (result, changes)
    assert check(result.encode(), "run", IDS, edition).problems == []


def test_another_encoding():
    assert mended("ID,Caption\na1,caf\xe9 x\nb2,\nc3,\n".encode("latin-1")) == (
        "ID,Caption\na1,caf\xe9 x\nb2,\nc3,\n",
        [(2, "not UTF-8")],
    )


def test_what_needs_a_decision_is_left():
    text, changes = mended("ID,CUIs\na1,C1\na1,C2\nz9,C3\nc3,\n")
    assert changes == [(0, "order")]  # unknown IDs go last
    found = [problem.problem.partition(":")[0] for problem in check(text.encode(), "run", IDS, "2026").problems]
    assert found == ["duplicate ID", "no code", "unknown ID", "missing IDs"]


def test_without_ids_rows_keep_their_order():
    assert mended("ID,Caption\nb2, x y\na1,z\n", ids=None)[0] == "ID,Caption\nb2,x y\na1,z\n"


def test_each_line_has_its_own_encoding():
    mixed = "ID,Caption\na1,caf\xe9 \u2265 3\nb2,".encode() + b"na\xefve\nc3,\n"
    assert mended(mixed) == ("ID,Caption\na1,caf\xe9 \u2265 3\nb2,na\xefve\nc3,\n", [(3, "not UTF-8")])
    right = "ID,Caption\na1,left lung\nb2,\nc3,\n"
    assert mended(right.encode("utf-16"))[0] == mended(right.encode("utf-16-le"))[0] == right


def test_what_is_no_text_is_refused():
    with pytest.raises(InputError, match="run: is no text"):
        repair(b"\x89PNG\r\n\0\0\0IHDR" * 9, "run", IDS, "2022")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,Caption,Confidence\na1,one x,0.9\n", "run: has the columns ID, Caption, Confidence; a run file has two"),
        ("Caption,ID\none x,a1\n", "run: has the columns Caption, ID; a run file has two, the ID and then"),
        ("a1 one x\nb2 two y\n", "run: no row has '|' after its ID"),
    ],
)
def test_what_needs_a_decision_is_refused(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        mended(text, "2022")
