"""Caption scores: answers computed by hand, and each score against a second writing of it on random captions."""

from __future__ import annotations

import math
import random
import re
import time
from collections import Counter

import pytest
from nltk.translate.bleu_score import corpus_bleu

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics import (
    CiderD,
    caption_parts,
    caption_scores,
    caption_statistics,
    concept_f1,
    concept_scores,
    cut_caption,
    imageclef_2021_bleu,
    notes_on,
    official_tokens,
)
from medcap_tf.text import stop_words

# Words that are their own stems and no stop words, so that a test can count them.
WORDS = "brain liver lung heart bone skull colon cyst mass node lobe duct vein stent clot fluid".split()
OTHERS = "axial film scan graft pelvi foot hand knee hip arm leg wrist neck jaw rib toe".split()


def sentence(*indices: int, words: list[str] = WORDS) -> str:
    return " ".join(words[index] for index in indices)


def test_the_words_of_these_tests_are_their_own_tokens():
    assert [official_tokens(word) for word in WORDS + OTHERS] == [[word] for word in WORDS + OTHERS]


def test_stop_words_are_the_179_of_2021():
    words = stop_words()
    assert len(words) == 179
    assert {"the", "don't", "it's", "should've", "now"} <= words
    assert not any(word.startswith("#") for word in words)


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("T1-weighted right inferior renal arteries.", ["t1weight", "right", "inferior", "renal", "arteri"]),
        ("The IS of", []),
        ("", []),
        ("...", []),
        ("don't", ["dont"]),  # the apostrophe goes first, so the stop word "don't" no longer matches
        ("Don, it's\tshown\n here", ["shown"]),  # "don" is a stop word, and so is "its"
        ("cannot", []),  # cut into "can" and "not"
    ],
)
def test_official_tokens(caption, tokens):
    assert official_tokens(caption) == tokens


# The checked cases of the official rule: name, reference, candidate, score.
SHUFFLED = (7, 5, 3, 1, 6, 4, 2, 0)
SCATTERED = " ".join(WORDS[i] if i in (0, 5, 10, 15) else OTHERS[i] for i in range(16))
OFFICIAL_CASES = [
    ("identical, 8 words", sentence(*range(8)), sentence(*range(8)), 1.0),
    ("identical, 1 word", sentence(0), sentence(0), 1.0),
    ("identical, 2 words", sentence(0, 1), sentence(0, 1), 1.0),
    ("empty candidate", sentence(*range(8)), "", 0.0),
    ("empty reference", "", sentence(0), 0.0),
    ("both empty", "the", "of...", 1.0),
    ("no shared word", sentence(*range(8)), sentence(*range(8), words=OTHERS), 0.0),
    ("1 right of 8", sentence(*range(8)), f"{WORDS[0]} {sentence(*range(7), words=OTHERS)}", (1 / 8) ** 0.25),
    ("shuffled", sentence(*range(8)), sentence(*SHUFFLED), 1.0),
    ("4 scattered of 16", sentence(*range(16)), SCATTERED, (4 / 16) ** 0.25),
    ("1 right word alone, reference of 8", sentence(*range(8)), sentence(0), math.exp(1 - 8)),
    ("longer candidate, no brevity penalty", sentence(0), sentence(0, 1), (1 / 2) ** 0.25),
    ("repeated word is clipped", sentence(0, 1), sentence(0, 0), (1 / 2) ** 0.25),
    ("case and punctuation", "The Brain, liver.", "brain LIVER", 1.0),
]


@pytest.mark.parametrize(
    ("reference", "candidate", "score"), [c[1:] for c in OFFICIAL_CASES], ids=[c[0] for c in OFFICIAL_CASES]
)
def test_official_score_of_one_caption(reference, candidate, score):
    assert imageclef_2021_bleu([reference], [candidate]) == pytest.approx(score, abs=1e-12)


def test_figures_of_the_published_check():
    by_name = {name: imageclef_2021_bleu([reference], [candidate]) for name, reference, candidate, _ in OFFICIAL_CASES}
    assert round(by_name["1 right of 8"], 3) == 0.595
    assert round(by_name["4 scattered of 16"], 3) == 0.707


