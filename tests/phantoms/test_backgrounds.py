"""Which real images there are to draw into, what they are of, and that no split takes another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcap_tf.errors import InputError
from medcap_tf.phantoms.backgrounds import Assumed, read_backgrounds
from tests.phantoms.real import dataset, section, write


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("Axial T1-weighted MRI of the brain", ("MR", "brain", "axial", "T1")),
        ("PA chest X-ray", ("radiograph", "chest", "frontal", "")),
        ("AP plain film radiograph of the musculoskeletal system", ("radiograph", "other", "frontal", "")),
        ("Lateral chest radiograph", ("radiograph", "chest", "other", "")),
        ("Longitudinal sonogram of the right kidney", ("ultrasound", "abdomen", "other", "")),
        ("Coronal CT of the abdomen", ("CT", "abdomen", "frontal", "")),
        ("CTA of the head, axial and coronal", ("CT", "brain", "other", "")),  # two views: neither is known
    ],
)
def test_a_caption_tells_modality_region_and_view(tmp_path: Path, caption: str, told: tuple[str, ...]) -> None:
    write(tmp_path / "train" / "images" / "a.png", section())
    (tmp_path / "train" / "captions.csv").write_text(f'ID,Caption\na,"{caption}"\n')
    ((one,),) = read_backgrounds(tmp_path).splits.values()
    assert (one.modality, one.region, one.view, one.contrast) == told


def test_concepts_are_surer_than_captions(tmp_path: Path) -> None:
    write(tmp_path / "train" / "images" / "a.png", section())
    (tmp_path / "train" / "captions.csv").write_text("ID,Caption\na,Compared with the CT of last year\n")
    (tmp_path / "train" / "concepts.csv").write_text("ID,CUIs\na,MODALITY_MR;REGION_BRAIN\n")
    ((one,),) = read_backgrounds(tmp_path).splits.values()
    assert (one.modality, one.region) == ("MR", "brain")


def test_a_data_set_keeps_its_splits(tmp_path: Path) -> None:
    found = read_backgrounds(dataset(tmp_path, {"train": 3, "valid": 2, "test": 1}))
    assert {split: [one.name for one in own] for split, own in found.splits.items()} == {
        "train": ["scan0", "scan1", "scan2"], "valid": ["scan3", "scan4"], "test": ["scan5"],
    }  # fmt: skip


def test_an_image_of_two_splits_stays_in_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = dataset(tmp_path, {"train": 2, "test": 2})
    (root / "test" / "images" / "scan3.png").write_bytes((root / "train" / "images" / "scan0.png").read_bytes())
    found = read_backgrounds(root)
    assert [one.name for one in found.splits["test"]] == ["scan2"]
    assert "3 of 4 images" in capsys.readouterr().err


def test_images_alone_are_told_by_their_folders_and_stay_with_their_patient(tmp_path: Path) -> None:
    for patient in range(40):
        for number in range(2):
            write(tmp_path / "chest_xray" / f"p{patient}" / f"{number}.png", section(2 * patient + number, 60, 60))
    found = read_backgrounds(tmp_path)
    patients = {split: {one.name.split("/")[1] for one in own} for split, own in found.splits.items()}
    assert sum(map(len, found.splits.values())) == 80
    assert {one.modality for own in found.splits.values() for one in own} == {"radiograph"}
    assert sum(map(len, patients.values())) == 40 == len(set.union(*patients.values()))
    assert len(patients["train"]) > 24 and patients["valid"] and patients["test"]


def test_folders_may_name_the_split(tmp_path: Path) -> None:
    write(tmp_path / "val" / "CT" / "a.png", section())
    assert list(read_backgrounds(tmp_path).splits) == ["valid"]


def test_options_say_it_of_images_whose_words_do_not(tmp_path: Path) -> None:
    write(tmp_path / "a.png", section())
    with pytest.raises(InputError, match="nothing tells the modality of its 1 images .*give --modality"):
        read_backgrounds(tmp_path)
    ((one,),) = read_backgrounds(tmp_path, Assumed("CT", "chest", "axial")).splits.values()
    assert (one.modality, one.region, one.view, one.name) == ("CT", "chest", "axial", "a")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such folder"):
        read_backgrounds(tmp_path / "gone")
