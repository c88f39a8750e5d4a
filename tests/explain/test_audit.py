"""The whole audit on a trained run."""

from __future__ import annotations

import json

import pytest

from medcap_tf.explain.audit_figure import audit_figure
from tests.conftest import run_command


@pytest.mark.slow
class TestOnARun:
    """The small run, on its test images."""

    def test_the_command_writes_every_measure_and_a_figure(self, small_run, phantoms, tmp_path):
        done = run_command(
            *("-m", "medcap_tf", "audit", small_run, "--data", phantoms, "--images", 2, "--out", tmp_path)
        )
        found = json.loads((tmp_path / "audit.json").read_text())
        for measure in ("pointing_game", "deletion", "insertion", "word_deletion", "randomised", "stability"):
            assert measure in found
        assert {"attention", "grad_cam", "random", "oracle"} <= set(found["deletion"])
        assert len(found["summary"]) == 3 and done.stdout.startswith(found["summary"][0])
        assert found["erasure"] == {} or found["erasure"]["words"] > 0
        assert found["side"] == {} or 0 <= found["side"]["attention_mass"] <= 1
        assert 0 <= found["stability"]["same_caption"] <= 1
        assert "Deletion" in done.stdout
        assert (tmp_path / "audit.png").stat().st_size > 10_000
        drawn = audit_figure({**found, "erasure": {}, "pointing_game": {}, "side": {}}, dpi=110)
        assert [panel.get_title().partition(" (")[0] for panel in drawn.axes] == [
            *("deletion", "deletion, imputed", "insertion", "MuFidelity", "word deletion", "stability"),
            "randomized, output first",
        ]
        assert drawn.get_suptitle().endswith("not measured on this data: erasure, pointing game, side")
        side = {"words": 5, "attention": 0.75, "random": 0.5}
        assert len(audit_figure({**found, "erasure": {}, "pointing_game": {}, "side": side}, dpi=110).axes) == 8

    def test_an_unknown_split_is_named(self, small_run, phantoms):
        done = run_command("-m", "medcap_tf", "audit", small_run, "--data", phantoms, "--split", "exam", check=False)
        assert done.returncode == 1
        assert "exam" in done.stderr
        assert "Traceback" not in done.stderr