def test_official_score_is_the_mean_over_the_images():
    references = [case[1] for case in OFFICIAL_CASES]
    candidates = [case[2] for case in OFFICIAL_CASES]
    mean = sum(case[3] for case in OFFICIAL_CASES) / len(OFFICIAL_CASES)
    assert imageclef_2021_bleu(references, candidates) == pytest.approx(mean)
    assert caption_scores(references, candidates)["imageclef_2021_bleu"] == pytest.approx(mean)


def bleu_written_again(reference: list[str], candidate: list[str]) -> float:
    """The 3.2.2 rule once more, with matches struck off a list instead of counted."""
    if not reference or not candidate:
        return float(reference == candidate)
    product = 1.0
    for order in (1, 2, 3, 4):
        left = [reference[i : i + order] for i in range(len(reference)) if i + order <= len(reference)]
        asked = [candidate[i : i + order] for i in range(len(candidate)) if i + order <= len(candidate)]
        matches = 0
        for ngram in asked:
            if ngram in left:
                left.remove(ngram)
                matches += 1
        if matches == 0:
            return 0.0 if order == 1 else product * short_penalty(reference, candidate)
        product *= (matches / len(asked)) ** 0.25
    return product * short_penalty(reference, candidate)


def short_penalty(reference: list[str], candidate: list[str]) -> float:
    return 1.0 if len(candidate) > len(reference) else math.exp(1 - len(reference) / len(candidate))


def test_official_score_against_a_second_writing_on_random_captions():
    draw = random.Random(7)
    for _ in range(400):
        reference = draw.choices(WORDS[: draw.randint(1, 8)], k=draw.randint(0, 12))
        candidate = draw.choices(WORDS[: draw.randint(1, 8)], k=draw.randint(0, 12))
        score = imageclef_2021_bleu([" ".join(reference)], [" ".join(candidate)])
        assert score == pytest.approx(bleu_written_again(reference, candidate), abs=1e-12), (reference, candidate)


def test_corpus_bleu_by_hand():
    # Reference 0 1 2 3 4 5, candidate 0 1 2 3 with a wrong end; the second pair is identical, of five words.
    references = [sentence(0, 1, 2, 3, 4, 5), sentence(6, 7, 8, 9, 10)]
    candidates = [f"{sentence(0, 1, 2, 3)} {OTHERS[0]}", sentence(6, 7, 8, 9, 10)]
    p1, p2, p3, p4 = (4 + 5) / (5 + 5), (3 + 4) / (4 + 4), (2 + 3) / (3 + 3), (1 + 2) / (2 + 2)
    brevity = math.exp(1 - 11 / 10)  # 11 words in the references, 10 in the candidates
    scores = caption_scores(references, candidates)
    assert scores["bleu_1"] == pytest.approx(brevity * p1)
    assert scores["bleu_2"] == pytest.approx(brevity * (p1 * p2) ** (1 / 2))
    assert scores["bleu_3"] == pytest.approx(brevity * (p1 * p2 * p3) ** (1 / 3))
    assert scores["bleu_4"] == pytest.approx(brevity * (p1 * p2 * p3 * p4) ** (1 / 4))


def test_corpus_bleu_is_zero_and_silent_where_an_order_has_no_match(recwarn):
    scores = caption_scores([sentence(*range(8))], [sentence(*SHUFFLED)])
    assert scores["bleu_1"] == pytest.approx(1.0)
    assert (scores["bleu_2"], scores["bleu_3"], scores["bleu_4"]) == (0.0, 0.0, 0.0)
    assert not recwarn.list


