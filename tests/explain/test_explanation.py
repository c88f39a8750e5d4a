"""Explanations against second ways to compute them, and pictures that say what the arrays hold."""

from __future__ import annotations

import csv
import dataclasses
import json
import resource
import shutil
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.images import read_image
from medcap_tf.errors import InputError
from medcap_tf.explain.attribution import Attributor
from medcap_tf.explain.entries import entry_of
from medcap_tf.explain.explainer import Explainer, layer_by
from medcap_tf.explain.figures import MAP_COLORS, active_share, overlay
from medcap_tf.explain.grid import over_image
from medcap_tf.explain.pictures import file_name, write_pictures
from medcap_tf.explain.plate import colors
from medcap_tf.phantoms.wording import CONCEPTS
from tests.conftest import run_command


@pytest.mark.parametrize(("height", "width"), [(80, 80), (60, 180), (240, 80)])
def test_a_map_lies_where_its_region_is(height, width):
    grid = np.zeros((8, 8))
    grid[1, 6] = 1
    heat = over_image(grid, (height, width))
    assert heat.shape == (height, width)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    # Its center is where the stride puts it, not half a region further.
    assert abs(row + 0.5 - height * 1 / 8) <= 1
    assert abs(column + 0.5 - width * 6 / 8) <= 1
    assert heat.min() >= 0


def test_an_even_map_stays_even():
    np.testing.assert_allclose(over_image(np.full((5, 5), 0.04), (37, 91)), 0.04, rtol=1e-5)


def test_a_words_colors_end_at_its_own_peak_and_a_flat_map_stays_faint():
    image, grid = np.full((64, 64, 3), 100, np.uint8), np.zeros((8, 8))
    grid[4, 4] = 1
    high = 100 + 0.75 * (colors(np.ones((1, 1)), MAP_COLORS)[0, 0].astype(int) - 100)
    for weaker in (1, 0.1):  # peaks of 64 and of 7.3 times an even spread
        drawn = overlay(image, weaker * grid + (1 - weaker) / 64)
        np.testing.assert_allclose(drawn.max((0, 1))[:2], high[:2], atol=6)
    np.testing.assert_allclose(
        overlay(image, np.full((8, 8), 1 / 64)),
        np.broadcast_to(100 + 0.3 * (colors(np.full((1, 1), 0.25), MAP_COLORS)[0, 0].astype(int) - 100), (64, 64, 3)),
        atol=1,
    )


def test_a_channel_is_active_if_it_is_above_zero_anywhere():
    maps = np.zeros((4, 4, 4))
    maps[0, 0, 0], maps[..., 1], maps[..., 2] = 1, -1, 5
    assert active_share(maps) == 0.5


def peak_memory() -> int:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.fixture(scope="module")
def captioner(small_run):
    return RunCaptioner.load(small_run)


@pytest.fixture(scope="module")
def attributor(captioner):
    return Attributor(captioner)


@pytest.fixture(scope="module")
def paths(phantoms):
    return sorted((phantoms / "test" / "images").iterdir())


@pytest.fixture(scope="module")
def pixels(captioner, paths):
    return np.stack([captioner.prepare(read_image(path)) for path in paths])


