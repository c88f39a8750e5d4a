"""Each image has its own reference, by its ID and not by its file's name alone."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcap_tf.caption import Caption
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.explain.entries import entry_of
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.masks import mask_of, mask_paths
from medcap_tf.explain.pictures import file_name
from medcap_tf.explain.references import Pictured, id_within, name_images, with_ids, with_references
from medcap_tf.run_folder import RunFolder
from tests.conftest import run_command


def ids(*paths):
    return [image.image_id for image in name_images(list(map(Path, paths)))]


def matched(table, *paths, own=()):
    """The references of images that go by `own`, where that is known."""
    images = with_references(name_images(list(map(Path, paths))), table, "table.csv", own)
    return [image.reference for image in images]


def test_an_id_is_the_shortest_end_of_the_path_that_tells_images_apart():
    assert ids("in/scan.png") == ["scan"]
    assert ids("in/a/0.png", "in/b/0.png", "in/a/1.png") == ["a/0", "b/0", "1"]
    assert ids("x/a/0.png", "y/a/0.png") == ["x/a/0", "y/a/0"]
    assert ids("in/0.png", "in/0.jpg") == ["0.png", "0.jpg"]
    assert ids("in/0.png", "in/0.png") == ["0", "0"]  # one image, given twice
    assert ids("in/1.2.840.1", "in/1.2.840.2") == ["1.2.840.1", "1.2.840.2"]  # no suffixes: parts of UIDs


def test_an_id_counts_from_a_folder_on():
    assert id_within(Path("in/a/0.png"), Path("in")) == "a/0"
    assert id_within(Path("in/a/0.png"), Path("in/a")) == "0"
    assert id_within(Path("in/1.2.840"), Path("in")) == "1.2.840"


STUDIES = {"CXR1/0": "normal chest", "CXR2/0": "effusion", "CXR2/1": "lateral"}


@pytest.mark.parametrize(
    ("table", "paths", "references"),
    [
        (STUDIES, ["in/CXR1/0.png", "in/CXR2/0.png", "in/CXR2/1.png"], ["normal chest", "effusion", "lateral"]),
        (STUDIES, ["CXR2/0.jpg"], ["effusion"]),
        (STUDIES, ["in/CXR1/0.png", "in/CXR3/0.png"], ["normal chest", ""]),  # no row of its own
        ({"images/CXR1/0": "deep"}, ["test/images/CXR1/0.png"], ["deep"]),
        ({"scan": "flat"}, ["any/folder/scan.png"], ["flat"]),
        ({"scan.v2": "dotted"}, ["in/scan.v2.png"], ["dotted"]),
        ({"1.2.840.7": "a UID", "1.2.840": "another"}, ["in/1.2.840.7", "in/1.2.840.dcm"], ["a UID", "another"]),
        ({"R1/0": "x"}, ["in/CXR1/0.png", "R1/0.png"], ["", "x"]),  # an end of whole folders, not of letters
        ({unicodedata.normalize("NFD", "Köln/0"): "x"}, [unicodedata.normalize("NFC", "in/Köln/0.png")], ["x"]),
        ({unicodedata.normalize("NFC", "Köln/0"): "x"}, [unicodedata.normalize("NFD", "in/Köln/0.png")], ["x"]),
    ],
)
def test_a_row_is_of_the_image_whose_path_ends_in_its_id(table, paths, references):
    assert matched(table, *paths) == references


def test_one_row_for_two_images_is_refused_and_both_are_named():
    with pytest.raises(InputError, match=r"table\.csv: ID '0' names both \S*in/a/0\.png and \S*in/b/0\.png.*'a/0'"):
        matched({"0": "whose?"}, "in/a/0.png", "in/b/0.png")
    with pytest.raises(InputError, match=r"ID 'x' names both \S*in/x\.png and \S*in/x\.jpg"):
        matched({"x": "whose?"}, "in/x.png", "in/x.jpg", own=["x", "x"])
    with pytest.raises(InputError, match="ID 'a/0' names both"):
        matched({"a/0": "whose?"}, "x/a/0.png", "y/a/0.png")
    assert matched({"0": "one image, given twice"}, "in/a/0.png", "in/a/0.png")[0].startswith("one")


def test_two_rows_for_one_image_are_refused_and_both_are_named():
    table = {"0": "front", "a/0": "study a"}
    with pytest.raises(InputError, match=r"table\.csv: '0' and 'a/0' both name \S*in/a/0\.png"):
        matched(table, "in/a/0.png")


def test_the_folder_given_says_where_ids_start():
    table = {"0": "front", "a/0": "study a"}
    assert matched(table, "in/0.png", "in/a/0.png", own=["0", "a/0"]) == ["front", "study a"]
    assert matched({"0": "front"}, "in/0.png", "in/a/0.png", own=["0", "a/0"]) == ["front", ""]


def test_a_table_of_other_images_is_refused():
    with pytest.raises(InputError, match=r"no caption for any of the 1 images \(its first ID is 'CXR1/0'"):
        matched(STUDIES, "in/CXR7/0.png")


def test_captions_take_the_ids_of_their_images_in_order():
    captions = [Caption(Path(f"{study}/0.png")) for study in "ab"]
    found = with_ids(captions, [Pictured(caption.path, f"{caption.path.parent}/0") for caption in captions])
    assert [(caption.image_id, caption.path) for caption in found] == [(f"{s}/0", Path(f"{s}/0.png")) for s in "ab"]


def test_the_page_and_the_pictures_tell_files_of_one_name_apart():
    entries = [entry_of(Explanation(Caption(Path(f"in/{s}/0.png"), error="e", image_id=f"{s}/0"))) for s in ("a", "b")]
    assert [entry["name"] for entry in entries] == ["a/0.png", "b/0.png"]
    # The first six digits of these two hashes are equal.
    paths = [Path(f"images/CXR{n}/0.png") for n in range(20_000)]
    assert len({file_name(path) for path in paths}) == len(paths)
    assert file_name(Path("in/scan.png")).startswith("scan-")


@pytest.mark.parametrize(
    ("path", "image_id", "wanted"),
    [
        ("test/images/x.png", "x", "test/masks/x.png"),
        ("test/images/CXR1/0.png", "CXR1/0", "test/masks/CXR1/0.png"),
        ("test/images/CXR1/0.jpg", "0", "test/masks/CXR1/0.png"),
        ("test/images/CXR1/0.png", "images/CXR1/0", "test/masks/CXR1/0.png"),
        ("test/scans/CXR1/0.png", "CXR1/0", "test/masks/CXR1/0.png"),
        ("images/test/images/a/0.png", "a/0", "images/test/masks/a/0.png"),
    ],
)
def test_a_mask_lies_where_the_image_does(path, image_id, wanted):
    found = mask_paths(Record(image_id, Path(path), "", ()))
    assert Path(wanted) in found


def test_no_two_studies_share_a_mask():
    one, other = (mask_paths(Record(f"{s}/0", Path(f"test/images/{s}/0.png"), "", ())) for s in ("CXR1", "CXR2"))
    assert set(one).isdisjoint(other)


CAPTIONS = {"CXR1": "normal chest radiograph", "CXR2": "large left effusion", "CXR3": "knee fracture"}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A test split of three studies, each image of which is called 0.png."""
    root = tmp_path_factory.mktemp("studies")
    rng = np.random.default_rng(0)
    for study in CAPTIONS:
        place = root / "test" / "images" / study / "0.png"
        place.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(place)
    rows = "".join(f"{study}/0.png,{text}\n" for study, text in CAPTIONS.items())
    (root / "test" / "captions.csv").write_text("ID,Caption\n" + rows)
    return root


