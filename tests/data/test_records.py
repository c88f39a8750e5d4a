"""Every layout as a small data set whose records are known by hand; every problem with its row."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from medcap_tf.data.records import Dataset, read_dataset
from medcap_tf.data.splits import check_images
from medcap_tf.errors import InputError
from tests.data.test_tables import kinds, workbook, write

CAPTION = "Chest film, with a nodule."


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        write(folder / name, b"reading records does not open images")


def found(dataset: Dataset) -> dict[str, list[tuple]]:
    """Records as (ID, image path from the root on, caption, concepts)."""
    return {
        split: [
            (r.image_id, r.image_path and r.image_path.relative_to(dataset.root).as_posix(), r.caption, r.concepts)
            for r in records
        ]
        for split, records in dataset.splits.items()
    }


# Layouts


def test_own_layout(tmp_path):
    for split, image in (("train", "a.png"), ("valid", "b.png"), ("test", "c.png")):
        pictures(tmp_path / split / "images", image)
        pictures(tmp_path / split / "masks", image)
        workbook(tmp_path / split / "captions.xlsx", ["ID", "Caption"], [image[0], CAPTION])
        workbook(tmp_path / split / "concepts.xlsx", ["ID", "CUIs"], [image[0], "C0000001;C0000002"])
    dataset = read_dataset(tmp_path)
    codes = ("C0000001", "C0000002")
    assert found(dataset) == {
        "train": [("a", "train/images/a.png", CAPTION, codes)],
        "valid": [("b", "valid/images/b.png", CAPTION, codes)],
        "test": [("c", "test/images/c.png", CAPTION, codes)],
    }
    assert list(dataset.splits) == ["train", "valid", "test"]
    assert dataset.problems == []
    assert dataset.tables["train"] == "train/captions.xlsx"
    assert dataset.splits["train"][0].row == 2


def test_imageclef_2021_under_its_original_names(tmp_path):
    train = tmp_path / "ImageCLEF2021_ConceptDetection_Training-Set"
    valid = tmp_path / "ImageCLEF2021_ConceptDetection_Validation-Set"
    test = tmp_path / "ImageCLEF2021_CaptionConceptsTasks_TestSet_444_Images"
    pictures(train / "Training-Images", "synpic1.jpg", "synpic2.jpg")
    pictures(valid / "Validation-Images", "synpic3.jpg")
    pictures(test, "synpic4.jpg", "synpic5.jpg")
    bom = "\ufeff"
    write(train / "Training_Set_Concepts.csv", f"{bom}synpic1\tC0000001;C0000002\r\nsynpic2\tC0000003\r\n")
    write(valid / "Validation_Set_Concepts.csv", f"{bom}synpic3\tC0000001\r\n")
    write(train / "Training_Set_Captions.csv", f"{bom}synpic1\t{CAPTION}\r\nsynpic2\tA brain, a \ttumor\r\n")
    workbook(valid / "Validation_Set_Captions.xlsx", ["synpic3", "None"])
    dataset = read_dataset(tmp_path)
    assert found(dataset) == {
        "train": [
            ("synpic1", f"{train.name}/Training-Images/synpic1.jpg", CAPTION, ("C0000001", "C0000002")),
            ("synpic2", f"{train.name}/Training-Images/synpic2.jpg", "A brain, a \ttumor", ("C0000003",)),
        ],
        "valid": [("synpic3", f"{valid.name}/Validation-Images/synpic3.jpg", "None", ("C0000001",))],
        "test": [(f"synpic{n}", f"{test.name}/synpic{n}.jpg", "", ()) for n in (4, 5)],
    }
    assert dataset.problems == []


def test_roco_text_only(tmp_path):
    write(tmp_path / "validation" / "captions.txt", 'ROCO_1\t "Halo" sign, axial | CT\nROCO_2\t  Knee.\n')
    write(tmp_path / "validation" / "cuis.txt", "ROCO_1\t\tC0000001\tC0000002\nROCO_2\t\n")
    write(tmp_path / "validation" / "keywords.txt", "ROCO_1\t\thalo\n")
    write(tmp_path / "validation" / "sources.csv", "ROCO_ID,PMC_ID\nROCO_1,PMC1\n")
    dataset = read_dataset(tmp_path)
    assert found(dataset) == {
        "valid": [
            ("ROCO_1", None, '"Halo" sign, axial | CT', ("C0000001", "C0000002")),
            ("ROCO_2", None, "Knee.", ()),
        ]
    }
    assert dataset.problems == []


def test_roco_in_its_original_folders(tmp_path):
    for kind in ("radiology", "non-radiology"):
        folder = tmp_path / "data" / "train" / kind
        pictures(folder / "images", f"{kind}.jpg")
        write(folder / "captions.txt", f"{kind}\t picture\n")
    write(tmp_path / "data" / "train" / "radiology" / "traindata.csv", "id,name,caption\nradiology,x.jpg,other\n")
    dataset = read_dataset(tmp_path)
    assert found(dataset) == {
        "train": [("radiology", "data/train/radiology/images/radiology.jpg", "picture", ())],
    }
    assert kinds(dataset.problems) == [("data/train/non-radiology/captions.txt", 0, "second table")]


@pytest.mark.parametrize(
    "captions, concepts, mapping, header",
    [
        (
            "ImageCLEFmedCaption_2022_caption_prediction_{}.csv",
            "ImageCLEFmedCaption_2022_concept_detection_{}.csv",
            "ImageCLEFmedCaption_2022_concepts.csv",
            ("ID\tcaption\n", "ID\tcuis\n", "concept\tconcept_name\n"),
        ),
        (
            "ImageCLEFmedical_Caption_2023_caption_prediction_{}_labels.csv",
            "ImageCLEFmedical_Caption_2023_concept_detection_{}_labels.csv",
            "ImageCLEFmedical_Caption_2023_cui_mapping.csv",
            ("ID\tcaption\n", "ID\tcuis\n", ""),
        ),
    ],
    ids=["2022", "2023"],
)
def test_imageclef_2022_and_2023(tmp_path, captions, concepts, mapping, header):
    for split, image in (("train", "x1"), ("valid", "x2")):
        pictures(tmp_path / f"ImageCLEFmedical_{split}_images" / split, f"{image}.jpg")
        write(tmp_path / captions.format(split), f"{header[0]}{image}\t{CAPTION}\n")
        write(tmp_path / concepts.format(split), f"{header[1]}{image}\tC0000001;C0000002\n")
    write(tmp_path / mapping, f"{header[2]}C0000001\tX-ray\nC0000002\tThorax\n")
    dataset = read_dataset(tmp_path)
    codes = ("C0000001", "C0000002")
    assert found(dataset) == {
        "train": [("x1", "ImageCLEFmedical_train_images/train/x1.jpg", CAPTION, codes)],
        "valid": [("x2", "ImageCLEFmedical_valid_images/valid/x2.jpg", CAPTION, codes)],
    }
    assert dataset.concept_names == {"C0000001": "X-ray", "C0000002": "Thorax"}
    assert dataset.problems == []


def test_imageclef_2024_pipes_and_commas(tmp_path):
    pictures(tmp_path / "train", "x1.jpg", "x2.jpg")
    write(tmp_path / "train_captions.csv", "ID|Caption\nx1|CT, axial | arrow\nx2|MRI\n")
    write(tmp_path / "train_concepts.csv", "ID,CUIs\nx1,C0000001;C0000002\nx2,C0000003\n")
    assert found(read_dataset(tmp_path)) == {
        "train": [
            ("x1", "train/x1.jpg", "CT, axial | arrow", ("C0000001", "C0000002")),
            ("x2", "train/x2.jpg", "MRI", ("C0000003",)),
        ]
    }


def test_imageclef_2025_quoted(tmp_path):
    pictures(tmp_path / "train" / "images", "x1.jpg", "x2.jpg")
    write(tmp_path / "train" / "captions.csv", 'ID,Caption\nx1,"A ""halo"", axial\nview"\nx2,plain\nx9,gone\n')
    write(tmp_path / "train" / "concepts.csv", 'ID,CUIs\nx1,"C0000001;C0000002"\nx2,C0000003\n')
    dataset = read_dataset(tmp_path)
    assert [(r.image_id, r.caption, r.row) for r in dataset.splits["train"]] == [
        ("x1", 'A "halo", axial\nview', 2),
        ("x2", "plain", 4),  # the caption above spans two lines
    ]
    assert kinds(dataset.problems) == [("train/captions.csv", 5, "missing image")]


@pytest.mark.parametrize("layout", ["{split}_{kind}.csv", "{split}/{kind}.csv"])
def test_imageclef_2026_with_the_concepts_checked_by_hand(tmp_path, layout):
    for split, image in (("train", "x_train_1"), ("test", "x_test_1")):
        pictures(tmp_path / split, f"{image}.jpg")
        tables = {"captions": "Caption", "concepts": "CUIs", "concepts_manual": "CUIs"}
        values = {"captions": '"A CT, L4\u2013L5"', "concepts": "C0040405;C0000001", "concepts_manual": "C0040405"}
        for kind, column in tables.items():
            text = f'"ImageCLEFmedical 2026 ID",{column}\n{image},{values[kind]}\n'
            write(tmp_path / layout.format(split=split, kind=kind), text)
    write(tmp_path / "cui_mapping.csv", 'CUI,Canonical name\nC0040405,"X-Ray, Computed"\n')
    dataset = read_dataset(tmp_path)
    [record] = dataset.splits["test"]
    assert (record.image_id, record.concepts, record.manual) == ("x_test_1", ("C0040405", "C0000001"), ("C0040405",))
    # Dashes are those of the keyboard to the model, and as they were to the scripts of an edition.
    assert (record.caption, record.written) == ("A CT, L4-L5", "A CT, L4\u2013L5")
    assert dataset.concept_names == {"C0040405": "X-Ray, Computed"} and dataset.problems == []


def test_concepts_checked_by_hand_stand_in_where_there_are_no_others(tmp_path):
    pictures(tmp_path / "train", "a.jpg")
    write(tmp_path / "train" / "captions.csv", "ID,Caption\na,A film\n")
    write(tmp_path / "train" / "concepts_manual.csv", "ID,CUIs\na,C0040405\n")
    [record] = read_dataset(tmp_path).splits["train"]
    assert record.concepts == record.manual == ("C0040405",)


def test_tables_without_a_split_are_for_training(tmp_path):
    pictures(tmp_path / "images", "x1.jpg")
    write(tmp_path / "captions.csv", "x1,caption, with commas\n")
    assert found(read_dataset(tmp_path)) == {"train": [("x1", "images/x1.jpg", "caption, with commas", ())]}


def test_splits_may_share_one_folder_of_images(tmp_path):
    pictures(tmp_path / "images", "x1.jpg", "x2.jpg", "x3.jpg")
    write(tmp_path / "train_captions.csv", "x1,one\n")
    write(tmp_path / "val_captions.csv", "x2,two\n")
    dataset = read_dataset(tmp_path)
    assert found(dataset) == {
        "train": [("x1", "images/x1.jpg", "one", ())],
        "valid": [("x2", "images/x2.jpg", "two", ())],
    }
    assert kinds(dataset.problems) == [("images/x3.jpg", 0, "image without caption")]


def test_one_table_of_captions_and_concepts(tmp_path):
    write(tmp_path / "train" / "data.csv", "ID,Caption,CUIs\nx1,one,C0000001\n")
    assert found(read_dataset(tmp_path)) == {"train": [("x1", None, "one", ("C0000001",))]}


def test_one_table_for_all_splits(tmp_path):
    pictures(tmp_path / "images", "a.png", "b.png", "c.png", "d.png")
    rows = ["a.png,one, with a comma,train", "b.png,two,VAL", "c.png,three,test", "d.png,four,maybe"]
    write(tmp_path / "data.csv", "\n".join(["image_path,caption,split", *rows]))
    dataset = read_dataset(tmp_path)
    assert found(dataset) == {
        "train": [("a", "images/a.png", "one, with a comma", ())],
        "valid": [("b", "images/b.png", "two", ())],
        "test": [("c", "images/c.png", "three", ())],
    }
    assert sorted(kinds(dataset.problems)) == [
        ("data.csv", 2, "too many fields"),
        ("data.csv", 5, "unknown split"),
        ("images/d.png", 0, "image without caption"),
    ]


def test_one_headerless_table_for_all_splits_and_its_codes(tmp_path):
    write(tmp_path / "captions.csv", "a.png,one two,train\nb.png,three four,test\n")
    write(tmp_path / "concepts.csv", "ID,CUIs,split\na,C0000001,train\nb,C0000002,test\n")
    assert found(read_dataset(tmp_path)) == {
        "train": [("a", None, "one two", ("C0000001",))],
        "test": [("b", None, "three four", ("C0000002",))],
    }


def test_the_images_tell_the_column_of_ids_and_the_header(tmp_path):
    pictures(tmp_path / "train", "p1.png", "p2.png", "p3.png")
    rows = ["1,p1,chest film", "2,p2,knee film", "3,p3,hip film"]
    for header in ("id,bild,caption", "nr,bild,text"):
        write(tmp_path / "train" / "captions.csv", "\n".join([header, *rows]))
        assert [r.image_id for r in read_dataset(tmp_path).splits["train"]] == ["p1", "p2", "p3"]
    write(tmp_path / "train" / "captions.csv", "bild,befund\np1,chest\np2,knee\np3,hip\n")
    dataset = read_dataset(tmp_path)
    assert [r.caption for r in dataset.splits["train"]] == ["chest", "knee", "hip"]
    assert ("train/captions.csv", 1, "header by content") in kinds(dataset.problems)


# Several captions of an image


def test_several_captions_are_one_record_or_all(tmp_path):
    for split in ("train", "test"):
        pictures(tmp_path / split, "a.png", "b.png")
        write(tmp_path / split / "captions.csv", "ID,Caption\na,one\na,two\na,one\nb,B\n")
    dataset = read_dataset(tmp_path)
    assert [r.caption for r in dataset.splits["train"]] == ["one", "B"]
    assert [p.row for p in dataset.problems if "data.captions=all" in p.problem] == [3, 3]
    dataset = read_dataset(tmp_path, all_captions="train")
    assert [(r.image_id, r.image_path.name, r.caption, r.row) for r in dataset.splits["train"]] == [
        ("a", "a.png", "one", 2),
        ("a#1", "a.png", "two", 3),
        ("b", "b.png", "B", 5),
    ]
    assert [r.caption for r in dataset.splits["test"]] == ["one", "B"]
    assert [p.file for p in dataset.problems if "data.captions=all" in p.problem] == ["test/captions.csv"]


# IDs that a spreadsheet changed


@pytest.mark.parametrize(
    "image, written",
    [
        ("007.png", "7"),
        ("007.png", "7.0"),
        ("100000.png", "1e5"),
        ("100000.png", "1E+05"),
        ("7.png", "0007"),
        ("IMG_1.png", "img_1"),
    ],
)
def test_ids_in_another_form_are_found_and_said(tmp_path, image, written):
    pictures(tmp_path / "train", image, "other.png")
    write(tmp_path / "train" / "captions.csv", f"ID,Caption\n{written},one\nother,two\n")
    write(tmp_path / "train" / "concepts.csv", f"ID,CUIs\n{image},C0000001\n")
    dataset = read_dataset(tmp_path)
    assert [(r.image_path.name, r.concepts) for r in dataset.splits["train"]] == [
        (image, ("C0000001",)),
        ("other.png", ()),
    ]
    assert kinds(dataset.problems) == [
        ("train/concepts.csv", 2, "ID in another form"),
        ("train/captions.csv", 2, "ID in another form"),
    ]


def test_an_image_that_another_id_names_is_not_taken_from_it(tmp_path):
    pictures(tmp_path / "train", "007.png", "8.png", "08.png")
    write(tmp_path / "train" / "captions.csv", "ID,Caption\n007,one\n7,none\n008,two of them\n")
    dataset = read_dataset(tmp_path)
    assert [r.image_id for r in dataset.splits["train"]] == ["007"]
    assert [(p.row, p.problem.partition(":")[0]) for p in dataset.problems if p.row] == [
        (3, "missing image"),
        (4, "missing image"),
    ]


# Names of concepts


def test_concept_names_are_optional_and_bad_rows_cost_themselves_only(tmp_path):
    write(tmp_path / "train" / "captions.csv", "a,A\n")
    assert read_dataset(tmp_path).concept_names == {}
    names = write(tmp_path / "concept_names.csv", "concept,name\nPLANE_1,axial, oblique\nORGAN_2,\nPLANE_1,again\n")
    dataset = read_dataset(tmp_path)
    assert dataset.concept_names == {"PLANE_1": "axial, oblique"}
    assert kinds(dataset.problems) == [
        ("concept_names.csv", 3, "missing name"),
        ("concept_names.csv", 4, "duplicate code"),
    ]
    names.write_bytes(b"")
    dataset = read_dataset(tmp_path)
    assert (dataset.concept_names, kinds(dataset.problems)) == ({}, [("concept_names.csv", 0, "no names of concepts")])


def test_a_table_of_concepts_without_a_split_names_nothing(tmp_path):
    write(tmp_path / "captions.csv", "a,A\n")
    write(tmp_path / "concepts.csv", "a,C0000001\n")
    dataset = read_dataset(tmp_path)
    assert (dataset.concept_names, dataset.splits["train"][0].concepts) == ({}, ("C0000001",))


# Images


def test_images_by_any_extension_in_any_case_and_one_folder_down(tmp_path):
    names = ["a.JPG", "b.Png", "sub/c.tiff", "d.dcm", "one/e.jpg", "two/e.jpg"]
    pictures(tmp_path / "train" / "images", *names)
    write(tmp_path / "train" / "captions.csv", "a.jpg,A\nb,B\nc.tif,C\nd,D\none/e.jpg,E1\ntwo\\e,E2\n")
    dataset = read_dataset(tmp_path)
    assert [(i, path.split("images/")[1]) for i, path, _, _ in found(dataset)["train"]] == [
        ("a", "a.JPG"),
        ("b", "b.Png"),
        ("c", "sub/c.tiff"),
        ("d", "d.dcm"),
        ("one/e", "one/e.jpg"),
        ("two/e", "two/e.jpg"),
    ]
    assert dataset.problems == []


def test_two_files_for_one_id(tmp_path):
    pictures(tmp_path / "train" / "images", "a.jpg", "a.png")
    write(tmp_path / "train" / "captions.csv", "a,A\n")
    dataset = read_dataset(tmp_path)
    assert found(dataset)["train"][0][1] == "train/images/a.jpg"
    assert kinds(dataset.problems) == [("train/captions.csv", 1, "several images")]


def test_links_in_a_circle_end(tmp_path):
    pictures(tmp_path / "train" / "images", "a.jpg")
    write(tmp_path / "train" / "captions.csv", "a,A\n")
    os.symlink(tmp_path, tmp_path / "train" / "again")
    assert len(read_dataset(tmp_path).splits["train"]) == 1


# Problems


def test_every_problem_of_a_data_set_has_its_row(tmp_path):
    pictures(tmp_path / "train" / "images", "a.png", "b.png", "extra.png", "empty.png")
    rows = [["a", "A"], ["gone", "no file"], ["a", "again"], ["empty", ""], ["", "no ID"], [], ["../b", "climbs"]]
    rows += [["/etc/b", "absolute"], ["C:\\b", "drive"], ["b", "B"]]
    workbook(tmp_path / "train" / "captions.xlsx", ["ID", "Caption"], *rows)
    codes = [["a", "C0000001;C0000001;C0000002"], ["b", "C0000003;X12"], ["nobody", "C0000001"], ["empty", "C0000001"]]
    workbook(tmp_path / "train" / "concepts.xlsx", ["ID", "CUIs"], *codes)
    dataset = read_dataset(tmp_path)
    assert [(r.image_id, r.concepts) for r in dataset.splits["train"]] == [
        ("a", ("C0000001", "C0000002")),
        ("b", ("C0000003",)),
    ]
    assert sorted(kinds(dataset.problems)) == [
        ("train/captions.xlsx", 3, "missing image"),
        ("train/captions.xlsx", 4, "duplicate ID"),
        ("train/captions.xlsx", 5, "empty caption"),
        ("train/captions.xlsx", 6, "missing ID"),
        ("train/captions.xlsx", 8, "unsafe ID"),
        ("train/captions.xlsx", 9, "unsafe ID"),
        ("train/captions.xlsx", 10, "unsafe ID"),
        ("train/concepts.xlsx", 2, "repeated code"),
        ("train/concepts.xlsx", 3, "not a CUI"),
        ("train/concepts.xlsx", 4, "concepts without caption"),
        ("train/images/extra.png", 0, "image without caption"),
    ]


# Unusable data sets


def test_no_folder_and_no_captions(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    write(tmp_path / "train" / "notes.txt", "nothing")
    with pytest.raises(InputError, match=r"no table of captions found \(tables there: train/notes.txt\)"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("split, message", [("valid", "no table of captions"), ("test", "neither images nor captions")])
def test_an_empty_split(tmp_path, split, message):
    write(tmp_path / "train" / "captions.csv", "a,A\n")
    (tmp_path / split).mkdir()
    with pytest.raises(InputError, match=f"'{split}'.*{message}"):
        read_dataset(tmp_path)


def test_a_split_whose_rows_are_all_unusable(tmp_path):
    write(tmp_path / "train" / "captions.csv", "../a,A\n")
    with pytest.raises(InputError, match="not one usable row.*unsafe ID"):
        read_dataset(tmp_path)


def test_a_split_none_of_whose_images_is_found(tmp_path):
    pictures(tmp_path / "train" / "images", "other.jpg")
    write(tmp_path / "train" / "captions.csv", "a,A\nb,B\n")
    with pytest.raises(InputError, match=r"none of its 2 IDs.*'a'.*train/images/other\.jpg"):
        read_dataset(tmp_path)


def test_files_of_open_workbooks_and_macos_are_passed_over(tmp_path):
    write(tmp_path / "train" / "captions.csv", "a,A\n")
    write(tmp_path / "train" / "~$captions.xlsx", b"lock")
    write(tmp_path / "train" / "._captions.csv", b"\0\5")
    assert read_dataset(tmp_path).problems == []


def test_a_hundred_thousand_rows_take_seconds(tmp_path):
    write(tmp_path / "train" / "captions.csv", "".join(f'x{i},"Film {i}, lateral"\n' for i in range(100_000)))
    write(tmp_path / "train" / "concepts.csv", "".join(f"x{i},C0000001;C{i:07}\n" for i in range(2, 100_000)))
    start = time.process_time()
    assert len(read_dataset(tmp_path).splits["train"]) == 100_000
    assert time.process_time() - start < 30  # about 5 s


def test_what_evaluate_has_written_is_no_reference(tmp_path):
    pictures(tmp_path / "train", "a.png")
    pictures(tmp_path / "test", "b.png")
    write(tmp_path / "train" / "captions.csv", f"ID,Caption\na,{CAPTION}\n")
    for name in ("predictions", "predictions_test"):
        write(tmp_path / "test" / f"{name}.csv", "ID,Caption\nb,What a network says\n")
    assert found(read_dataset(tmp_path))["test"] == [("b", "test/b.png", "", ())]


def test_images_of_a_test_split_are_captioned_whatever_their_rows_say(tmp_path):
    for split in ("train", "test"):
        pictures(tmp_path / split, "a.png", "b.png")
        write(tmp_path / split / "captions.csv", f"ID,Caption\na,{CAPTION}\nb,\nc,Of no image\n")
    dataset = read_dataset(tmp_path)
    assert [record.image_id for record in dataset.splits["train"]] == ["a"]
    assert [(record.image_id, record.caption) for record in dataset.splits["test"]] == [("a", CAPTION), ("b", "")]
    of_test = [problem.file for problem in dataset.problems_of("test")]
    assert len(of_test) == 2 and set(of_test) == {"test/captions.csv"}
    assert "empty caption: of 'b'; its image is captioned, not scored" in [p.problem for p in dataset.problems]


def test_a_broken_link_is_an_image_that_cannot_be_read(tmp_path):
    pictures(tmp_path / "train", "a.png")
    (tmp_path / "train" / "b.png").symlink_to(tmp_path / "gone.png")
    write(tmp_path / "train" / "captions.csv", f"ID,Caption\na,{CAPTION}\nb,{CAPTION}\n")
    [a, b] = check_images(read_dataset(tmp_path).splits["train"], "train")
    assert a.problem and b.problem and "b.png" in b.problem.problem
