"""Probabilities, confidence and novelty in the graph, on values known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.models.calibration import LEAST, Calibration, percentile, signals_of
from medcap_tf.models.captioning import Encoded
from medcap_tf.models.retrieval import Neighbors
from medcap_tf.models.visual import Seen

FITTED = Calibration(
    50,
    retrieval=True,
    concepts={"slope": 2.0, "offset": 0.0},
    confidence={"weakest": 4.0, "undecided": -2.0, "offset": -1.0},
    novelty={"distance": [0.0, 0.1, 0.5], "energy": [-3.0, -1.0]},
)


def encoded(similarity=None, logits=None):
    """Two images of one region, with neighbors of these similarities and these concept logits."""
    regions = tf.zeros([2, 1, 1, 1])
    nothing = tf.zeros([2, 1])
    near = None if similarity is None else Neighbors(nothing, nothing, nothing, nothing, tf.constant(similarity))
    return Encoded(Seen(regions, None if logits is None else tf.constant(logits)), regions[:, 0, 0], near)


def test_a_percentile_is_linear_between_quantiles_and_ends_at_both():
    found = percentile(tf.constant([-1.0, 0.0, 0.05, 0.1, 0.3, 0.5, 9.0]), [0.0, 0.1, 0.5])
    np.testing.assert_allclose(found, [0, 0, 25, 50, 75, 100, 100], atol=1e-4)


def test_equal_quantiles_are_one_step():
    np.testing.assert_allclose(percentile(tf.constant([0.9, 1.1]), [1.0, 1.0, 1.0, 2.0]), [0, 70], atol=1e-4)


def test_signals_are_those_of_the_least_shown_and_the_least_decided_concept():
    scores = tf.constant([[0.9, 0.6, 0.0], [1.0, 0.0, 0.25]])
    words = tf.constant([[0.8, 0.7, 0.1], [0.1, 0.2, 0.3]])
    found = signals_of(encoded([[0.75, 0.5], [1.0, 0.9]], [[0.0, 0.0], [50.0, -50.0]]), scores, words, 0.5)
    np.testing.assert_allclose(found["weakest"], [0.6, 1.0], atol=1e-6)  # the second caption names nothing
    np.testing.assert_allclose(found["undecided"], [0.4, 0.25], atol=1e-6)
    np.testing.assert_allclose(found["distance"], [0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["energy"], [-2 * np.log(2), -50], atol=1e-4)


def test_without_neighbors_or_concepts_there_is_less_to_go_by():
    assert set(signals_of(encoded())) == set()
    assert set(signals_of(encoded(logits=[[1.0], [2.0]]))) == {"energy"}
    assert set(signals_of(encoded(), tf.ones([2, 3]), tf.ones([2, 3]))) == set()  # of words that nothing has learned


def test_probabilities_keep_the_order_up_to_both_ends():
    scores = tf.constant([0.0, 1e-6, 0.5, 0.9, 1.0])
    found = FITTED.probabilities(scores).numpy()
    assert (np.diff(found) > 0).all() and found[2] == pytest.approx(0.5)
    softened = LEAST + (1 - 2 * LEAST) * 0.9
    odds = (softened / (1 - softened)) ** 2
    assert found[3] == pytest.approx(odds / (1 + odds), rel=1e-5)
    assert FITTED._replace(concepts=None).probabilities(scores) is scores


def test_confidence_is_logistic_in_its_signals():
    signals = {"weakest": tf.constant([1.0, 0.25]), "undecided": tf.constant([0.0, 0.5])}
    np.testing.assert_allclose(FITTED.confidence_of(signals), [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(1))], rtol=1e-5)
    assert FITTED.confidence_of({"weakest": signals["weakest"]}) is None
    assert FITTED._replace(confidence=None).confidence_of(signals) is None


def test_novelty_goes_by_the_datastore_and_else_by_the_energy():
    signals = {"energy": tf.constant([-2.0]), "distance": tf.constant([0.1])}
    np.testing.assert_allclose(FITTED.novelty_of(signals), [50], atol=1e-4)
    np.testing.assert_allclose(FITTED.novelty_of({"energy": signals["energy"]}), [50], atol=1e-4)
    signals["energy"] = tf.constant([-1.0])
    np.testing.assert_allclose(FITTED._replace(novelty={"energy": [-3.0, -1.0]}).novelty_of(signals), [100])
    assert FITTED.novelty_of({}) is None


def test_what_was_fitted_with_similar_images_says_nothing_of_the_decoder_alone_but_its_novelty():
    assert FITTED.fitting(retrieval=True) == FITTED
    alone = FITTED.fitting(retrieval=False)
    assert alone.concepts is None and alone.confidence is None and alone.novelty == FITTED.novelty


def test_it_is_read_as_it_was_written():
    assert Calibration.of(FITTED._asdict()) == FITTED
    assert Calibration.of({"images": 3, "retrieval": False}) == Calibration(3, False)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"images": 1, "retrieval": True, "shape": 3},
        {"images": 1, "retrieval": True, "concepts": {"slope": 1.0}},
        {"images": 1, "retrieval": True, "confidence": {"weakest": 1.0, "offset": 0.0}},
        {"images": 1, "retrieval": True, "novelty": {"distance": ["a"]}},
        {"images": 1, "retrieval": True, "novelty": [1.0]},
    ],
)
def test_what_is_no_calibration_is_refused(values):
    with pytest.raises(InputError, match="is no calibration"):
        Calibration.of(values)
