"""What commands share: columns of trust, numbers in their range."""

from __future__ import annotations

import argparse

import pytest

from medcap_tf.cli.options import percentile, trust_columns


def test_a_model_that_knows_neither_prints_neither():
    assert trust_columns(None, None) == []


def test_what_is_unknown_keeps_its_column():
    assert trust_columns(0.91234, 12.345) == ["0.912", "12.3"]
    assert trust_columns(None, 99.0) == ["", "99.0", "unlike the training images"]
    assert trust_columns(0.5, 99.0, novel_from=99.5) == ["0.500", "99.0"]


def test_a_percentile_lies_between_0_and_100():
    assert percentile("99.5") == 99.5
    for wrong in ("-1", "100.5", "high", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match="should be a number from 0 to 100"):
            percentile(wrong)
