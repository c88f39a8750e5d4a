"""What makes images alike, and where copied words come from, against second ways to compute them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from medcap_tf.caption import shares_of
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.images import read_image
from medcap_tf.data.records import read_dataset
from medcap_tf.errors import InputError
from medcap_tf.explain.attribution import Attributor
from medcap_tf.explain.entries import entry_of
from medcap_tf.explain.explainer import Explainer
from medcap_tf.explain.likeness import LikenessReader, parts_of_similarity
from medcap_tf.models.retrieval import unit_rows
from tests.conftest import run_command


@pytest.fixture(scope="module")
def captioner(small_run):
    captioner = RunCaptioner.load(small_run)
    assert captioner.datastore is not None
    return captioner


@pytest.fixture(scope="module")
def reader(captioner, phantoms):
    return LikenessReader(captioner, phantoms)


@pytest.fixture(scope="module")
def captions(captioner, image_paths):
    found = [caption for caption in captioner.caption(image_paths) if caption.words]
    assert found
    return found


def test_regions_parts_add_up_to_the_similarity():
    rng = np.random.default_rng(0)
    one, other = np.maximum(rng.normal(size=(2, 4, 5, 16)), 0).astype(np.float32)
    one[..., 3] = 0  # a channel that is silent everywhere
    rows = unit_rows(np.stack([one.mean((0, 1)), other.mean((0, 1))]))
    assert parts_of_similarity(one, rows[1]).sum() == pytest.approx(rows[0] @ rows[1], abs=1e-5)
    assert parts_of_similarity(other, rows[0]).sum() == pytest.approx(rows[0] @ rows[1], abs=1e-5)


def test_the_region_with_what_both_have_gives_most():
    # Two images of which each has one bright place in channel 0, at different ends; channel 1 is theirs alone.
    here, there = np.full((2, 3, 3, 2), 0.1, np.float32)
    here[0, 0, 0], here[2, 2, 1], there[2, 0, 0] = 5, 5, 5
    other = unit_rows(there.mean((0, 1))[None])[0]
    parts = parts_of_similarity(here, other)
    assert np.unravel_index(parts.argmax(), parts.shape) == (0, 0)
    # Channels of equal strength here, of 0.644 and 0.1 there.
    assert parts[0, 0] / parts[2, 2] == pytest.approx(np.sqrt(0.644 / 0.1), rel=0.1)


def test_likenesses_are_those_of_the_run(captioner, reader, captions):
    mean = unit_rows(captioner.datastore.features).mean(0)
    for caption in captions:
        pixels = captioner.prepare(read_image(caption.path))
        neighbors = captioner.model.retriever.retrieve(captioner.pooled_features(pixels[None]))
        found = reader.read(pixels, caption.tokens, 3)
        assert 0 < len(found) <= 3
        own = unit_rows(captioner.pooled_features(pixels[None]))[0]
        for place, (record, weight, likeness) in enumerate(found):
            row = int(neighbors.rows[0, place])
            assert record == captioner.datastore.records[row]
            assert weight == pytest.approx(float(neighbors.weight[0, place]), abs=1e-4)
            other = unit_rows(captioner.datastore.features[row : row + 1])[0]
            assert likeness.here.sum() == pytest.approx(own @ (other - mean), abs=2e-3)
            assert likeness.there.sum() == pytest.approx(other @ (own - mean), abs=2e-3)


def test_all_similar_images_together_gave_what_was_copied(captioner, captions, monkeypatch):
    monkeypatch.setattr("medcap_tf.explain.likeness.MIN_RETRIEVAL_WEIGHT", 0)
    attributor, reader = Attributor(captioner), LikenessReader(captioner)
    for caption in captions:
        pixels = captioner.prepare(read_image(caption.path))
        found = reader.read(pixels, caption.tokens, captioner.model.retriever.count)
        assert all(one.likeness.image is None and one.likeness.there is None for one in found)
        share = attributor.words(pixels, caption.tokens).retrieval_share
        together = sum(one.likeness.copied for one in found)
        np.testing.assert_allclose(together, share, atol=1e-3)


def test_a_copied_word_lies_where_the_training_image_has_it(captioner, reader, captions, phantoms):
    attributor, files = Attributor(captioner), read_dataset(phantoms).splits["train"]
    paths = {record.image_id: record.image_file for record in files}
    checked = 0
    for caption in captions:
        pixels = captioner.prepare(read_image(caption.path))
        for record, _, likeness in reader.read(pixels, caption.tokens, 3):
            theirs = captioner.vocabulary.encode(record.caption)
            path = paths[record.image_id]
            np.testing.assert_array_equal(likeness.image, read_image(path))
            known = attributor.words(captioner.prepare(read_image(path)), np.array(theirs, np.int32))
            maps = known.attention if known.evidence is None else shares_of(known.evidence.maps)
            for i, token in enumerate(caption.tokens):
                if likeness.copied[i] < 1e-6:
                    assert not likeness.word_maps[i].any()
                elif theirs.count(token) == 1:
                    np.testing.assert_allclose(likeness.word_maps[i], maps[theirs.index(token)], atol=1e-3)
                    checked += 1
    assert checked


def test_a_caption_without_words_has_similar_images_too(captioner, reader, captions):
    pixels = captioner.prepare(read_image(captions[0].path))
    found = reader.read(pixels, captions[0].tokens[:0], 3)
    assert found and all(one.likeness.copied.shape == (0,) for one in found)


def test_another_image_under_a_training_images_name_is_not_shown(captioner, captions, phantoms, tmp_path):
    data = shutil.copytree(phantoms, tmp_path / "data")
    pixels = captioner.prepare(read_image(captions[0].path))
    expected = LikenessReader(captioner, data).read(pixels, captions[0].tokens, 1)[0]
    assert expected.likeness.image is not None
    path = next((data / "train" / "images").glob(f"{expected.record.image_id}.*"))
    for change in (lambda: path.write_bytes(captions[0].path.read_bytes()), lambda: path.write_bytes(b""), path.unlink):
        change()
        found = LikenessReader(captioner, data).read(pixels, captions[0].tokens, 1)[0]
        assert (found.record, found.likeness.image) == (expected.record, None)
        np.testing.assert_allclose(found.likeness.here, expected.likeness.here, atol=1e-6)


def test_data_that_cannot_be_read_is_said_at_once(captioner, tmp_path):
    with pytest.raises(InputError, match=r"gone: no such folder"):
        Explainer(captioner, training_data=tmp_path / "gone")


def test_the_report_holds_them(captioner, captions, phantoms):
    explanation = Explainer(captioner, training_data=phantoms).explain(captions[0])
    assert len(explanation.similar) == len(explanation.likenesses) > 0
    entry = entry_of(explanation)["similar"][0]
    assert entry["image"]["src"].startswith("data:image/jpeg")
    assert np.shape(entry["here"]) == np.shape(entry["there"]) == captioner.model.grid
    assert len(entry["copied"]) == len(entry["maps"]) == len(captions[0].words)


@pytest.mark.parametrize("moved", [False, True], ids=["there", "moved"])
def test_explain_finds_the_data_or_says_that_it_does_not(small_run, image_paths, tmp_path, moved):
    run = shutil.copytree(small_run, tmp_path / "run")
    if moved:
        text = (run / "config.json").read_text()
        (run / "config.json").write_text(
            text.replace('"data_path": "', '"data_path": "/gone').replace('"data": "', '"data": "/gone')
        )
    done = run_command("-m", "medcap_tf", "explain", run, image_paths[0], "--out", tmp_path / "why", "--no-pictures")
    page = (tmp_path / "why" / "report.html").read_text()
    assert ("say by --training-data where it is" in done.stderr) is moved
    assert ('"there": [[' in page) is not moved
    if not moved:
        arguments = (run, image_paths[0], "--out", tmp_path / "without", "--no-pictures", "--no-training-images")
        assert run_command("-m", "medcap_tf", "explain", *arguments).stderr.count("--training-data") == 0
        assert '"there": [[' not in (tmp_path / "without" / "report.html").read_text()
