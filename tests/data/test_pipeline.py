"""Batches: of the same seed the same, padded to their longest caption."""

from __future__ import annotations

import numpy as np

from medcap_tf.config import DataConfig
from medcap_tf.data.pipeline import Examples, batches, image_loader
from medcap_tf.text import END, START, Normalizer, Vocabulary
from tests.data.conftest import CAPTIONS

VOCABULARY = Vocabulary.build(CAPTIONS, Normalizer())


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


def test_no_thread_tunes_them(records):
    """An iterator's end could wait for it, up to a minute."""
    assert batches(examples(records), 2).options().autotune.enabled is False


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


def test_replicas_read_slices_of_the_same_batches(records):
    """Two of four images each, with the views that one process draws."""
    visual = (image_loader(records, 16, DataConfig(crop=0.5), augment=True), (16, 16, 3), np.uint8)
    options = {"seed": (3, 1), "visual": visual, "drop_remainder": True}
    (whole,) = batches(examples(records), 4, **options)
    (first,) = batches(examples(records), 4, replicas=(0, 1, 2), **options)
    (second,) = batches(examples(records), 4, replicas=(1, 2, 2), **options)
    for name in ("rows", "concepts", "visual", "batch_tokens"):
        np.testing.assert_array_equal(whole[name], np.concatenate([first[name], second[name]]))
    both = list(batches(examples(records), 4, replicas=(0, 2, 2), **options))
    np.testing.assert_array_equal([batch["rows"] for batch in both], [first["rows"], second["rows"]])
    assert set(whole["batch_tokens"].numpy()) == {np.count_nonzero(whole["targets"])}
