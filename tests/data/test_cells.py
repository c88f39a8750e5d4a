"""What programs leave in cells, and the text that a reader sees."""

from __future__ import annotations

import pytest

from medcap_tf.data.cells import clean_code, clean_text, split_codes, unescape_workbook
from medcap_tf.text import Normalizer


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("Chest film_x000D_\nright effusion", "Chest film\nright effusion"),
        ("film_x0009_right", "film\tright"),
        ("film_x001F_right", "film right"),
        ("no_x005F_escape", "no_x005F_escape"),  # in text it is itself; see unescape_workbook
        ("film\r\nright\rleft\u2028up\x85down", "film\nright\nleft\nup\ndown"),
        ("film\\nright\\r\\nleft", "film\nright\nleft"),
        ("a \\nu and a \\times", "a \\nu and a \\times"),
        ("caf\\u00e9", "café"),
        ("film&nbsp;of the&#160;chest&#xA0;&amp; abdomen", "film of the chest & abdomen"),
        ("5&amp;nbsp;mm &lt; 6 mm", "5 mm < 6 mm"),
        ("R&D; a <5 mm nodule, b> 3", "R&D; a <5 mm nodule, b> 3"),
        ("film<br/>of <i>right</i> lung, 3 cm<sup>2</sup>", "film\nof right lung, 3 cm2"),
        ("ef\u00adfu\u200bsion\ufeff\u200e", "effusion"),
        ("chest\u00a0film\u2003of\u202flung", "chest film of lung"),
        ("“halo” ‘sign’ 5′", "\"halo\" 'sign' 5'"),
        ("T1\u2010weighted 3–5 mm − 2\u2011day", "T1-weighted 3-5 mm - 2-day"),
        ("chest — film—right", "chest - film - right"),
        ("• one • two…three", "one   two... three"),
        ("ﬁbrosis, cafe\u0301", "fibrosis, café"),
        ("ＣＴ，ａｘｉａｌ", "CT,axial"),
        ("µm ± 5° × 3 ≥ β", "µm ± 5° × 3 ≥ β"),
        ("null\x00byte\x0bbell\x07", "null byte bell"),
        ("lone \ud83d end", "lone \ufffd end"),
    ],
)
def test_prose_is_what_a_reader_sees(text, wanted):
    assert clean_text(text) == wanted
    assert clean_text(clean_text(text)) == wanted


@pytest.mark.parametrize("dash", ["-", "–", "—", "−", "‐", "&ndash;", "&#8212;"])
def test_a_dash_is_no_word(dash):
    assert Normalizer("none").stems(clean_text(f"chest film {dash} right effusion")) == [
        *("chest", "film", "right", "effusion")
    ]


def test_escapes_of_workbooks():
    assert unescape_workbook("a_x000D_\n_x0041_ _x005F_x000D_ _x20AC_") == "a\r\nA _x000D_ €"
    assert unescape_workbook("_xD83D__xDE42_ _xD83D_") == "\U0001f642 \ufffd"


def test_ids_lose_what_cannot_be_seen():
    assert clean_code("\ufeff\u00a0a\u200b_1.png_x000D_ ") == "a_1.png"


@pytest.mark.parametrize(
    "cell",
    [
        *("['C0000001', 'C0000002']", '["C0000001", "C0000002"]', "[C0000001, C0000002]", "('C0000001', 'C0000002')"),
        *("{'C0000001', 'C0000002'}", "['C0000001' 'C0000002']", "[C0000001 C0000002]", "[‘C0000001’, ‘C0000002’]"),
        *("array(['C0000001', 'C0000002'], dtype=object)", "{'C0000001': 0.9, 'C0000002': 0.1}", "{C0000001;C0000002}"),
        *("frozenset({'C0000001', 'C0000002'})", "['C0000001;C0000002']", "[['C0000001'], ['C0000002']]"),
        *("C0000001;C0000002", "C0000001, C0000002", "C0000001|C0000002", "C0000001 C0000002", "C0000001\r\nC0000002"),
        *(
            " c0000001\u00a0;\u200bC0000002 ;",
            '"C0000001";"C0000002"',
            "C0000001_x000D_\nC0000002",
            "(C0000001,C0000002,)",
        ),
        *(
            "['C0000001', None, 'C0000002']",
            "C0000001;nan;C0000002",
            "C0000001；C0000002",
            "['C0000001',\n 'C0000002']",
        ),
    ],
)
def test_lists_of_codes(cell):
    assert split_codes(cell) == ["C0000001", "C0000002"]


@pytest.mark.parametrize("cell", ["", "[]", "()", "{}", "nan", "None", "null", "['']", "[nan]", "set()", " ; ", "-"])
def test_no_codes(cell):
    assert split_codes(cell) == []


def test_codes_of_other_systems_keep_their_spaces():
    assert split_codes("left lung; RID5") == ["left lung", "RID5"]
    assert split_codes("PLANE_AXIAL ORGAN_2") == ["PLANE_AXIAL", "ORGAN_2"]
    assert split_codes("['left lung', \"Crohn's disease\"]") == ["left lung", "Crohn's disease"]
