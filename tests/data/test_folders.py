"""Which files of a folder are images: by content, and what the walk passes over."""

from __future__ import annotations

import os
import unicodedata

import cv2
import numpy as np
import pytest

from medcap_tf.data.folders import find_files, image_stem, walk
from medcap_tf.data.records import read_dataset
from medcap_tf.errors import InputError

PNG = cv2.imencode(".png", np.full((8, 8), 90, np.uint8))[1].tobytes()
HEADLESS = b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + b"\x08\0\x16\0UI\x02\x001\0"


def put(folder, name, content=PNG):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(folder):
    return sorted(path.relative_to(folder).as_posix() for path in find_files([folder]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(
            (name, PNG)
            for name in ("scan.dicom", "IM0001", "a.jfif", "b.JPG", "c.webp", "1.2.840.5", "d.img", "e.Tiff")
        ),
        ("IM0002", b"\0" * 128 + b"DICM"),
        ("no-preamble", HEADLESS),
        ("f", b"II+\0\x08\0\0\0"),
        ("g", b"P5 8 8 255\n"),
        ("h", b"RIFF\x20\0\0\0WEBPVP8 "),
        ("broken.png", b"text"),  # its suffix promises an image: reported, not passed over
    ],
)
def test_images_under_any_name(tmp_path, name, content):
    put(tmp_path, name, content)
    assert found(tmp_path) == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("._x.png", ".hidden.png", ".hidden/x.png", "__MACOSX/x.png", ".DS_Store", "Thumbs.db", "desktop.ini"),
        *("DICOMDIR", "@eaDir/x.png", "masks/x.png", "Mask/x.png", "leftMask/x.png", "lung_masks/x.png"),
        *("segmentations/x.png", "x_mask.png", "x_mask_1.png", "x-mask.tif", "x mask.png"),
    ],
)
def test_what_is_no_image_of_its_own(tmp_path, name):
    put(tmp_path, "x.png")
    put(tmp_path, name)
    assert found(tmp_path) == ["x.png"]


@pytest.mark.parametrize("name", ["oxygen_mask.png", "unmasked/x.png", "masked.png"])
def test_images_that_masks_have_nothing_to_do_with(tmp_path, name):
    put(tmp_path, name)
    assert found(tmp_path) == [name]


def test_text_is_no_image_and_a_note_beside_an_image_is_no_table(tmp_path):
    for name in ("x.txt", "x.png.json", "README", "empty", "BMI table", "captions.csv"):
        put(tmp_path, name, b"" if name == "empty" else b"BM of text, P5, II*")
    put(tmp_path, "x.png")
    (folder,) = walk(tmp_path)
    assert folder.images == ["x.png"]
    assert folder.others == ["BMI table", "README", "captions.csv", "empty"]


def test_a_folder_of_masks_that_is_asked_for(tmp_path):
    put(tmp_path, "masks/x.png")
    assert found(tmp_path / "masks") == ["x.png"]
    with pytest.raises(InputError, match="no images in this folder"):
        find_files([tmp_path])


def test_two_links_to_one_folder_both_count_and_circles_end(tmp_path):
    put(tmp_path, "pool/x.png")
    for split in ("train", "valid"):
        os.symlink(tmp_path / "pool", tmp_path / split)
    os.symlink(tmp_path, tmp_path / "pool" / "again")
    assert {"pool/x.png", "train/x.png", "valid/x.png"} <= set(found(tmp_path))


@pytest.mark.parametrize(
    ("name", "stem"),
    [("x.JPG", "x"), ("x.dicom", "x"), ("1.2.840.5", "1.2.840.5"), ("1.2.840.5.dcm", "1.2.840.5"), ("a.b", "a.b")],
)
def test_stems(name, stem):
    assert image_stem(name) == stem


def dataset(root, files, ids):
    for name in files:
        put(root, f"train/images/{name}")
    rows = "".join(f"{image_id},caption {row}\n" for row, image_id in enumerate(ids))
    (root / "train" / "captions.csv").write_text(f"ID,Caption\n{rows}", encoding="utf-8")
    return read_dataset(root)


def test_a_table_names_files_of_any_suffix(tmp_path):
    files = ["a.dicom", "IM0001", "c.jfif", "d.img", "1.2.840.5", "1.2.840.6", "e.JPG", "p/q/r/s/t/u/v/deep.png"]
    ids = ["a", "IM0001", "c.jfif", "d", "1.2.840.5", "1.2.840.6.dcm", "e", "v/deep"]
    data = dataset(tmp_path, files, ids)
    assert data.problems == []
    assert [r.image_path.name for r in data.splits["train"]] == [name.rsplit("/", 1)[-1] for name in files]


@pytest.mark.parametrize("name", ["Müller_1", "Žižka", "각막", "Å", "ệ"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_either_unicode_form(tmp_path, name, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    data = dataset(tmp_path, [unicodedata.normalize(form, name) + ".png"], [unicodedata.normalize(other, name)])
    assert data.problems == []
    assert [r.image_id for r in data.splits["train"]] == [unicodedata.normalize("NFC", name)]


def test_names_that_look_the_same_are_refused(tmp_path):
    twins = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    data = dataset(tmp_path, [f"{twins[0]}.png", f"{twins[1]}.png", "b.png"], [twins[0], "b"])
    assert [r.image_id for r in data.splits["train"]] == ["b"]
    assert [(p.row, p.problem.partition(":")[0]) for p in data.problems] == [(2, "ambiguous image")]


def test_ids_that_look_the_same_are_duplicates(tmp_path):
    twins = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    data = dataset(tmp_path, [f"{twins[1]}.png"], twins)
    assert [r.caption for r in data.splits["train"]] == ["caption 0"]
    assert [p.problem.partition(":")[0] for p in data.problems] == ["duplicate ID"]
