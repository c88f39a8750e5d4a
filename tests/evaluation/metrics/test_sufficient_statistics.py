"""Scores of sums: whole sets, some of the images, and what is said of scores that mean little."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics.sufficient_statistics import check_pairs, mean_of, notes_on, ratio_of


def test_a_mean_and_a_ratio_of_all_images_and_of_some():
    mean, ratio = mean_of([1.0, 0.0, 0.5]), ratio_of([1, 2, 3], [2, 2, 4])
    assert (mean.score(), ratio.score()) == (0.5, 6 / 8)
    assert mean.of(np.array([0, 2])).score() == 0.75
    assert ratio.of(np.array([False, True, True])).score() == 5 / 6
    assert ratio.of(np.array([1, 1])).score() == 1  # an image may be drawn twice


def test_sums_of_several_resamples_are_scored_at_once():
    ratio = ratio_of([1, 2], [2, 2])
    assert ratio.of_sums(np.array([[[1.0, 2.0], [3.0, 4.0]]])).tolist() == [[0.5, 0.75]]


def test_nothing_over_nothing_is_no_score():
    assert np.isnan(ratio_of([0, 0], [0, 0]).score())
    assert np.isnan(mean_of([1.0]).of(np.zeros(0, int)).score())


def test_a_score_that_right_answers_do_not_reach_says_so():
    few = mean_of([0.2, 0.2], [0.5, 0.5], 1, "short captions")
    assert few.score() == pytest.approx(0.2)
    parts = {"few": few, "enough": mean_of([0.2, 0.2], [0.9, 0.9]), "plain": mean_of([0.2, 0.2])}
    assert notes_on(parts) == {"few": "the references themselves would have 0.50 of 1: short captions"}


@pytest.mark.parametrize(
    ("references", "candidates", "message"),
    [
        ("a caption", ["a"], "a single string was given"),
        (["a"], "a", "a single string was given"),
        (["a", "b"], ["a"], "2 references, 1 predictions"),
        ([], [], "at least one caption: both lists are empty"),
    ],
)
def test_lists_that_cannot_be_scored(references, candidates, message):
    with pytest.raises(InputError, match=message):
        check_pairs(references, candidates, "caption")
