"""Findings in real images: words, codes and masks that agree, the same bytes from the same seed, a label everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcap_tf.data.records import read_dataset
from medcap_tf.errors import InputError
from medcap_tf.phantoms.backgrounds import Assumed, Background, read_backgrounds
from medcap_tf.phantoms.half_synthetic import draw_half_synthetic, draw_half_synthetic_dataset
from medcap_tf.phantoms.wording import FINDING_WORDS
from tests.cli.test_main import medcap
from tests.phantoms.real import dataset, section, write
from tests.phantoms.test_dataset import digests

COUNTS = {"train": 6, "valid": None, "test": 3}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("real"), {"train": 4, "valid": 2, "test": 3})


@pytest.fixture(scope="module")
def drawn(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("half") / "data"
    draw_half_synthetic_dataset(root, real, COUNTS, seed=3)
    return root


def background(tmp_path: Path, caption: str = "", **others) -> Background:
    write(tmp_path / "a.png", section())
    values = {"modality": "CT", "region": "brain", "view": "axial", "concepts": (), **others}
    return Background(tmp_path / "a.png", "a", caption=caption, **values)


def test_same_call_draws_same_bytes(real: Path, drawn: Path, tmp_path: Path) -> None:
    draw_half_synthetic_dataset(tmp_path / "again", real, COUNTS, seed=3)
    assert digests(tmp_path / "again") == digests(drawn)
    draw_half_synthetic_dataset(tmp_path / "other", real, COUNTS, seed=4)
    other, ours = digests(tmp_path / "other"), digests(drawn)
    assert other.keys() == ours.keys()
    assert sum(other[name] != ours[name] for name in ours if "/images/" in name) > 6  # some show nothing new


def test_every_label_says_half_synthetic_and_each_split_has_its_own_backgrounds(real: Path, drawn: Path) -> None:
    assert (drawn / "README.txt").read_text().startswith("HALF-SYNTHETIC")
    own = {split: {one.name for one in found} for split, found in read_backgrounds(real).splits.items()}
    for split, count in {"train": 6, "valid": 2, "test": 3}.items():
        table = pd.read_excel(drawn / split / "captions.xlsx")
        assert list(table.columns) == ["ID", "Caption", "Source", "Drawn"]
        assert len(table) == count and table.ID.str.startswith("half_").all()
        named = table.Source.str.extract(r"^half-synthetic, drawn into (\w+)$")[0]
        assert set(named) == own[split]


def test_it_is_read_as_a_data_set(drawn: Path) -> None:
    found = read_dataset(drawn)
    assert not found.problems
    assert {split: len(records) for split, records in found.splits.items()} == {"train": 6, "valid": 2, "test": 3}
    for record in found.splits["train"]:
        assert record.caption.startswith("Axial CT of the brain, case")
        assert record.concepts[0] == "C0040405" and len(set(record.concepts)) == len(record.concepts)
        mask = cv2.imread(str(drawn / "train" / "masks" / f"{record.image_id}.png"), cv2.IMREAD_UNCHANGED)
        words = FINDING_WORDS & set(record.caption.replace(".", "").split())
        assert bool(mask.any()) == bool(words)


def test_side_and_lobe_are_those_of_the_mask(tmp_path: Path) -> None:
    told = 0
    for seed in range(30):
        phantom = draw_half_synthetic(background(tmp_path), [seed])
        if phantom.finding is None:
            assert not phantom.mask.any()
            continue
        rows, columns = np.nonzero(phantom.mask)
        side = "right" if columns.mean() < 120 else "left"  # the patient's right is on the left of the image
        assert phantom.finding.side == side and side in re.findall(r"\w+", phantom.caption)
        assert phantom.finding.zone in {"frontal", "parietal"} if rows.mean() < 95 else {"parietal", "occipital"}
        told += 1
    assert told > 15


def test_views_without_sides_state_none(tmp_path: Path) -> None:
    for view, modality in (("other", "MR"), ("axial", "ultrasound")):
        for seed in range(12):
            found = draw_half_synthetic(background(tmp_path, view=view, modality=modality), [seed])
            assert not found.finding or not found.finding.side
            assert not {"left", "right"} & set(found.caption.split())


def test_a_caption_that_names_such_a_finding_gets_none_drawn_in(tmp_path: Path) -> None:
    for seed in range(12):
        found = draw_half_synthetic(background(tmp_path, "Axial CT showing a tumor, resected."), [seed])
        assert found.finding is None and not found.mask.any()


def test_captions_and_concepts_are_made_where_there_are_none(tmp_path: Path) -> None:
    found = draw_half_synthetic(background(tmp_path), [1])
    assert found.caption.startswith("Axial CT of the brain")
    assert found.concepts[:2] == ("C0040405", "C0006104")


def test_color_stays(tmp_path: Path) -> None:
    picture = np.repeat(section()[..., None], 3, -1)
    picture[90:110, 100:140] = (0, 0, 200)  # a measured flow, in red
    write(tmp_path / "c.png", picture)
    one = Background(tmp_path / "c.png", "c", "CT", "brain", "axial", "", ())
    phantom = draw_half_synthetic(one, [0])
    assert phantom.image.shape == (200, 240, 3)
    away = cv2.dilate(phantom.mask, np.ones((121, 121))) == 0
    if not phantom.incidentals:
        np.testing.assert_array_equal(phantom.image[away], picture[..., ::-1][away])


def test_what_cannot_be_drawn_is_refused_before_anything_is_written(real: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="lies in the folder of backgrounds"):
        draw_half_synthetic_dataset(real / "half", real, COUNTS)
    with pytest.raises(InputError, match="train.*-1 images"):
        draw_half_synthetic_dataset(out, real, {"train": -1})
    write(tmp_path / "alone" / "train" / "CT" / "a.png", section())
    with pytest.raises(InputError, match="no images for split 'test'; put some there, or give --test 0"):
        draw_half_synthetic_dataset(out, tmp_path / "alone", {"train": 1, "test": 1})
    assert not out.exists() and not (real / "half").exists()
    draw_half_synthetic_dataset(out, real, {"test": 1})
    with pytest.raises(InputError, match="holds something else"):
        draw_half_synthetic_dataset(out, real, {"test": 1}, assumed=Assumed(region="chest"))


def test_the_command(tmp_path: Path) -> None:
    write(tmp_path / "films" / "train" / "a.png", section())
    call = ("phantoms", tmp_path / "out", "--train", "2", "--backgrounds", tmp_path / "films")
    missing = medcap(*call, check=False)
    assert missing.returncode == 1 and "give --modality radiograph|CT|MR|ultrasound" in missing.stderr
    alone = medcap("phantoms", tmp_path / "out", "--modality", "CT", check=False)
    assert alone.returncode == 1 and "give --backgrounds DATA too" in alone.stderr
    assert medcap(*call, "--modality", "CT").stdout.splitlines() == [str(tmp_path / "out")]
    assert {path.stem for path in (tmp_path / "out" / "train" / "images").iterdir()} == {
        "half_train00000", "half_train00001",
    }  # fmt: skip