def entries_in(page: Path) -> list[dict]:
    found = re.findall(r'<script type="application/json" class="entry">(.*?)</script>', page.read_text("utf-8"))
    return list(map(json.loads, found))


def references_in(page: Path) -> dict[str, str]:
    return {entry["name"]: (entry["reference"] or {}).get("caption", "") for entry in entries_in(page)}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--data", "--references", "--data --references", "files"])
def test_explain_gives_each_image_its_own_reference(small_run, studies, tmp_path, way):
    table, images = studies / "test" / "captions.csv", studies / "test" / "images"
    given = {
        "--data": ["--data", studies, "--worst"],
        "--references": [images, "--references", table],
        "--data --references": ["--data", studies, "--references", table],
        "files": [*(images / study / "0.png" for study in CAPTIONS), "--references", table],
    }[way]
    run_command("-m", "medcap_tf", "explain", small_run, *given, "--no-pictures", "--out", tmp_path)
    found = references_in(tmp_path / "report.html")
    assert found == {f"{study}/0.png": text for study, text in CAPTIONS.items()}


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (100, 200)])
def test_a_mask_may_hold_labels_of_zero_and_one(low, high, tmp_path):
    record = Record("x", tmp_path / "images" / "x.png", "", ())
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((3, 4), bool)
    drawn[1, 2:] = True
    Image.fromarray(np.where(drawn, high, low).astype(np.uint8)).save(tmp_path / "masks" / "x.png")
    assert mask_of(record).tolist() == drawn.tolist()


@pytest.mark.slow
def test_an_id_of_two_images_is_an_error_before_anything_is_written(small_run, studies, tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("ID,Caption\n0,whose is it\n")
    done = run_command(
        *("-m", "medcap_tf", "explain", small_run, studies / "test" / "images", "--references", table, "--out", out),
        check=False,
    )
    assert done.returncode == 1 and "ID '0' names both" in done.stderr and "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_the_report_and_json_tell_the_same_scores_of_concepts(small_run, studies, tmp_path):
    run = RunFolder(shutil.copytree(small_run, tmp_path / "run"))
    # What so short a training scores highly is another thing on every machine, and on some nothing.
    retrieval = json.loads(run.retrieval.read_text())
    run.retrieval.write_text(json.dumps(retrieval | {"concept_threshold": 0.0}))
    image = studies / "test" / "images" / "CXR1" / "0.png"
    given = ("-m", "medcap_tf")
    told = json.loads(run_command(*given, "caption", run.path, image, "--json").stdout)
    run_command(*given, "explain", run.path, image, "--no-pictures", "--layers", "--out", tmp_path / "explained")
    (entry,) = entries_in(tmp_path / "explained" / "report.html")
    shown = {concept["code"]: (concept["score"], concept["word_score"]) for concept in entry["concepts"]}
    assert told["concepts"]
    for concept in told["concepts"]:
        wanted = [None if concept[name] is None else round(concept[name], 4) for name in ("score", "word_score")]
        assert list(shown[concept["code"]]) == wanted
