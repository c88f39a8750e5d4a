"""The batch size that fits, measured on the small network."""

from __future__ import annotations

import pytest

from medcap_tf.config import Config, from_json
from medcap_tf.errors import InputError
from medcap_tf.training import batch_size
from tests.conftest import SMALL

CONFIG = from_json(SMALL).replace({"training.batch_size": "auto"})


def measure_of(free):
    """800 MB and 100 MB an image in the one stage, 900 MB in the other."""

    def measure(config, words, concepts, has_images, size):
        costs = {"visual": batch_size.Cost(800.0 + 100 * size, 1.0), "semantic": batch_size.Cost(900.0, 1.0)}
        return batch_size.Probe(costs, float(free), "")

    return measure


@pytest.mark.parametrize(
    ("free", "records", "replicas", "expected"),
    [
        (10_000, 1000, 1, 72),  # 0.8 x 10,000 = 8,000; (8,000 - 800) / 100, in eights
        (10_000, 1000, 2, 144),
        (100_000, 1000, 1, 256),
        (100_000, 1000, 2, 256),
        (100_000, 101, 1, 101),
        (100_000, 101, 2, 100),
        (1_600, 1000, 1, 4),
    ],
)
def test_two_measures_tell_how_many_fit(monkeypatch, free, records, replicas, expected):
    monkeypatch.setattr(batch_size, "measure", measure_of(free))
    assert batch_size.find_batch_size(CONFIG, 100, 10, True, records, replicas) == expected


def test_where_nothing_fits_it_is_said(monkeypatch):
    monkeypatch.setattr(batch_size, "measure", measure_of(1000))
    with pytest.raises(InputError, match=r"a step takes 800 MB and 100 MB an image, and 1,000 MB are free; lower"):
        batch_size.find_batch_size(CONFIG, 100, 10, True, 1000, 1)


def test_auto_is_a_number_of_its_own():
    assert CONFIG.training.batch_size == 0
    assert from_json(CONFIG.to_json()) == CONFIG
    with pytest.raises(InputError, match=r"training\.batch_size: 'automatic' should be of type int"):
        Config().replace({"training.batch_size": "automatic"})


@pytest.mark.slow
def test_a_step_of_every_stage_is_measured_in_a_process_of_its_own():
    probe = batch_size.measure(CONFIG, 60, 5, True, 2)
    assert list(probe.stages) == ["visual", "semantic", "caption"]
    assert 200 < probe.megabytes < 4000 and probe.free > 10


@pytest.mark.slow
def test_a_probe_that_fails_is_quoted():
    with pytest.raises(InputError, match=r"batch_size: a step of 2 images could not be measured \(.+\)"):
        batch_size.measure(CONFIG, 60, 0, True, 2)  # a decoder that reads concepts, and none
