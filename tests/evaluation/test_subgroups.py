"""Subgroups known by hand, and their table and figure."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from medcap_tf.data.records import Record
from medcap_tf.evaluation.metrics import caption_parts, caption_scores, concept_parts
from medcap_tf.evaluation.subgroups import (
    MIN_IMAGES,
    find_subgroups,
    score_subgroups,
    subgroups_figure,
    write_subgroups,
)

WORDS = "brain liver lung heart bone skull colon cyst mass node lobe duct".split()


def records():
    """36 images: captions of 1 to 12 words, one plane in two, a rare finding, a CUI for all."""
    found = []
    for i in range(36):
        plane = "PLANE_AXIAL" if i % 2 else "PLANE_CORONAL"
        rare = ["FINDING_RARE"] if i < MIN_IMAGES - 1 else []
        found.append(Record(f"i{i}", None, " ".join(WORDS[: 1 + i % 12]), (plane, *rare, "C0000001")))
    return found


def by_name(subgroups):
    return {(subgroup.kind, subgroup.group): subgroup.rows.tolist() for subgroup in subgroups}


def test_groups_by_hand():
    training = ["Brain", "the brain, liver", "LIVER brain"]
    found = by_name(find_subgroups(records(), training, {"PLANE_AXIAL": "axial"}))
    lengths = [1 + i % 12 for i in range(36)]
    seen = [i for i, n in enumerate(lengths) if n < 3]  # "brain" and "brain liver", six in all: too few for a group
    assert len(seen) == 6
    assert found == {
        ("all", "all images"): list(range(36)),
        ("concept", "C0000001"): list(range(36)),
        ("plane", "PLANE_AXIAL"): list(range(1, 36, 2)),
        ("plane", "PLANE_CORONAL"): list(range(0, 36, 2)),
        ("words in the reference", "1 to 4"): [i for i, n in enumerate(lengths) if n <= 4],
        ("words in the reference", "5 to 8"): [i for i, n in enumerate(lengths) if 5 <= n <= 8],
        ("words in the reference", "9 to 12"): [i for i, n in enumerate(lengths) if n >= 9],
        ("reference caption", "not among them"): [i for i in range(36) if i not in seen],
    }


def test_names_are_those_given_and_else_the_codes():
    names = {group.group: group.name for group in find_subgroups(records(), [], {"PLANE_AXIAL": "axial"})}
    assert (names["PLANE_AXIAL"], names["PLANE_CORONAL"]) == ("axial", "PLANE_CORONAL")


def test_references_of_one_length_are_one_group_and_few_images_none():
    same = [Record(str(i), None, "brain liver", ()) for i in range(12)]
    assert ("words in the reference", "2") in by_name(find_subgroups(same, []))
    assert [group.kind for group in find_subgroups(same[:3], [])] == ["all"]


@pytest.fixture
def scored():
    chosen = records()
    references = [record.caption for record in chosen]
    candidates = [caption if i % 2 else "brain mass" for i, caption in enumerate(references)]
    named = [record.concepts if i % 2 else ("C0000001",) for i, record in enumerate(chosen)]
    parts = {**caption_parts(references, candidates), **concept_parts([r.concepts for r in chosen], named)}
    return references, candidates, score_subgroups(find_subgroups(chosen, []), parts)


def test_a_group_says_what_cannot_mean_anything_there():
    short = [Record(f"s{i}", None, f"{WORDS[i]} {WORDS[-1 - i]}", ("PLANE_AXIAL",)) for i in range(12)]
    long = [Record(f"l{i}", None, " ".join(WORDS[:6]), ("PLANE_CORONAL",)) for i in range(12)]
    references = [record.caption for record in short + long]
    rows = score_subgroups(find_subgroups(short + long, []), caption_parts(references, references))
    notes = {row["group"]: row["notes"] for row in rows}
    assert notes["PLANE_AXIAL"].startswith("bleu_4: no reference has 4 words")
    assert "bleu_4" not in notes["all images"]
    assert notes["PLANE_CORONAL"] == ""
    assert {row["group"]: row["bleu_4"] for row in rows}["PLANE_AXIAL"] == 0


def test_a_group_is_scored_as_its_images_alone(scored):
    references, candidates, rows = scored
    coronal = next(row for row in rows if row["group"] == "PLANE_CORONAL")
    alone = caption_scores(references[::2], candidates[::2])
    for metric in ("bleu_4", "rouge_l", "meteor", "imageclef_2021_bleu"):
        assert coronal[metric] == pytest.approx(alone[metric]), metric
        assert coronal[f"{metric}_low"] <= coronal[metric] <= coronal[f"{metric}_high"]
    axial = next(row for row in rows if row["group"] == "PLANE_AXIAL")
    assert axial["rouge_l"] == axial["rouge_l_low"] == axial["rouge_l_high"] == axial["concept_f1"] == 1.0
    assert coronal["images"] == axial["images"] == 18


def test_table_and_figure_are_written(scored, tmp_path):
    rows = scored[2]
    write_subgroups(tmp_path, rows)
    table = pd.read_csv(tmp_path / "groups.csv")
    assert list(table.columns[:5]) == ["kind", "group", "name", "images", "bleu_4"]
    assert table["images"].tolist() == [row["images"] for row in rows]
    np.testing.assert_allclose(table["cider_low"], [row["cider_low"] for row in rows], rtol=1e-5)
    picture = cv2.imread(str(tmp_path / "groups.png"))
    assert picture is not None and picture.shape[1] == 1080
    assert sorted(path.name for path in tmp_path.iterdir()) == ["groups.csv", "groups.png"]


def test_the_figure_has_a_panel_a_kind_and_a_bar_a_group(scored):
    figure = subgroups_figure(scored[2])
    assert {panel.get_title(loc="left"): len(panel.patches) for panel in figure.axes} == {
        "concept": 1, "plane": 2, "words in the reference": 3, "reference caption": 1,
    }  # fmt: skip
    plane = next(panel for panel in figure.axes if panel.get_title(loc="left") == "plane")
    assert [label.get_text() for label in plane.get_yticklabels()] == ["PLANE_AXIAL  (18)", "PLANE_CORONAL  (18)"]
    assert plane.patches[0].get_width() == 1.0


def test_a_group_without_any_true_concept_has_an_empty_cell(tmp_path):
    chosen = [
        Record(str(i), None, "brain" if i < 12 else "brain liver lung", ("A",) if i < 12 else ()) for i in range(24)
    ]
    captions = [record.caption for record in chosen]
    truth = [record.concepts for record in chosen]
    parts = {**caption_parts(captions, captions), **concept_parts(truth, truth)}
    write_subgroups(tmp_path, score_subgroups(find_subgroups(chosen, []), parts))
    table = pd.read_csv(tmp_path / "groups.csv").set_index("group")
    assert table.loc["1", "concept_f1"] == 1.0
    assert np.isnan(table.loc["3", "concept_f1"]) and np.isnan(table.loc["3", "concept_f1_low"])
