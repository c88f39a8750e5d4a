"""What is said of a GPU before a training."""

from __future__ import annotations

import pytest

from medcap_tf.training.device import runs_as_built

BUILT = ["sm_50", "sm_60", "sm_70", "sm_75", "compute_80"]  # TensorFlow 2.15.1 from PyPI


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), True), ((7, 2), True), ((8, 0), True), ((8, 6), True), ((8, 9), True), ((9, 0), False), ((12, 0), False)],
)
def test_newer_cards_compile_kernels_on_first_use(capability, expected):
    assert runs_as_built(capability, BUILT) is expected


def test_no_binary_runs_on_an_older_minor_version():
    assert not runs_as_built((8, 0), ["sm_86"])
    assert not runs_as_built((8, 0), [])
