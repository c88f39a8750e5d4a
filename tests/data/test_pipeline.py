"""Batches and the feature cache: same seed, same batches; interrupted, damaged or grown, the cache tells the truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medcap_tf.config import DataConfig
from medcap_tf.data.feature_cache import FeatureCache, feature_loader, fingerprint, views
from medcap_tf.data.pipeline import Examples, batches, image_loader
from medcap_tf.data.records import Dataset, Record
from medcap_tf.data.splits import check_images, choose_splits, concept_matrix, frequent_concepts
from medcap_tf.errors import InputError
from medcap_tf.text import END, START, Normalizer, Vocabulary

CAPTIONS = ["renal cyst", "renal", "large renal cyst left", "left cyst", "cyst"]
VOCABULARY = Vocabulary.build(CAPTIONS, Normalizer())


@pytest.fixture
def records(tmp_path):
    """Five gray images of values 0, 50, 100, 150, 200."""
    made = []
    for i, caption in enumerate(CAPTIONS):
        path = tmp_path / f"image{i}.png"
        cv2.imwrite(str(path), np.full((20, 30), 50 * i, np.uint8))
        made.append(Record(f"image{i}", path, caption, ("C0000001", "C0000002")[: i % 3]))
    return made


def examples(records):
    return Examples.of(records, ["C0000001", "C0000002"], VOCABULARY, 10)


def test_batches_are_padded_to_their_longest_caption(records):
    first, second = list(batches(examples(records), 3, order=np.array([1, 0, 4, 2, 3])))
    renal, cyst, large, left = (VOCABULARY.encode(word)[0] for word in ("renal", "cyst", "large", "left"))
    assert first["rows"].numpy().tolist() == [1, 0, 4]
    assert first["inputs"].numpy().tolist() == [[START, renal, 0], [START, renal, cyst], [START, cyst, 0]]
    assert first["targets"].numpy().tolist() == [[renal, END, 0], [renal, cyst, END], [cyst, END, 0]]
    assert second["targets"].numpy().tolist() == [[large, renal, cyst, left, END], [left, cyst, END, 0, 0]]
    assert first["concepts"].numpy().tolist() == [[1, 0], [0, 0], [1, 0]]


def test_batches_without_words_have_one_shape(records):
    with_words, without = (list(batches(examples(records[:4]), 2, words=words)) for words in (True, False))
    assert {name for batch in without for name in batch} == {"rows", "concepts"}
    for one, other in zip(with_words, without):
        np.testing.assert_array_equal(one["rows"], other["rows"])
        np.testing.assert_array_equal(one["concepts"], other["concepts"])


def test_skipping_gives_the_rest_of_the_same_epoch(records):
    config = DataConfig(crop=0.5)
    visual = (image_loader(records, 16, config, augment=True), (16, 16, 3), np.uint8)
    whole = list(batches(examples(records), 2, seed=(3, 1), visual=visual))
    rest = list(batches(examples(records), 2, seed=(3, 1), visual=visual, skip=1))
    assert len(rest) == len(whole) - 1
    for one, other in zip(whole[1:], rest):
        np.testing.assert_array_equal(one["rows"], other["rows"])
        np.testing.assert_array_equal(one["visual"], other["visual"])


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
    assert concept_matrix(records, ["C0000002"]).ravel().tolist() == [0, 0, 1, 0, 0]


def test_views_follow_the_settings():
    assert views(DataConfig(horizontal_flip=False, crop=1.0)) == ["identity"]
    assert views(DataConfig(vertical_flip=True)) == ["identity", "horizontal_flip", "vertical_flip", "center_crop"]


class TestFeatureCache:
    """A cache of [1, 2, 3] features: pixels' mean, plus the channel's number."""

    shape = (1, 2, 3)

    def fill(self, folder, records, view="identity", interrupt_at=None):
        computed = []

        def compute(pixels):
            if interrupt_at is not None and len(computed) >= interrupt_at:
                raise KeyboardInterrupt
            computed.extend(range(len(pixels)))
            return pixels.mean((1, 2))[:, None, None, :] + np.arange(3) + np.zeros((1, 1, 2, 1))

        def prepared(record, view):
            return cv2.imread(str(record.image_path))

        cache = FeatureCache(folder, self.shape)
        return cache, cache.fill(records, view, compute, prepared), len(computed)

    def test_each_record_finds_its_features(self, records, tmp_path):
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 5
        np.testing.assert_array_equal(cache.features("identity")[rows][:, 0, 1, 2], [2, 52, 102, 152, 202])
        load = feature_loader(cache, {"identity": rows})
        assert load(np.array([3, 0]), np.random.default_rng(0))[:, 0, 0, 0].tolist() == [150, 0]

    def test_a_second_run_computes_nothing_and_a_new_image_only_itself(self, records, tmp_path):
        self.fill(tmp_path / "cache", records[:4])
        assert self.fill(tmp_path / "cache", records[:4])[2] == 0
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 1
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

    def test_the_same_content_under_two_names_is_one_row(self, records, tmp_path):
        twin = tmp_path / "twin.png"
        twin.write_bytes(records[2].image_path.read_bytes())
        _, rows, computed = self.fill(tmp_path / "cache", [*records, Record("twin", twin, "", ())])
        assert computed == 5
        assert rows[5] == rows[2]

    def test_a_damaged_row_is_computed_again(self, records, tmp_path):
        self.fill(tmp_path / "cache", records)
        data = tmp_path / "cache" / "identity.features"
        content = bytearray(data.read_bytes())
        content[2 * 12 + 1] ^= 255  # the third row
        data.write_bytes(bytes(content))
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 3  # the damaged one and those behind it
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

    @pytest.mark.parametrize("lost", [1, 5, 40, 80])
    def test_a_torn_end_is_written_again(self, records, tmp_path, lost):
        self.fill(tmp_path / "cache", records)
        index = tmp_path / "cache" / "identity.index"
        index.write_bytes(index.read_bytes()[:-lost])
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == (2 if lost == 80 else 1)
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

    def test_other_weights_are_another_cache(self):
        import keras

        def encoder(value):
            image = keras.Input((8, 8, 3))
            model = keras.Model(image, keras.layers.Conv2D(2, 3, name="conv")(image))
            model.set_weights([np.full(w.shape, value) for w in model.weights])
            return model

        names = {fingerprint(encoder(v), size, eq) for v in (0, 1) for size in (8, 9) for eq in (False, True)}
        assert len(names) == 8
        assert fingerprint(encoder(1), 8, False) == fingerprint(encoder(1), 8, False)
