"""A loaded run: every image gets its own answer, whatever its neighbours; broken ones say why."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from medcap_tf.captioner import Captioner
from medcap_tf.errors import InputError
from medcap_tf.library import Library
from medcap_tf.neighbours import Retriever, Strength
from medcap_tf.text import END, UNK

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def captioner(small_run):
    return Captioner.load(small_run, {"decoding.batch_size": 3, "decoding.neighbours": 0})


@pytest.fixture(scope="module")
def paths(phantoms):
    return sorted((phantoms / "test" / "images").iterdir())


def test_a_caption_carries_its_reasons(captioner, paths):
    caption = next(captioner.caption(paths[:1]))
    assert caption.path == paths[0]
    assert len(caption.words) == len(caption.stems) == len(caption.attention) == len(caption.word_importance)
    assert caption.attention.shape[1:] == (8, 8)
    np.testing.assert_allclose(caption.attention.sum((1, 2)), 1, rtol=1e-5)
    assert sum(caption.word_importance) == pytest.approx(1, rel=1e-5)
    assert caption.score < 0


def test_batches_and_neighbours_change_nothing(captioner, paths, small_run):
    together = list(captioner.caption(paths))
    alone = [next(captioner.caption([path])) for path in paths]
    assert [c.words for c in together] == [c.words for c in alone]
    np.testing.assert_allclose([c.score for c in together], [c.score for c in alone], atol=1e-4)


def test_a_broken_image_costs_its_own_row_alone(captioner, paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG broken")
    tiny, flat = tmp_path / "tiny.png", tmp_path / "flat.png"
    cv2.imwrite(str(tiny), np.full((1, 1), 9, np.uint8))
    cv2.imwrite(str(flat), np.zeros((50, 90), np.uint8))
    found = list(captioner.caption([paths[0], broken, tiny, flat, tmp_path / "gone.png", paths[1]]))
    assert [bool(caption.error) for caption in found] == [False, True, False, False, True, False]
    assert "broken.png" in found[1].error
    assert "no such file" in found[4].error
    assert found[0].words == next(captioner.caption([paths[0]])).words
    assert found[5].words == next(captioner.caption([paths[1]])).words


def test_a_batch_of_broken_images_alone(captioner, tmp_path):
    assert [bool(c.error) for c in captioner.caption([tmp_path / "a.png", tmp_path / "b.png"])] == [True, True]


def test_a_wider_beam_is_no_less_probable(small_run, paths):
    greedy, wide = (
        list(Captioner.load(small_run, {"decoding.beam_width": k, "decoding.length_penalty": 0}).caption(paths))
        for k in (1, 5)
    )
    totals = [[c.score * (len(c.words) + 1) for c in captions] for captions in (greedy, wide)]
    assert np.mean(totals[1]) >= np.mean(totals[0]) - 1e-3


@pytest.mark.parametrize("width", [1, 3])
def test_no_word_is_written_twice_where_none_may(small_run, paths, width):
    def captions(**settings):
        named = {f"decoding.{name}": value for name, value in settings.items()}
        return list(Captioner.load(small_run, {"decoding.beam_width": width, **named}).caption(paths))

    as_ever, free, once = captions(), captions(no_repeat_ngram=0), captions(no_repeat_ngram=1)
    assert [c.tokens.tolist() for c in as_ever] == [c.tokens.tolist() for c in free]
    assert all(len(set(c.tokens.tolist())) == len(c.tokens) for c in once)


def test_what_is_no_run_says_so(tmp_path, small_run):
    with pytest.raises(InputError, match="no run folder"):
        Captioner.load(tmp_path)
    half = tmp_path / "half"
    shutil.copytree(small_run, half)
    (half / "checkpoints" / "best" / "decoder.h5").unlink()
    with pytest.raises(InputError, match=r"no trained captioner.*--resume"):
        Captioner.load(half)
    (half / "checkpoints" / "best" / "decoder.h5").write_text("no weights")
    with pytest.raises(InputError, match=r"decoder\.h5: does not fit"):
        Captioner.load(half)


def with_strength(run, strength, count):
    """The run with neighbours of a strength that training may not have chosen."""
    alone = Captioner.load(run, {"decoding.neighbours": 0})
    library = Library.load(run)
    retriever = Retriever(library, alone.vocabulary, alone.concepts, (count, 40), strength)
    return Captioner(alone.config, alone.models, alone.vocabulary, alone.concepts, alone.thresholds, None, retriever)


@pytest.fixture(scope="module")
def retrieving(small_run):
    return with_strength(small_run, Strength(0.9, 0.02, 0.5), 4)


def test_the_score_with_neighbours_is_that_of_the_mixture(retrieving, paths):
    for caption in retrieving.caption(paths[:3]):
        pixels = retrieving.prepare(cv2.imread(str(caption.path))[..., ::-1])
        tokens = np.append(caption.tokens, [END] * (len(caption.tokens) < 12)).astype(np.int32)
        spoken = retrieving.word_log_probs(pixels[None], tokens)[0]
        assert spoken.mean() == pytest.approx(caption.score, abs=1e-4)


def test_a_neighbour_that_is_the_image_itself_is_copied(small_run, phantoms, paths):
    # At this temperature the nearest training image alone counts, and the decoder does not.
    captioner = with_strength(small_run, Strength(0.0, 0.01, 0.5), 1)
    path = phantoms / "train" / "images" / "train00003.png"
    (caption,) = captioner.caption([path])
    reference = captioner.vocabulary.encode(Library.load(small_run).records[3].caption)[:12]
    known = reference.index(UNK) if UNK in reference else len(reference)  # a word that it does not know it cannot say
    assert caption.tokens[:known].tolist() == reference[:known]
    np.testing.assert_allclose(
        captioner.copied(captioner.prepare(cv2.imread(str(path))), caption.tokens)[:known], 1, atol=1e-3
    )


def test_a_caption_of_one_word_has_its_reasons(retrieving, paths):
    pixels = retrieving.prepare(cv2.imread(str(paths[0])))
    word = np.array([END + 1], np.int32)
    assert retrieving.attend(pixels, word).shape == retrieving.grad_cam(pixels, word).shape == (1, 8, 8)
    assert retrieving.copied(pixels, word).shape == (1,)
    # What comes later does not change what it had to say.
    both = retrieving.word_log_probs(pixels[None], np.array([END + 1, END], np.int32))
    np.testing.assert_allclose(retrieving.word_log_probs(pixels[None], word)[:, 0], both[:, 0], rtol=1e-5)


def test_without_neighbours_nothing_is_copied(captioner, paths):
    caption = next(captioner.caption(paths[:1]))
    pixels = captioner.prepare(cv2.imread(str(paths[0])))
    assert captioner.copied(pixels, caption.tokens).tolist() == [0] * len(caption.tokens)
