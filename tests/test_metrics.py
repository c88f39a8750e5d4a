"""Caption and concept scores: answers computed by hand, and the official rule against a second writing of it."""

from __future__ import annotations

import math
import random
import time

import pytest
from nltk.translate.bleu_score import corpus_bleu

from medcap_tf.errors import InputError
from medcap_tf.metrics import caption_scores, concept_f1, imageclef_2021_bleu, official_tokens
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


def test_cider_gives_nothing_for_what_every_reference_says():
    references = [f"{WORDS[0]} {sentence(1, 2, 3)}", f"{WORDS[0]} {sentence(4, 5, 6)}"]
    assert caption_scores(references, [WORDS[0]] * 2)["cider"] == 0.0


def test_caption_scores_names_and_ranges():
    draw = random.Random(3)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(50)]
    candidates = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(50)]
    scores = caption_scores(references, candidates)
    assert list(scores) == ["imageclef_2021_bleu", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "meteor"]
    assert all(0 <= score <= (10 if name == "cider" else 1) for name, score in scores.items())
    assert all(type(score) is float for score in scores.values())


def test_nothing_said_scores_nothing():
    scores = caption_scores([sentence(0, 1), sentence(2, 3)], ["", "the"])
    assert set(scores.values()) == {0.0}


def test_a_test_set_of_2021_is_scored_in_two_seconds():
    draw = random.Random(5)
    captions = [" ".join(draw.choices(WORDS + OTHERS, k=draw.randint(1, 43))) for _ in range(444)]
    start = time.perf_counter()
    caption_scores(captions, captions[::-1])
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("references", "predictions", "score"),
    [
        ([["C1", "C2"]], [["C1", "C2"]], 1.0),
        ([["C1", "C2"]], [["C2", "C3", "C4"]], 2 / 5),  # 1 hit, 1 missed, 2 false: 2 / (2 + 1 + 2)
        ([["c1"]], [["C1", "c1"]], 1.0),  # case does not matter, nor does saying it twice
        ([["C1"]], [[]], 0.0),
        ([[], ["C1"]], [["C9"], ["C1"]], 1.0),  # no true concept: the image is left out
        ([["C1"], ["C2"], []], [["C1"], ["C3"], []], 1 / 2),
    ],
)
def test_concept_f1(references, predictions, score):
    assert concept_f1(references, predictions) == pytest.approx(score)


@pytest.mark.parametrize("score", [imageclef_2021_bleu, caption_scores, concept_f1])
def test_lists_that_cannot_be_scored(score):
    with pytest.raises(InputError, match="2 references, 1 predictions"):
        score(["a", "b"], ["a"])
    with pytest.raises(InputError, match="both lists are empty"):
        score([], [])
    with pytest.raises(InputError, match="single string"):
        score("brain", "liver")


def test_concept_f1_without_any_true_concept():
    with pytest.raises(InputError, match="none of the 2 images"):
        concept_f1([[], []], [["C1"], []])


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