def test_rouge_l_by_hand():
    # The longest common subsequence of 0 1 2 3 and 0 2 1 3 4 is 0 2 3 (or 0 1 3): precision 3/5, recall 3/4.
    precision, recall = 3 / 5, 3 / 4
    scores = caption_scores([sentence(0, 1, 2, 3)], [sentence(0, 2, 1, 3, 4)])
    assert scores["rouge_l"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_rouge_1_by_hand():
    # 0 1 2 3 and 0 0 2 9: the words 0 and 2 in common, 0 once.
    scores = caption_scores([sentence(0, 1, 2, 3)], [sentence(0, 0, 2, 9)])
    assert scores["rouge_1"] == pytest.approx(2 * (2 / 4) * (2 / 4) / (2 / 4 + 2 / 4))


def rouge_written_again(reference: list[str], candidate: list[str]) -> tuple[float, float]:
    """ROUGE-1 and ROUGE-L F1 by striking words off and by the table of common subsequences."""
    left, same = list(reference), 0
    for word in candidate:
        if word in left:
            left.remove(word)
            same += 1
    table = [[0] * (len(candidate) + 1) for _ in range(len(reference) + 1)]
    for i, wanted in enumerate(reference):
        for j, found in enumerate(candidate):
            table[i + 1][j + 1] = table[i][j] + 1 if wanted == found else max(table[i][j + 1], table[i + 1][j])
    total = len(reference) + len(candidate)
    return (2 * same / total, 2 * table[-1][-1] / total) if total else (0.0, 0.0)


def random_captions(seed: int, count: int, longest: int = 12) -> tuple[list[str], list[str]]:
    """References, and candidates that have something in common with them."""
    draw = random.Random(seed)
    references = [draw.choices(WORDS, k=draw.randint(0, longest)) for _ in range(count)]
    candidates = [
        [word if draw.random() < 0.7 else draw.choice(WORDS) for word in words if draw.random() < 0.8]
        for words in references
    ]
    return [" ".join(words) for words in references], [" ".join(words) for words in candidates]


def test_rouge_against_a_second_writing_on_random_captions():
    references, candidates = random_captions(11, 200)
    again = [rouge_written_again(r.split(), c.split()) for r, c in zip(references, candidates)]
    scores = caption_scores(references, candidates)
    assert scores["rouge_1"] == pytest.approx(sum(one for one, _ in again) / 200)
    assert scores["rouge_l"] == pytest.approx(sum(longest for _, longest in again) / 200)


def test_meteor_by_hand():
    # Four stems match in one run of a reference of five: penalty 0.5 * (1/4)^3, F = PR / (0.9 P + 0.1 R).
    precision, recall = 1.0, 4 / 5
    f_mean = precision * recall / (0.9 * precision + 0.1 * recall)
    scores = caption_scores([sentence(0, 1, 2, 3, 4)], [sentence(0, 1, 2, 3)])
    assert scores["meteor"] == pytest.approx(f_mean * (1 - 0.5 * (1 / 4) ** 3))


def test_meteor_matches_stems():
    assert caption_scores(["arteries"], ["artery"])["meteor"] == caption_scores(["brain"], ["brain"])["meteor"]


def test_cider_of_identical_captions_is_10():
    captions = [sentence(0, 1, 2, 3), sentence(4, 5, 6, 7, 8)]
    assert caption_scores(captions, captions)["cider"] == pytest.approx(10.0)


def test_cider_by_hand():
    # Two images, no word in common, so that every n-gram of the references weighs log 2, and so do unknown ones.
    # First candidate: 0 0 1 2 against 0 1 2 3. Orders: words, pairs, triples, quadruples.
    unigrams = (1 + 1 + 1) / (math.sqrt(4) * math.sqrt(4 + 1 + 1))  # the second "0" is clipped, but is in the norm
    bigrams = (1 + 1) / (math.sqrt(3) * math.sqrt(3))
    trigrams = 1 / (math.sqrt(2) * math.sqrt(2))
    first = 10 * (unigrams + bigrams + trigrams + 0) / 4
    # Second candidate: the first four words of eight, so the length penalty has a difference of 4.
    orders = [(8, 4), (7, 3), (6, 2), (5, 1)]
    second = 10 * math.exp(-(4**2) / (2 * 6**2)) * sum(few / math.sqrt(few * all_) for all_, few in orders) / 4
    references = [sentence(0, 1, 2, 3), sentence(*range(8, 16))]
    scores = caption_scores(references, [sentence(0, 0, 1, 2), sentence(*range(8, 12))])
    assert scores["cider"] == pytest.approx((first + second) / 2)


def cider_written_again(references: list[str], candidates: list[str]) -> float:
    """CIDEr-D of the paper's section 5 as vectors over one list of all n-grams, one reference an image, sigma 6."""

    def grams(caption: str, n: int) -> list[str]:
        words = caption.split()
        return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]

    total = 0.0
    for n in (1, 2, 3, 4):
        terms = sorted({gram for caption in references + candidates for gram in grams(caption, n)})
        seen = Counter(gram for caption in references for gram in set(grams(caption, n)))
        weight = [math.log(len(references)) - math.log(max(1.0, seen[term])) for term in terms]
        for reference, candidate in zip(references, candidates):
            wanted, found = Counter(grams(reference, n)), Counter(grams(candidate, n))
            r = [wanted[term] * w for term, w in zip(terms, weight)]
            c = [found[term] * w for term, w in zip(terms, weight)]
            product = sum(min(x, y) * y for x, y in zip(c, r))
            norms = math.sqrt(sum(x * x for x in c)) * math.sqrt(sum(y * y for y in r))
            if norms:
                apart = len(candidate.split()) - len(reference.split())
                total += 10 / 4 * product / norms * math.e ** (-(apart**2) / (2 * 36))
    return total / len(references)


