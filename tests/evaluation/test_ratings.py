"""Ratings read, summed up and compared between raters, by hand."""

from __future__ import annotations

import pytest

from medcap_tf.errors import InputError
from medcap_tf.evaluation.ratings import CRITERIA, read_ratings, summarize

HEADER = ",".join(["ID", *CRITERIA, "comment"])


def table(path, *rows):
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def test_the_five_criteria():
    assert list(CRITERIA) == ["correctness", "faithfulness", "clinical_relevance", "clarity", "completeness"]


def test_empty_cells_are_no_ratings(tmp_path):
    ratings = read_ratings(table(tmp_path / "a.csv", 'x,5,,3,4,1,"fine, but"', "y,,,,,,"))
    assert ratings.values["x"] == {"correctness": 5, "clinical_relevance": 3, "clarity": 4, "completeness": 1}
    assert ratings.values["y"] == {}


def test_means_and_agreement(tmp_path):
    one = read_ratings(table(tmp_path / "a.csv", "x,1,5,5,,,", "y,5,5,1,,,", "z,3,,,,,"))
    other = read_ratings(table(tmp_path / "b.csv", "x,1,5,1,,,", "y,5,5,5,,,", "w,4,,,,,"))
    found = summarize([one, other])
    assert found["correctness"]["images"] == 4
    assert found["correctness"]["mean"] == pytest.approx((1 + 5 + 3 + 4) / 4)
    assert found["correctness"]["agreement"] == 1 and found["correctness"]["pairs"] == 1
    assert found["clinical_relevance"]["agreement"] == -1  # each says what the other denies
    assert found["faithfulness"]["agreement"] is None  # one and the same rating everywhere: no kappa
    assert found["clarity"] == {"images": 0, "mean": None, "low": None, "high": None, "agreement": None, "pairs": 0}
    assert found["correctness"]["low"] <= found["correctness"]["mean"] <= found["correctness"]["high"]


def test_kappa_of_partial_agreement(tmp_path):
    # (1, 1), (2, 3): squared differences 0 and 1, mean 1/2; by chance (0 + 4 + 1 + 1) / 4.
    one = read_ratings(table(tmp_path / "a.csv", "x,1,,,,,", "y,2,,,,,"))
    other = read_ratings(table(tmp_path / "b.csv", "x,1,,,,,", "y,3,,,,,"))
    assert summarize([one, other])["correctness"]["agreement"] == pytest.approx(1 - (1 / 2) / (6 / 4))


def test_ids_that_a_spreadsheet_has_changed_are_the_same_images(tmp_path):
    one = read_ratings(table(tmp_path / "a.csv", "007,1,,,,,", "x,2,,,,,"))
    other = read_ratings(table(tmp_path / "b.csv", "7,1,,,,,", "X,3,,,,,"))
    found = summarize([one, other, one])["correctness"]
    assert found["images"] == 2 and found["pairs"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,correctness\nx,1\n", "no column faithfulness, clinical_relevance"),
        (f"{HEADER}\nx,6,,,,,\n", r"a.csv:2: correctness: '6' is no rating"),
        (f"{HEADER}\nx,good,,,,,\n", "'good' is no rating"),
        (f"{HEADER}\nx,1,,,,,\nx,2,,,,,\n", r"a.csv:3: 'x' is rated twice"),
        (f"{HEADER}\nx,1,,,,,\nx.png,2,,,,,\n", r"a.csv:3: 'x' is rated twice"),
        (f'{HEADER}\nx,1,,,,,"good\ny,2,,,,,\n', r"a.csv:\d: no table of commas .* mend the quotation marks"),
        (f"{HEADER}\nx,1,,,,,{'y' * 140_000}\n", r"a.csv:\d: no table of commas"),
        (f"{HEADER}\nx,1\n", r"a.csv:2: 2 fields, but the first row has 7"),
        (f"{HEADER}\n,1,,,,,\n", r"a.csv:2: has no ID"),
        (f"{HEADER},correctness\nx,1,,,,,,2\n", r"no column correctness, or several"),
        (f"{HEADER}\nx,,,,,,\n", r"a.csv: holds no ratings"),
    ],
)
def test_what_is_no_table_of_ratings(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_ratings(tmp_path / "a.csv")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_ratings(tmp_path / "none.csv")
