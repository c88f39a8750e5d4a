"""Which records are trained on, which are held out, which images can be read, and which concepts are learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcap_tf.config import DataConfig
from medcap_tf.data.records import Dataset, Record
from medcap_tf.data.splits import check_images, choose_splits, frequent_concepts
from medcap_tf.errors import InputError


def test_held_out_captions_are_not_trained_on(records):
    twins = [Record(f"{r.image_id}b", r.image_path, r.caption, r.concepts) for r in records]
    splits = choose_splits(Dataset(None, {"train": records + twins}, []), DataConfig(valid_fraction=0.3), seed=0)
    assert len(splits.valid) == 4  # 30% of five captions, two images each
    assert not {r.caption for r in splits.train} & {r.caption for r in splits.valid}


def test_an_image_with_several_captions_is_either_trained_on_or_held_out():
    texts = {"a": ("one", "two"), "b": ("two", "three"), "c": ("four", "five"), "d": ("six",), "e": ("seven", "eight")}
    train = [Record(f"{name}#{text}", Path(name), text, ()) for name, captions in texts.items() for text in captions]
    for seed in range(10):
        splits = choose_splits(Dataset(None, {"train": train}, []), DataConfig(valid_fraction=0.5), seed)
        assert not {r.image_path for r in splits.train} & {r.image_path for r in splits.valid}
        assert not {r.caption for r in splits.train} & {r.caption for r in splits.valid}
        assert len(splits.train) + len(splits.valid) == len(train)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"valid": [Record("a", None, "x", ())]}, r"no split 'train'.*found: valid.*data\.train_split"),
        ({"train": [Record("a", None, "", ())]}, "holds no captions"),
        ({"train": [Record("a", None, "x", ())]}, "too few"),
    ],
)
def test_splits_that_cannot_be_trained_on(given, message, tmp_path):
    with pytest.raises(InputError, match=message):
        choose_splits(Dataset(tmp_path, given, []), DataConfig(), 0)


def test_an_unreadable_image_is_a_problem_and_every_other_has_a_digest(records, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    missing, text = tmp_path / "missing.png", Record("text", None, "cyst", ())
    added = [Record("broken", broken, "cyst", ()), Record("missing", missing, "cyst", ()), text]
    *good, bad, gone, textual = check_images([*records, *added], "train")
    assert [file.problem for file in good] == [None] * len(records)
    assert len({file.digest for file in good}) == len(records)
    # Of the words "no image", by sha256sum.
    assert (bad.size, bad.digest[:12]) == (8, "453361fd9257")
    assert (gone.size, gone.digest) == (0, "")
    assert [file.problem.file for file in (bad, gone)] == [str(broken), str(missing)]
    assert textual == (0, "", None)


def test_concepts_by_count_then_code(records):
    assert frequent_concepts(records, 1) == ["C0000001", "C0000002"]
    assert frequent_concepts(records, 2) == ["C0000001"]
