"""Normalization, vocabulary, and the way back from stems to words."""

from __future__ import annotations

import pytest

from medcap_tf.caption import as_text
from medcap_tf.errors import InputError
from medcap_tf.text import END, PAD, SPECIAL, START, UNK, Normalizer, Token, Vocabulary, stop_words, words_of


def test_normalizing_follows_the_2021_order():
    # Punctuation goes before tokenizing, so the hyphen joins; "the" and "of" are stop words.
    assert Normalizer().tokens("The T1-weighted image of the Right Inferior Renal Artery.") == [
        Token("t1weight", "t1weighted"),
        Token("imag", "image"),
        Token("right", "right"),
        Token("inferior", "inferior"),
        Token("renal", "renal"),
        Token("arteri", "artery"),
    ]


@pytest.mark.parametrize(
    ("stemmer", "stems"),
    [
        ("snowball", ["arteri", "general"]),
        ("porter", ["arteri", "gener"]),
        ("lancaster", ["artery", "gen"]),
        ("none", ["arteries", "generally"]),
    ],
)
def test_stemmers(stemmer, stems):
    assert Normalizer(stemmer).stems("arteries generally") == stems


def test_stop_words_can_be_kept():
    assert Normalizer("none", remove_stop_words=False).stems("CT of the chest") == ["ct", "of", "the", "chest"]
    assert {"the", "of"} <= stop_words()


def test_nothing_is_left_of_stop_words_and_punctuation():
    assert Normalizer().tokens("of the, and ...") == []


def test_an_unknown_stemmer_is_refused():
    with pytest.raises(InputError, match=r"stemmer.*snowball"):
        Normalizer("german")


@pytest.fixture
def vocabulary():
    captions = ["renal artery", "renal arteries", "two arteries", "a cyst", "renal cyst"]
    return Vocabulary.build(captions, Normalizer(), min_count=2)


def test_ids_follow_counts_then_letters(vocabulary):
    # arteri 3, renal 3, cyst 2; two 1 is too rare.
    assert vocabulary.stems == (*SPECIAL, "arteri", "renal", "cyst")
    assert vocabulary.encode("Renal cyst, two") == [5, 6, UNK]
    assert vocabulary.encode("renal cyst renal", max_words=2) == [5, 6]


def test_decoding_stops_at_the_end(vocabulary):
    assert vocabulary.decode([START, 5, 6, END, 4]) == ["renal", "cyst"]
    assert vocabulary.decode([5, PAD, 6]) == ["renal"]


def test_a_stem_is_read_as_its_most_frequent_form(vocabulary):
    assert vocabulary.readable(["renal", "arteri"]) == ["renal", "arteries"]
    tied = Vocabulary.build(["artery", "arteries"], Normalizer())
    assert tied.readable(["arteri"]) == ["arteries"]  # a tie: the alphabetically first


def test_json_round_trip(vocabulary):
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.stems == vocabulary.stems
    assert again.readable(["arteri"]) == ["arteries"]
    assert again.normalizer == vocabulary.normalizer


def test_no_frequent_word_is_an_error():
    with pytest.raises(InputError, match=r"text\.min_count"):
        Vocabulary.build(["cyst"], Normalizer(), min_count=2)


NATURAL = Normalizer("none", remove_stop_words=False, punctuation=True)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Axial CT of the chest.", ["axial", "ct", "of", "the", "chest", "."]),
        ("T1-weighted MRI (arrow), 3.5 cm", ["t1-weighted", "mri", "(", "arrow", ")", ",", "3.5", "cm"]),
        ("1,000 mL at 12:30; 1.5T", ["1,000", "ml", "at", "12:30", ";", "1.5", "t"]),
        ("The patient\u2019s \u201cfree\u201d air \u2013 and/or", ["the", "patient's", "free", "air", "-", "and/or"]),
        ("L3\u2013L4", ["l3-l4"]),
        ("lung.The\u00a0left\u3000one", ["lung", ".", "the", "left", "one"]),
        ("50% of it!", ["50", "%", "of", "it", "!"]),
        (" \n ", []),
    ],
)  # fmt: skip
def test_sentences_are_cut_into_words_and_marks(caption, words):
    assert NATURAL.stems(caption) == words


@pytest.mark.parametrize(
    "caption",
    [
        "Axial T1-weighted MRI of the brain, showing a 3.5 cm mass (arrow). The patient's left lung; 50% of it.",
        "MRI and CT: a mass [arrow]. T2-weighted images show it.",
        "Ündine's lung. No effusion!",
    ],
)
def test_a_caption_is_written_as_it_was(caption):
    vocabulary = Vocabulary.build([caption], NATURAL)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert as_text(again.readable(again.decode(again.encode(caption)))) == caption


def test_a_capital_of_a_sentence_is_not_a_capital_of_its_word():
    vocabulary = Vocabulary.build(["Chest film. MRI of Crohn disease", "T1-weighted. A mass"], NATURAL)
    written = as_text(vocabulary.readable(["mri", "of", "a", "chest", ".", "chest", "crohn", "t1-weighted"]))
    assert written == "MRI of a chest. Chest Crohn T1-weighted"


def test_a_written_caption_is_taken_apart_again():
    words = [
        "Axial",
        "T1-weighted",
        "MRI",
        "(",
        "arrow",
        ")",
        ",",
        "3.5",
        "cm",
        ";",
        "the",
        "patients",
        "'",
        "50",
        "%",
        ".",
    ]
    assert words_of(as_text(words), len(words)) == tuple(words)
    assert words_of("axial <unk> chest", 3) == ("axial", "<unk>", "chest")
    assert words_of("", 0) == ()