def test_cider_against_a_second_writing_on_random_captions():
    references, candidates = random_captions(13, 80)
    score = caption_scores(references, candidates)["cider"]
    assert score == pytest.approx(cider_written_again(references, candidates))
    assert 1 < score < 9


def test_cider_of_one_caption_at_a_time_and_of_numbers_for_words():
    references, candidates = random_captions(19, 40)
    numbers = {word: number for number, word in enumerate(sorted({w for text in references for w in text.split()}))}
    by_words = CiderD([cut_caption(text.split()) for text in references])
    by_numbers = CiderD([cut_caption([numbers[word] for word in text.split()]) for text in references])
    scores = [by_words.score(image, cut_caption(text.split())) for image, text in enumerate(candidates)]
    assert sum(scores) / 40 == pytest.approx(cider_written_again(references, candidates))
    known = [[numbers.get(word, -1) for word in text.split()] for text in candidates]
    assert scores == [by_numbers.score(image, cut_caption(tokens)) for image, tokens in enumerate(known)]


def test_cider_gives_nothing_for_what_every_reference_says():
    references = [f"{WORDS[0]} {sentence(1, 2, 3)}", f"{WORDS[0]} {sentence(4, 5, 6)}"]
    assert caption_scores(references, [WORDS[0]] * 2)["cider"] == 0.0


def test_caption_scores_names_and_ranges():
    draw = random.Random(3)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(50)]
    candidates = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(50)]
    scores = caption_scores(references, candidates)
    assert list(scores) == [
        "imageclef_2021_bleu", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_1", "rouge_l", "cider", "meteor",
    ]  # fmt: skip
    assert all(0 <= score <= (10 if name == "cider" else 1) for name, score in scores.items())
    assert all(type(score) is float for score in scores.values())


def test_nothing_said_scores_nothing():
    scores = caption_scores([sentence(0, 1), sentence(2, 3)], ["", "the"])
    assert set(scores.values()) == {0.0}


def test_a_test_set_of_2021_is_scored_in_two_seconds():
    draw = random.Random(5)
    captions = [" ".join(draw.choices(WORDS + OTHERS, k=draw.randint(1, 43))) for _ in range(444)]
    start = time.process_time()
    caption_scores(captions, captions[::-1])
    assert time.process_time() - start < 2


@pytest.mark.parametrize("score", [imageclef_2021_bleu, caption_scores, concept_f1, concept_scores])
def test_lists_that_cannot_be_scored(score):
    with pytest.raises(InputError, match="2 references, 1 predictions"):
        score(["a", "b"], ["a"])
    with pytest.raises(InputError, match="both lists are empty"):
        score([], [])
    with pytest.raises(InputError, match="single string"):
        score("brain", "liver")


