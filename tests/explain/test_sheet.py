"""The sheet's phrases, sources and table, by hand; what a run writes."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from matplotlib.text import Text

from medcap_tf.caption import Caption
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.figures import outlined
from medcap_tf.explain.regions import Region
from medcap_tf.explain.sheet import Erased, claims_of, phrases, sheet_figure, write_table
from tests.conftest import run_command

NAMES = {"C1": "Pleural effusion", "C2": "Chest"}


def cut(caption, *findings):
    words = caption.split()
    return [" ".join(words[a:b]) for a, b in phrases(words, [word in findings for word in words])]


@pytest.mark.parametrize(
    ("caption", "findings", "expected"),
    [
        ("frontal chest radiograph showing small pleural effusion right side", ["effusion"],
         ["frontal chest radiograph", "small pleural effusion", "right side"]),
        ("A cyst of the liver, and a stone", ["cyst", "stone"], ["cyst", "liver,", "stone"]),
        ("one two three four five six", [], ["one two three four", "five six"]),
        ("A cyst ( arrow ) , and no stone .", ["cyst", "stone"], ["cyst", "arrow", "stone"]),
        ("of the", [], []),
        ("", [], []),
    ],
)  # fmt: skip
def test_phrases(caption, findings, expected):
    assert cut(caption, *findings) == expected


@pytest.fixture
def explanation():
    words = ("chest", "film", "showing", "small", "pleural", "effusion", "white", "arrow")
    maps = np.full((8, 4, 4), 1 / 16, np.float32)
    maps[3:6] = 0
    maps[3:6, 3, 3] = 1
    share = np.array([0.9, 0.9, 0, 0, 0, 0, 0.1, 0.1], np.float32)
    caption = Caption(
        words=words, stems=words, attention=maps, concepts=(("C1", 0.93), ("C2", 0.8)), concept_names=NAMES
    )
    image = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    similar = (("img7", "Chest film of another", 0.6),)
    return Explanation(caption, image, maps, retrieval_share=share, similar=similar)


def test_where_each_claim_comes_from(explanation):
    chest, effusion, arrow = claims_of(explanation)
    assert chest.sources == ("concept Chest (0.80)", "similar image img7 (90% of its probability)")
    assert effusion.text == "small pleural effusion" and effusion.sources == ("concept Pleural effusion (0.93)",)
    assert effusion.regions[0].place == "lower third, image right"
    assert arrow.sources == ("image",) and arrow.doubts[0].startswith("mark: 'white arrow'")
    assert not chest.regions and chest.effect == "its map is flat: no place to paint over"


def test_a_doubtful_word_of_no_phrase_is_told_with_the_next_one_or_the_last():
    words = ("cyst", "of", "of", "kidney", "is", "is")
    caption = Caption(words=words, stems=words, attention=np.full((6, 2, 2), 0.25, np.float32))
    cyst, kidney = claims_of(Explanation(caption, attention=caption.attention))
    assert (cyst.text, cyst.doubts) == ("cyst", ())
    assert kidney.text == "kidney" and len(kidney.doubts) == 2
    assert all(doubt.startswith("repeated") for doubt in kidney.doubts)


def test_what_erasure_says():
    claims = claims_of(
        Explanation(Caption(words=("cyst",), stems=("cyst",)), attention=np.ones((1, 2, 2))), [Erased(1.5, -0.1)]
    )
    assert claims[0].effect == "painted over: -1.50 nats a word (+0.10 for an equal area elsewhere)"
    assert claims[0]._replace(erased=Erased(0.2, None)).effect.endswith("(no equal area elsewhere)")


def test_the_table_and_the_figure(explanation, tmp_path):
    claims = claims_of(explanation, [None, Erased(1.5, 0.25), None])
    before = explanation.image.copy()
    assert sheet_figure(explanation, claims, 50) is not None
    assert (explanation.image == before).all()
    with open(write_table(tmp_path / "sheet.csv", [("a", claims)]), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["phrase"] for row in rows] == ["chest film", "small pleural effusion", "white arrow"]
    assert rows[1]["erased_nats"] == "1.5000" and rows[1]["elsewhere_nats"] == "0.2500"
    assert rows[0]["left"] == rows[0]["erased_nats"] == "" and float(rows[1]["right"]) == 1
    assert rows[2]["doubts"].startswith("mark")


def test_labels_of_claims_from_one_place_stand_side_by_side(explanation):
    claims = claims_of(explanation, [None, None, None])
    same = [claim._replace(regions=claims[1].regions) for claim in claims]
    drawn = sheet_figure(explanation, same, 50)
    places = [text.get_position() for text in drawn.findobj(Text) if text.get_text() in ("1", "2", "3")]
    assert len(places) == 3 and len({x for x, _ in places}) == 3 and len({y for _, y in places}) == 1


def test_boxes_leave_the_picture_as_it_was():
    picture = np.zeros((20, 20, 3), np.uint8)
    region = Region((0.1, 0.1, 0.9, 0.9), (0.5, 0.5), (0.5, 0.5), 1.0, "center")
    assert outlined(picture, [region]).any() and not picture.any()


@pytest.mark.slow
def test_a_run_writes_its_sheets(small_run, image_paths, tmp_path):
    arguments = ("--sheet", "--no-pictures", "--layers", "--out", tmp_path)
    done = run_command("-m", "medcap_tf", "explain", small_run, image_paths[0], *arguments)
    [picture] = tmp_path.glob("*.sheet.png")
    assert str(picture) in done.stdout and str(tmp_path / "sheet.csv") in done.stdout
    with open(tmp_path / "sheet.csv", encoding="utf-8") as file:
        assert {row["ID"] for row in csv.DictReader(file)} <= {image_paths[0].name, str(image_paths[0]), "test00000"}
