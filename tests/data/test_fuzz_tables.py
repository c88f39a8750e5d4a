"""The data doctor and tables harmed at random: no crash, no hang, no neighbor harmed.

A short run of what `benchmarks/fuzz_tables.py` does at length.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.table_mutations import check, mutate


@settings(max_examples=150, derandomize=True, deadline=5000, suppress_health_check=list(HealthCheck), database=None)
@given(st.integers(0, 2**32 - 1))
def test_harmed_tables(seed):
    with tempfile.TemporaryDirectory() as folder:
        check(mutate(random.Random(seed)), Path(folder))
