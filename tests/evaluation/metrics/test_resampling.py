"""Intervals and paired tests: against every resample or swap there is, against theory, and against plain loops."""

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics import (
    caption_parts,
    compare,
    concept_parts,
    intervals,
    notes_on_intervals,
    notes_on_tests,
)
from medcap_tf.evaluation.metrics.sufficient_statistics import mean_of
from tests.evaluation.metrics.test_captions import WORDS, random_captions


def long_captions(seed: int, count: int) -> tuple[list[str], list[str]]:
    """Random captions of four words and more, for which NLTK counts n-grams as we do."""
    references, candidates = random_captions(seed, 4 * count)
    pairs = [(r, c) for r, c in zip(references, candidates) if min(len(r.split()), len(c.split())) > 3]
    return [r for r, _ in pairs[:count]], [c for _, c in pairs[:count]]


def bleu_2(references: list[str], candidates: list[str]) -> float:
    return corpus_bleu([[r.split()] for r in references], [c.split() for c in candidates], weights=(0.5, 0.5))


def test_interval_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(1).normal(3.0, 2.0, 900)
    low, high = intervals({"mean": mean_of(values)}, resamples=4000)["mean"]
    half = 1.96 * values.std() / 30
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_is_that_of_scoring_drawn_images_again():
    references, candidates = long_captions(23, 30)
    rng = np.random.default_rng(9)
    drawn = [rng.integers(30, size=30) for _ in range(1000)]
    again = [bleu_2([references[i] for i in rows], [candidates[i] for i in rows]) for rows in drawn]
    parts = caption_parts(references, candidates)
    low, high = intervals(parts)["bleu_2"]
    assert (low, high) == pytest.approx(tuple(np.percentile(again, [2.5, 97.5])), abs=0.15 * (high - low))
    assert low < parts["bleu_2"].score() < high


def test_of_no_scores_there_are_no_intervals():
    assert intervals({}) == {}


def test_intervals_are_the_same_for_the_same_seed_and_close_to_nothing_for_one_value():
    part = {"mean": mean_of(np.random.default_rng(2).random(50))}
    assert intervals(part, seed=4) == intervals(part, seed=4) != intervals(part, seed=5)
    assert intervals({"mean": mean_of([0.25] * 50)})["mean"] == pytest.approx((0.25, 0.25))


def test_an_interval_without_any_value_is_not_a_number():
    parts = concept_parts([["A"], [], []], [["A"], [], []])
    nothing = {name: part.of(np.array([1, 2])) for name, part in parts.items()}
    assert all(np.isnan(end) for ends in intervals(nothing).values() for end in ends)
    assert intervals(parts)["concept_f1"] == (1.0, 1.0)  # resamples without a true concept do not count


def test_p_value_is_the_share_of_all_swaps():
    a, b = [0.1, 0.5, 0.3, 0.9, 0.2, 0.4], [0.3, 0.6, 0.2, 1.0, 0.6, 0.5]
    differences = np.subtract(b, a)
    observed = abs(differences.mean())
    signs = itertools.product((1, -1), repeat=6)
    share = np.mean([abs(np.mean(differences * sign)) >= observed - 1e-12 for sign in signs])
    found = compare({"mean": mean_of(a)}, {"mean": mean_of(b)}, permutations=20_000)["mean"]
    assert found.p_value == pytest.approx(share, abs=0.01)
    assert found.difference == pytest.approx(differences.mean())
    assert (found.first, found.second) == pytest.approx((np.mean(a), np.mean(b)))


def test_p_values_of_bleu_against_swapping_the_captions_themselves():
    references, first = long_captions(29, 25)
    draw = random.Random(1)
    second = [" ".join(w if draw.random() < 0.8 else draw.choice(WORDS) for w in c.split()) for c in first]
    observed = abs(bleu_2(references, second) - bleu_2(references, first))
    larger = 0
    for _ in range(400):
        swap = [draw.random() < 0.5 for _ in references]
        a = [y if s else x for x, y, s in zip(first, second, swap)]
        b = [x if s else y for x, y, s in zip(first, second, swap)]
        larger += abs(bleu_2(references, b) - bleu_2(references, a)) >= observed
    found = compare(caption_parts(references, first), caption_parts(references, second), permutations=4000)["bleu_2"]
    assert found.p_value == pytest.approx((larger + 1) / 401, abs=0.06)


def test_a_system_against_itself_and_against_a_far_better_one():
    references, candidates = random_captions(31, 60)
    same = compare(caption_parts(references, candidates), caption_parts(references, candidates), permutations=500)
    assert all(found.p_value == 1 and found.difference == found.low == found.high == 0 for found in same.values())
    better = compare(caption_parts(references, candidates), caption_parts(references, references), permutations=500)
    assert better["rouge_l"].p_value == pytest.approx(1 / 501)
    assert better["rouge_l"].low > 0


def test_paired_intervals_are_narrower_than_those_of_two_samples():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 400)  # some images are harder for both
    a, b = {"mean": mean_of(hard)}, {"mean": mean_of(hard + rng.normal(0.05, 0.1, 400))}
    found = compare(a, b, permutations=200)["mean"]
    assert found.low > 0
    assert found.high - found.low < 0.2 * (intervals(a)["mean"][1] - intervals(a)["mean"][0])


def test_different_images_cannot_be_paired():
    with pytest.raises(InputError, match="2 and 1"):
        compare({"mean": mean_of([1.0, 2.0])}, {"mean": mean_of([1.0])})


def test_three_thousand_images_take_seconds():
    references, candidates = random_captions(37, 3000)
    parts, others = caption_parts(references, candidates), caption_parts(references, candidates[::-1])
    start = time.perf_counter()
    intervals(parts)
    compare(parts, others)
    assert time.perf_counter() - start < 30  # about 3 s on a busy core


def test_intervals_of_few_images_say_so():
    assert "no width" in notes_on_intervals(1)["intervals"]
    assert notes_on_intervals(9) == {"intervals": "only 9 images: intervals over so few are too narrow"}
    assert notes_on_intervals(10) == {}


@pytest.mark.parametrize(("differ", "images", "least"), [(1, 1, 1.0), (1, 40, 1.0), (4, 12, 0.125), (5, 12, 0.0625)])
def test_a_p_value_that_cannot_be_small_says_so(differ, images, least):
    a = {"mean": mean_of([0.0] * images)}
    b = {"mean": mean_of([1.0] * differ + [0.0] * (images - differ))}
    assert f"differ in {differ} of {images} images: p is {least:.2g} at least" in notes_on_tests(a, b)["mean"]
    assert compare(a, b)["mean"].p_value == pytest.approx(least, abs=0.02)


def test_a_p_value_of_enough_images_has_no_note():
    a, b = {"mean": mean_of([0.0] * 6)}, {"mean": mean_of([1.0] * 6)}
    assert notes_on_tests(a, b) == {}
    assert compare(a, b)["mean"].p_value == pytest.approx(2 / 2**6, abs=0.01)
    assert "nothing to test" in notes_on_tests(a, a)["mean"]
    assert notes_on_tests(a, b, permutations=9) == {"mean": "9 permutations: p is 0.1 at least"}
