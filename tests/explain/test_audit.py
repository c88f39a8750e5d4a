"""Sanity measures on known maps, and the whole audit on a trained run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.images import read_image
from medcap_tf.explain.attribution import Attributor
from medcap_tf.explain.audit_figure import audit_figure
from medcap_tf.explain.sanity import randomized
from tests.conftest import run_command


@pytest.mark.slow
class TestOnARun:
    """The small run, on its test images."""

    def test_attention_of_a_given_sentence_is_that_of_the_search(self, small_run, phantoms):
        captioner = RunCaptioner.load(small_run)
        paths = sorted((phantoms / "test" / "images").iterdir())[:3]
        spoken = [caption for caption in captioner.caption(paths) if caption.words]
        assert spoken
        attributor = Attributor(captioner)
        for caption in spoken:
            again = attributor.words(captioner.prepare(read_image(caption.path)), caption.tokens)
            np.testing.assert_allclose(again.attention, caption.attention, atol=1e-4)

    def test_randomized_weights_change_maps_and_come_back(self, small_run, phantoms):
        captioner = RunCaptioner.load(small_run)
        path = min((phantoms / "test" / "images").iterdir())
        pixels, tokens = captioner.prepare(read_image(path)), np.array([4, 5, 6], np.int32)
        attributor, rng = Attributor(captioner, folded=False), np.random.default_rng(0)
        before = attributor.words(pixels, tokens)
        during = {part: attributor.words(pixels, tokens) for part in randomized(captioner.model, rng)}
        after = attributor.words(pixels, tokens)
        assert list(during) == ["words", "decoder", "projections", "conv3", "conv2", "conv1"]
        np.testing.assert_array_equal(during["words"].attention, before.attention)
        assert np.abs(during["decoder"].attention - before.attention).max() > 1e-4
        np.testing.assert_array_equal(after.attention, before.attention)
        np.testing.assert_array_equal(after.grad_cam, before.grad_cam)

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
        assert 0 <= found["stability"]["same_caption"] <= 1
        assert "Deletion" in done.stdout
        assert (tmp_path / "audit.png").stat().st_size > 10_000
        assert len(audit_figure(found, dpi=110).axes) == 8

    def test_an_unknown_split_is_named(self, small_run, phantoms):
        done = run_command("-m", "medcap_tf", "audit", small_run, "--data", phantoms, "--split", "exam", check=False)
        assert done.returncode == 1
        assert "exam" in done.stderr
        assert "Traceback" not in done.stderr