def test_parts_of_some_images_are_their_scores_alone_but_for_ciders_weights():
    references, candidates = random_captions(17, 60)
    parts = caption_parts(references, candidates)
    rows = [3, 5, 8, 13, 21, 34]
    alone = caption_scores([references[i] for i in rows], [candidates[i] for i in rows])
    for name, part in parts.items():
        if name != "cider":
            assert part.of(rows).score() == pytest.approx(alone[name]), name
    assert parts["cider"].of(rows).score() == pytest.approx(parts["cider"].values[rows, 0].mean())


def test_statistics_of_captions_by_hand():
    candidates = ["The brain.", "brain", "liver and lung", ""]
    found = caption_statistics(candidates, training=["Brain of the", "lung and liver"])
    # Tokens: brain; brain; liver lung; none. The training captions' tokens: brain; lung liver.
    assert found == {
        "mean_length": (1 + 1 + 2 + 0) / 4,
        "distinct_words": 3.0,
        "distinct_captions": 3 / 4,
        "unseen_captions": 2 / 4,
    }


def test_copies_of_short_captions_score_one():
    scores = caption_scores(["mass", "chest effusion"], ["mass", "chest effusion"])
    assert scores["bleu_1"] == scores["bleu_2"] == 1.0
    assert scores["bleu_4"] == 0.0  # there are no four words in a row to match


def test_corpus_bleu_is_nltks_on_captions_of_four_words_and_more():
    rng = random.Random(5)
    captions = [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(60)]
    references, candidates = captions[:30], captions[30:]
    cut = [[official_tokens(r)] for r in references], [official_tokens(c) for c in candidates]
    assert caption_scores(references, candidates)["bleu_2"] == pytest.approx(corpus_bleu(*cut, weights=(0.5, 0.5)))


@pytest.mark.parametrize(
    ("references", "candidates", "notes"),
    [
        # One reference: each of its n-grams is in all references, and weighs log(1 / 1) = 0.
        (["ct chest left lung"], ["ct chest left lung"], {"cider": r"would have 0\.00 of 10"}),
        (["ct chest left lung"] * 12, ["mri"] * 12, {"cider": r"0\.00 of 10", "bleu_2": "no caption has 2 words"}),
        # References of two words: BLEU-3 and BLEU-4 have nothing to match, CIDEr half of its orders.
        (
            ["ct chest", "renal cyst"], ["ct chest left lung", "renal cyst right kidney"],
            {"bleu_3": "no reference has 3 words", "bleu_4": "no reference has 4 words", "cider": r"5\.00 of 10"},
        ),
        (
            ["ct chest left lung", "renal cyst right kidney"], ["ct chest", "cyst"],
            {"bleu_3": "no caption has 3 words", "bleu_4": "no caption has 4 words, so that it is 0 however right"},
        ),
        (["cyst", "mass"], ["cyst", "mass"], {"meteor": r"have 0\.50 of 1", "bleu_2": "no reference has 2 words"}),
        (["the", "of", "ct chest left lung"], ["the", "", "ct"], {"rouge_l": r"0\.33 of 1: some have no word left"}),
        (["the"], [""], {"imageclef_2021_bleu": r"0\.00 of 1", "bleu_1": "no reference has a word", "rouge_1": "0.00"}),
        (["a b c"] * 20 + ["ct chest left lung"], ["ct chest left lung"] * 21, {"bleu_4": "1 of 21 references have 4"}),
    ],
)  # fmt: skip
def test_a_score_that_cannot_mean_anything_says_so(references, candidates, notes):
    found = notes_on(caption_parts(references, candidates))
    for name, text in notes.items():
        assert re.search(text, found[name]), found


def test_a_score_that_means_something_has_no_note():
    references, candidates = random_captions(3, 50)
    pairs = [(r, c) for r, c in zip(references, candidates) if len(r.split()) > 3]
    assert notes_on(caption_parts(*zip(*pairs))) == {}


def test_what_a_note_says_of_the_references_is_what_they_have():
    for references in (["ct chest", "renal cyst"], ["cyst", "mass", "left lung"], ["ct chest left lung"]):
        own = caption_scores(references, references)
        for name, note in notes_on(caption_parts(references, references)).items():
            if told := re.match(r"the references themselves would have (\S+) of", note):
                assert own[name] == pytest.approx(float(told[1]), abs=0.005), name
