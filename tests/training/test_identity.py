"""What a run knows of its data, and how a difference is named."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from medcap_tf.data.records import Record
from medcap_tf.data.splits import Splits, check_images
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.training.identity import Identity, check_same_data, describe_data, differences


@pytest.fixture
def folder(tmp_path):
    return draw(tmp_path / "data")


def draw(folder):
    """Images a, b, c (train), d (valid), e (test) of different gray."""
    folder.mkdir()
    for i, name in enumerate("abcde"):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((4, 4), 40 * i, np.uint8))
    return folder


def records(folder, names, **captions):
    return [Record(n, folder / f"{n}.png", captions.get(n, f"caption of {n}"), ("C0000001",)) for n in names]


def identity(folder, train="abc", codes=None, **captions):
    splits = Splits(*(records(folder, names, **captions) for names in (train, "d", "e")))
    return Identity.of(splits, [check_images(own, "some") for own in splits], codes or {})


def check(tmp_path, before, folder, now):
    run = tmp_path / "run"
    before.save(RunFolder(run))
    check_same_data(RunFolder(run), json.loads(json.dumps(describe_data(tmp_path / "data", before))), folder, now)


def test_the_same_data_elsewhere_are_the_same(folder, tmp_path):
    before = identity(folder)
    moved = folder.rename(tmp_path / "moved")
    check(tmp_path, before, moved, identity(moved))
    assert Identity.load(RunFolder(tmp_path / "run")) == before


def test_both_paths_and_two_digests_are_kept(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = describe_data(folder.relative_to(tmp_path), identity(folder))
    assert (written["data"], written["data_path"]) == ("data", str(folder))
    assert {len(digest) for digest in written["data_digest"].values()} == {32}


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({"train": "ab"}, "1 record gone: train c"),
        ({"train": "c"}, "2 records gone: train a, train b"),
        ({"a": "caption of a."}, "1 record with other captions or concepts: train a"),
        ({"d": "x", "e": "y"}, "2 records with other captions or concepts: valid d, test e"),
        ({"train": "acb"}, "2 records in another order: train b, train c"),
        ({"codes": {"C0000001": "cyst"}}, "1 record added: concept name C0000001"),
    ],
)
def test_differences_are_named_by_kind_and_id(folder, tmp_path, now, named):
    before = identity(folder)
    assert differences(before, identity(folder, **now)) == [named]
    with pytest.raises(InputError, match=named):
        check(tmp_path, before, folder, identity(folder, **now))


def test_long_lists_are_cut(folder):
    for name in "fghi":
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((4, 4), np.uint8))
    (found,) = differences(identity(folder), identity(folder, train="abcfghi"))
    assert found == "4 records added: train f, train g, train h, ..."


def test_images_are_told_by_their_content(folder):
    before = identity(folder)
    again = cv2.imread(str(folder / "b.png"))
    same_size = bytearray((folder / "c.png").read_bytes())
    cv2.imwrite(str(folder / "a.png"), np.full((4, 4), 200, np.uint8))
    cv2.imwrite(str(folder / "b.png"), again[..., 0])  # the same file anew
    (folder / "c.png").write_bytes(bytes(same_size[:-20]) + b"\0" * 20)
    (folder / "d.png").unlink()
    (folder / "e.png").write_bytes(b"no image")
    found = differences(before, identity(folder))
    assert "1 record with another image: train a" in found
    assert [line.split(":")[0].split(" ", 2)[2] for line in found] == [
        "whose image cannot be read any more",
        "with another image",
    ]
    assert "valid d, test e" in found[0]


def test_an_image_that_was_unreadable_all_along_is_no_difference(folder, tmp_path):
    (folder / "b.png").write_bytes(b"no image")
    check(tmp_path, identity(folder), folder, identity(folder))


def test_a_damaged_list_of_records_still_lets_the_same_data_pass(folder, tmp_path):
    before, run = identity(folder), tmp_path / "run"
    written = describe_data(folder, before)
    check_same_data(RunFolder(run), written, folder, identity(folder))
    for damage in (None, "split,ID\n1,2,3\n", "", "split,ID,record,bytes,image\ntrain,a,x,1,y\n"):
        if damage is not None:
            run.mkdir(exist_ok=True)
            (run / "data.csv").write_text(damage)
        with pytest.raises(InputError, match="data.csv, which would tell the records, is missing or damaged"):
            check_same_data(RunFolder(run), written, folder, identity(folder, train="ab"))


def test_text_alone_has_an_identity():
    splits = Splits(*([Record(name, None, name, ())] for name in "abc"))
    found = Identity.of(splits, [check_images(own, "some") for own in splits], {})
    assert {entry.image for entry in found.entries.values()} == {""}


def test_each_caption_of_an_image_counts(folder):
    def of(*captions):
        twice = [Record("a", folder / "a.png", caption, ()) for caption in captions]
        splits = Splits(twice, records(folder, "d"), records(folder, "e"))
        return Identity.of(splits, [check_images(own, "some") for own in splits], {})

    assert differences(of("one", "two"), of("one", "two")) == []
    assert differences(of("one", "two"), of("two")) == [
        "1 record gone: train a (2)",
        "1 record with other captions or concepts: train a",
    ]


def test_a_run_knows_its_own_records_in_whatever_split(folder):
    mine = identity(folder, "aabc")  # an image with two captions
    assert mine.holds(records(folder, "ad")) and mine.holds([])
    assert not mine.holds(records(folder, "ax"))
    assert not mine.holds(records(folder, "ad", d="another caption"))
    assert mine.holds([Record("a", None, "caption of a", ("C0000001",))])  # images are not looked at


def test_the_own_test_split_is_all_of_it_with_its_images(folder):
    splits = Splits(records(folder, "a"), records(folder, "b"), records(folder, "cd"))
    own = Identity.of(splits, [check_images(part, "some") for part in splits], {})
    assert own.is_test(splits.test)
    assert not own.is_test(splits.test[:1])
    assert not own.is_test(splits.valid)
    assert not own.is_test(records(folder, "cd", c="another"))
    (folder / "c.png").write_bytes((folder / "e.png").read_bytes())
    assert not own.is_test(splits.test)
