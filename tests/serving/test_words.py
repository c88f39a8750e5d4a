"""The vocabulary's tables in the graph give what the vocabulary gives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.caption import as_text
from medcap_tf.serving.words import WordTables, sentence
from medcap_tf.text import PAD, UNK, Normalizer, Vocabulary

CAPTIONS = [
    "Axial CT of the chest: small right-sided effusions.",
    "CT chest; the effusion is small, with no other finding",
    "T1-weighted MRI of the brain showing a ring-enhancing lesion",
    "MRI brain showing lesions, rings and weightings",
]


NATURAL = Normalizer("none", remove_stop_words=False, punctuation=True)


@pytest.fixture(params=[Normalizer(), Normalizer("none"), NATURAL], ids=["snowball", "none", "natural"])
def vocabulary(request):
    return Vocabulary.build(CAPTIONS, request.param, min_count=1)


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
        "MRI of the brain\u2019s lesion \u2013 3.5 cm, 1,000 (T1\u2010weighted); and/or CT... «chest». The end? 12:30",
        "a.b 1.b b.1 1.2.3 -a a- 'a a' a--b _a_ ² x́",
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
    assert words == [as_text(vocabulary.readable(wanted)).encode(), b"<unk>", b""]


def test_sentences_are_written_as_the_vocabulary_writes_them(tmp_path):
    captions = ["Ödema of the (left) lung, 50%; T1-weighted MRI. Its end!", "No mass? [arrow] 3.5 cm. There is one"]
    vocabulary = Vocabulary.build(captions, NATURAL)
    tables = WordTables(vocabulary, captions, tmp_path)
    written = sentence(tables.decode(tables.encode(tf.constant(captions), 20), readable=True)).numpy().tolist()
    assert [text.decode() for text in written] == captions
