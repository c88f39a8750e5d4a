"""The vocabulary's tables in the graph give what the vocabulary gives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.serving.words import WordTables, sentence
from medcap_tf.text import PAD, UNK, Normalizer, Vocabulary

CAPTIONS = [
    "Axial CT of the chest: small right-sided effusions.",
    "CT chest; the effusion is small, with no other finding",
    "T1-weighted MRI of the brain showing a ring-enhancing lesion",
    "MRI brain showing lesions, rings and weightings",
]


@pytest.fixture(params=["snowball", "none"])
def vocabulary(request):
    return Vocabulary.build(CAPTIONS, Normalizer(request.param), min_count=1)


@pytest.fixture
def tables(vocabulary, tmp_path):
    return WordTables(vocabulary, CAPTIONS, tmp_path)


@pytest.mark.parametrize(
    "caption",
    [
        *CAPTIONS,
        "",
        "   ",
        "...!?",
        "THE CHEST\tof a\u00a0brain\u2003MRI\n",
        "We cannot see “small” lesions; he's showing rings",
        "zebra crossing chest \U0001f642 ünd Ößterreich",
        "effusions effusion lesion lesional showed shows",
    ],
)
def test_words_are_encoded_as_the_vocabulary_does(tables, vocabulary, caption):
    found = tables.encode(tf.constant([caption, "chest"]), 12).numpy()
    wanted = vocabulary.encode(caption, 12)
    assert found[0].tolist() == wanted + [PAD] * (12 - len(wanted))
    assert found[1, 0] == vocabulary.encode("chest")[0]


def test_inflections_that_the_captions_lack_are_known(tables, vocabulary):
    if vocabulary.normalizer.stemmer == "snowball":
        assert tables.encode(tf.constant(["brains lesioned"]), 2).numpy().min() > UNK


def test_long_captions_are_cut_and_broken_text_is_unknown(tables):
    assert tables.encode(tf.constant(["chest " * 50]), 3).shape == (1, 3)
    assert tables.encode(tf.constant([b"\xff\xfe\x80 chest"]), 3).numpy()[0, 0] == UNK
    assert tables.encode(tf.constant([], tf.string), 3).shape == (0, 3)


def test_ids_become_stems_and_words(tables, vocabulary):
    ids = np.array([[*vocabulary.encode("small effusions"), PAD], [UNK, PAD, PAD], [PAD] * 3], np.int32)
    stems, words = (sentence(tables.decode(tf.constant(ids), readable)).numpy().tolist() for readable in (False, True))
    wanted = vocabulary.decode(ids[0])
    assert stems == [" ".join(wanted).encode(), b"<unk>", b""]
    assert words == [" ".join(vocabulary.readable(wanted)).encode(), b"<unk>", b""]