@pytest.mark.slow
class TestOnARun:
    """The small run, on its test images."""

    def test_log_probs_are_those_of_the_search(self, captioner, attributor, paths, pixels):
        for caption, image in zip(captioner.caption(paths), pixels):
            if not caption.words:
                continue
            ended = len(caption.words) < captioner.config.decoding.max_length
            rest = caption.score * (len(caption.words) + ended)
            rest -= attributor.word_log_probs(image[None], caption.tokens).sum()
            assert (rest < 0.05) if ended else (abs(rest) < 0.3)  # what is left is the log-probability of <end>

    def test_grad_cam_is_each_words_own(self, captioner, attributor, pixels):
        tokens = np.array([5, 9, 7], np.int32)
        maps = attributor.words(pixels[0], tokens).grad_cam
        assert maps.shape == (3, 8, 8)
        model = captioner.fast_model
        seen = model.see(pixels[:1])
        regions = seen.regions
        for word in range(3):
            with tf.GradientTape() as tape:
                tape.watch(regions)
                spoken = model.score(model.encode_seen(seen), tf.constant(tokens[None])).log_probs[0, word]
            weights = tf.reduce_mean(tape.gradient(spoken, regions), [1, 2], keepdims=True)
            expected = np.maximum(tf.reduce_sum(weights * regions, -1)[0], 0)
            np.testing.assert_allclose(maps[word], expected / max(expected.sum(), 1e-12), atol=1e-4)

    def test_concept_contributions_are_the_slope_of_the_logit(self, captioner, attributor):
        tokens, code = np.array([6, 8, 5, 7], np.int32), captioner.concepts[1]
        given = attributor.concept_contributions(tokens, [captioner.concepts[0], code])
        assert given.shape == (2, 4)
        semantic = captioner.model.semantic
        embedded = semantic.embed(tokens[None]).numpy()

        def logit(word, scale):
            changed = embedded.copy()
            changed[0, word] *= scale
            return float(semantic.from_embedded([tokens[None], changed])["concept_logits"][0, 1])

        slopes = [(logit(word, 1.01) - logit(word, 0.99)) / 0.02 for word in range(4)]
        np.testing.assert_allclose(given[1], slopes, atol=2e-3)

    def test_layers_by_name_and_number(self, captioner):
        assert layer_by(captioner, "conv1_relu") == "conv1_relu"
        number = [layer.name for layer in captioner.model.encoder.layers].index("conv2_block1_out")
        assert layer_by(captioner, str(number)) == "conv2_block1_out"
        with pytest.raises(InputError, match="no layer 'conv9'"):
            layer_by(captioner, "conv9")

    def test_pictures_and_numbers(self, captioner, paths, tmp_path):
        reference = "Axial CT of the brain showing a mass."
        explanation = Explainer(captioner, ["conv2_block3_out"]).explain(next(captioner.caption(paths[:1])), reference)
        written = write_pictures(explanation, tmp_path, pdf=True)
        name = file_name(paths[0])
        kinds = {path.name.removeprefix(f"{name}.") for path in written}
        words = (
            {"evidence.png", "attention.png", "grad_cam.png", "maps.npz", "attention.csv", "regions.json"}
            if explanation.caption.words
            else set()
        )
        assert kinds == {"words.png", "layer.conv2_block3_out.png"} | words
        assert all(path.stat().st_size > 500 for path in written)
        assert (tmp_path / f"{name}.words.pdf").exists()
        if words:
            with open(tmp_path / f"{name}.attention.csv") as file:
                table = list(csv.DictReader(file))
            assert len(table) == 64
            assert sum(float(list(row.values())[2]) for row in table) == pytest.approx(1, abs=1e-3)

    def test_odd_images_have_their_lines_and_pictures(self, captioner, paths, tmp_path):
        files = {"one.png": np.full((1, 1, 3), 9, np.uint8), "flat.png": np.full((90, 60, 3), 200, np.uint8)}
        for name, picture in files.items():
            cv2.imwrite(str(tmp_path / name), picture)
        (tmp_path / "broken.png").write_text("no image")
        given = [tmp_path / "one.png", tmp_path / "broken.png", tmp_path / "flat.png", paths[0]]
        found = [Explainer(captioner, ["conv1_relu"]).explain(caption) for caption in captioner.caption(given)]
        entries, single = [entry_of(explanation) for explanation in found], "This image has a single color."
        silent = "The model generated no words."  # as a model trained this little may
        notes = [[note for note in entry["notes"] if note != silent] if "notes" in entry else None for entry in entries]
        assert notes == [[single], None, [single], []]
        assert "not a readable image" in entries[1]["error"]
        for explanation in found:
            written = write_pictures(explanation, tmp_path)
            assert bool(written) == (not explanation.caption.error)
            assert all(path.stat().st_size > 0 for path in written)

    def test_a_caption_without_words_has_its_line(self, captioner, paths, tmp_path):
        caption = next(captioner.caption(paths[:1]))
        silent = dataclasses.replace(
            caption, words=(), stems=(), tokens=caption.tokens[:0], attention=caption.attention[:0]
        )
        explanation = Explainer(captioner, ["conv1_relu"]).explain(silent, "CT of the chest.")
        assert entry_of(explanation)["notes"] == ["The model generated no words."]
        kinds = {path.name.split(".", 1)[1] for path in write_pictures(explanation, tmp_path)}
        assert kinds == {"words.png", "layer.conv1_relu.png"}  # the reference's words

    def test_a_hundred_million_pixels_are_let_go_of(self, captioner, tmp_path):
        path = tmp_path / "large.png"
        cv2.imwrite(
            str(path), cv2.circle(np.zeros((10_000, 10_000, 3), np.uint8), (6000, 5000), 2000, (9, 200, 99), -1)
        )
        before, began = peak_memory(), time.process_time()
        explanation = Explainer(captioner, ["conv1_relu"]).explain(next(captioner.caption([path])))
        write_pictures(explanation, tmp_path)
        assert explanation.image.shape == (1280, 1280, 3)
        assert peak_memory() - before < 900  # MiB; the pixels alone are 286, decoding holds them twice
        assert time.process_time() - began < 60

    def test_names_of_concepts_come_from_the_data(self, captioner, small_run, tmp_path):
        assert captioner.concept_names == {code: CONCEPTS[code] for code in captioner.concepts}
        old = tmp_path / "old"
        shutil.copytree(small_run, old)
        values = json.loads((old / "concepts.json").read_text())
        del values["names"]
        (old / "concepts.json").write_text(json.dumps(values))
        assert RunCaptioner.load(old).concept_names == {}

    def test_the_worst_of_a_split(self, small_run, phantoms, tmp_path):
        done = run_command(
            *("-m", "medcap_tf", "explain", small_run, "--data", phantoms, "--split", "test", "--worst"),
            *("--limit", 2, "--out", tmp_path, "--no-pictures"),
        )
        assert done.stdout.splitlines() == [f"{tmp_path / 'report.html'}"]
        assert "captions" in done.stderr.splitlines()[-1]
        page = (tmp_path / "report.html").read_text("utf-8")
        assert page.count('class="entry"') == 2
        assert 'data-first="meteor"' in page

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give either images"),
            (["x.png", "--data", "d"], "give either images"),
            (["x.png", "--worst"], "--worst needs references"),
            (["x.png", "--limit", "0"], "give at least 1"),
        ],
    )
    def test_what_cannot_be_asked_for_is_said(self, small_run, tmp_path, arguments, message):
        done = run_command("-m", "medcap_tf", "explain", small_run, *arguments, "--out", tmp_path, check=False)
        assert done.returncode == 1
        assert message in done.stderr

    def test_the_command_goes_on_after_a_broken_image(self, small_run, paths, tmp_path):
        broken = tmp_path / "broken.png"
        broken.write_text("no image")
        out = tmp_path / "out"
        done = run_command(
            "-m", "medcap_tf", "explain", small_run, broken, paths[0], "--out", out, "--maps", "npy", check=False
        )
        assert done.returncode == 1
        assert "1 of 2 images could not be read" in done.stderr
        assert len(done.stdout.splitlines()) == len(list(out.iterdir())) > 0
