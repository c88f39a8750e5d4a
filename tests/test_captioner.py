"""A loaded run: every image gets its own answer, whatever its neighbors; broken ones say why."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.datastore import Datastore
from medcap_tf.errors import InputError
from medcap_tf.explain.attribution import Attributor
from medcap_tf.models.retrieval import RetrievalParameters
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import END, UNK
from tests.conftest import SMALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def captioner(small_run):
    return RunCaptioner.load(small_run, {"decoding.batch_size": 3, "decoding.neighbors": 0})


def with_decoding(captioner, run, **settings):
    """The same network under other decoding options."""
    options = {f"decoding.{name}": value for name, value in settings.items()}
    return captioner.with_retrieval_of(RunFolder(run), captioner.config.replace(options))


@pytest.fixture(scope="module")
def paths(phantoms):
    return sorted((phantoms / "test" / "images").iterdir())


def test_a_caption_carries_its_attention_and_weights(captioner, small_run, paths):
    # Copied from the nearest image, so that it has words: after so short a training the decoder may know none.
    copying = with_retrieval(captioner, small_run, RetrievalParameters(0.0, 0.01, 0.5), 1)
    caption = next(copying.caption(paths[:1]))
    assert caption.path == paths[0]
    assert len(caption.words) == len(caption.stems) == len(caption.attention) == len(caption.word_importance)
    assert caption.attention.shape[1:] == (8, 8)
    np.testing.assert_allclose(caption.attention.sum((1, 2)), 1, rtol=1e-5)
    assert sum(caption.word_importance) == pytest.approx(1, rel=1e-5)
    assert caption.score < 0


def test_batches_and_neighbors_change_nothing(captioner, paths, small_run):
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


def test_a_wider_beam_is_no_less_probable(captioner, small_run, paths):
    # Of the decoder alone: a beam may lose the greedy path, and does where whole captions are copied.
    greedy, wide = (
        list(with_decoding(captioner, small_run, length_penalty=0.0, beam_width=k).caption(paths)) for k in (1, 5)
    )
    most = SMALL["decoding"]["max_length"]
    totals = [[c.score * min(len(c.words) + 1, most) for c in captions] for captions in (greedy, wide)]
    assert np.mean(totals[1]) >= np.mean(totals[0]) - 1e-3


@pytest.mark.parametrize("width", [1, 3])
def test_no_word_is_written_twice_where_none_may(captioner, small_run, paths, width):
    def captions(**settings):
        return list(with_decoding(captioner, small_run, neighbors=32, beam_width=width, **settings).caption(paths))

    as_ever, free, once = captions(), captions(no_repeat_ngram=0), captions(no_repeat_ngram=1)
    assert [c.tokens.tolist() for c in as_ever] == [c.tokens.tolist() for c in free]
    assert all(len(set(c.tokens.tolist())) == len(c.tokens) for c in once)


def test_what_is_no_run_says_so(tmp_path, small_run):
    with pytest.raises(InputError, match="no run folder"):
        RunCaptioner.load(tmp_path)
    half = tmp_path / "half"
    shutil.copytree(small_run, half)
    (half / "checkpoints" / "best" / "decoder.h5").unlink()
    with pytest.raises(InputError, match=r"no trained captioner.*--resume"):
        RunCaptioner.load(half)
    (half / "checkpoints" / "best" / "decoder.h5").write_text("no weights")
    with pytest.raises(InputError, match=r"decoder\.h5: does not fit"):
        RunCaptioner.load(half)


def test_what_the_run_fixes_cannot_be_changed(small_run):
    with pytest.raises(InputError, match=r"visual\.image_size is fixed by the run"):
        RunCaptioner.load(small_run, {"visual.image_size": 64})


def with_retrieval(alone, run, parameters, count):
    """The run with neighbors of parameters that training may not have chosen."""
    return alone.with_retrieval(Datastore.load(RunFolder(run)), parameters, count)


@pytest.fixture(scope="module")
def retrieving(captioner, small_run):
    return with_retrieval(captioner, small_run, RetrievalParameters(0.9, 0.02, 0.5), 4)


def test_the_score_with_neighbors_is_that_of_the_mixture(retrieving, paths):
    for caption in retrieving.caption(paths[:3]):
        pixels = retrieving.prepare(cv2.imread(str(caption.path))[..., ::-1])
        tokens = np.append(caption.tokens, [END] * (len(caption.tokens) < 12)).astype(np.int32)
        spoken = Attributor(retrieving).word_log_probs(pixels[None], tokens)[0]
        assert spoken.mean() == pytest.approx(caption.score, abs=1e-4)


def test_a_neighbor_that_is_the_image_itself_is_copied(captioner, small_run, phantoms):
    # At this temperature the nearest training image alone counts, and the decoder does not.
    captioner = with_retrieval(captioner, small_run, RetrievalParameters(0.0, 0.01, 0.5), 1)
    path = phantoms / "train" / "images" / "train00003.png"
    (caption,) = captioner.caption([path])
    reference = captioner.vocabulary.encode(Datastore.load(RunFolder(small_run)).records[3].caption)[:12]
    known = reference.index(UNK) if UNK in reference else len(reference)  # a word that it does not know it cannot say
    assert caption.tokens[:known].tolist() == reference[:known]
    words = Attributor(captioner).words(captioner.prepare(cv2.imread(str(path))), caption.tokens)
    np.testing.assert_allclose(words.retrieval_share[:known], 1, atol=1e-3)


def test_a_caption_of_one_word_has_its_maps(retrieving, paths):
    pixels = retrieving.prepare(cv2.imread(str(paths[0])))
    word = np.array([END + 1], np.int32)
    attributor = Attributor(retrieving)
    words = attributor.words(pixels, word)
    assert words.attention.shape == words.grad_cam.shape == (1, 8, 8)
    assert words.retrieval_share.shape == (1,)
    # What comes later does not change what it had to say.
    both = attributor.word_log_probs(pixels[None], np.array([END + 1, END], np.int32))
    np.testing.assert_allclose(attributor.word_log_probs(pixels[None], word)[:, 0], both[:, 0], rtol=1e-5)


def test_without_neighbors_nothing_is_copied(captioner, paths):
    pixels = captioner.prepare(cv2.imread(str(paths[0])))
    words = np.array([END + 1, END + 2], np.int32)
    assert Attributor(captioner).words(pixels, words).retrieval_share.tolist() == [0, 0]


@pytest.mark.parametrize("form", ["path", "string", "array", "gray array", "PIL"])
def test_an_image_is_taken_in_any_form(captioner, paths, form):
    color = cv2.imread(str(paths[0]))[..., ::-1]
    source = {
        "path": paths[0], "string": str(paths[0]), "array": color, "gray array": color[..., 0],
        "PIL": Image.fromarray(color),
    }[form]  # fmt: skip
    caption = next(captioner.caption([source]))
    assert caption.text == next(captioner.caption([paths[0]])).text
    assert (caption.image is None) == (form in ("path", "string"))


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_of_another_type_or_shape_says_what_it_should_be(captioner, values):
    assert "should be uint8 [H, W, 3]" in next(captioner.caption([values])).error
