"""The package for people who program: five lines from a run, or an export, to an explanation."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

import medcap_tf
from medcap_tf import Explanation, InputError
from tests.conftest import SMALL


def test_the_package_is_imported_without_anything_heavy():
    script = "import sys, medcap_tf; print(sorted({'tensorflow', 'numpy', 'cv2', 'matplotlib'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_listed_and_others_refused():
    assert {"load", "train", "export", "Captioner", "Caption", "Explanation", "Config"} <= set(dir(medcap_tf))
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        medcap_tf.fly  # noqa: B018


def test_what_is_no_model_says_so(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        medcap_tf.load(tmp_path)


@pytest.fixture(scope="module")
def path(phantoms):
    return min((phantoms / "test" / "images").iterdir())


@pytest.fixture(scope="module")
def captioner(small_run):
    return medcap_tf.load(small_run)


@pytest.mark.slow
class TestARun:
    """The small run."""

    def test_one_image_has_one_caption_and_a_list_a_list(self, captioner, path):
        one = captioner.caption(path)
        assert isinstance(one, medcap_tf.Caption)
        assert [caption.text for caption in captioner.caption([path, str(path)])] == [one.text] * 2
        assert captioner.caption([]) == []

    def test_an_explanation_is_a_figure_a_page_and_a_view_in_a_notebook(self, captioner, path, tmp_path):
        explanation = captioner.explain(captioner.caption(path), reference="CT of the chest.")
        assert len(explanation.plot().axes) > 0 or explanation.plot().artists
        assert explanation.report(tmp_path / "why").read_text("utf-8").count('class="entry"') == 1
        assert explanation._repr_html_().startswith("<iframe")
        assert explanation.caption.text in captioner.caption(path)._repr_html_()

    def test_an_array_is_explained_as_its_file_is(self, captioner, path):
        array = cv2.imread(str(path))[..., ::-1]
        one, other = captioner.explain(array), captioner.explain(path)
        np.testing.assert_array_equal(one.grad_cam, other.grad_cam)
        assert (one.image == other.image).all()

    def test_layers_are_shown_by_name_or_number(self, captioner, path):
        assert list(captioner.explain(path, layers=["2", "conv1_relu"]).layers) == ["conv1_pad", "conv1_relu"]
        assert captioner.explain(path, layers=[]).layers == {}
        with pytest.raises(InputError, match="no layer 'conv9'; give a name"):
            captioner.explain(path, layers=["conv9"])

    def test_where_it_abstained_a_figure_says_why(self, captioner, path):
        caption = dataclasses.replace(
            captioner.caption(path), words=(), stems=(), abstained="unlike the training images"
        )
        figure = Explanation(caption, image=captioner.explain(path).image).plot()
        texts = [" ".join(text.get_text().split()) for text in figure.findobj(Text)]
        assert any("unlike the training images" in text for text in texts), texts

    def test_a_broken_image_has_an_error_and_no_explanation(self, captioner, tmp_path):
        (tmp_path / "broken.png").write_text("no image")
        caption = captioner.caption(tmp_path / "broken.png")
        assert "not a readable image" in caption.error
        assert not captioner.explain(caption).image.size
        with pytest.raises(InputError, match="not a readable image"):
            captioner.explain(caption).plot()


@pytest.mark.slow
def test_from_data_to_an_export_in_three_lines(phantoms, tmp_path, path):
    settings = {f"{section}.{name}": value for section, values in SMALL.items() for name, value in values.items()}
    scores = medcap_tf.train(phantoms, tmp_path / "run", {**settings, "training.epochs": 1})
    assert scores["split"] == "test" and "bleu_4" in scores["model"]
    folder = medcap_tf.export(tmp_path / "run", tmp_path / "served" / "medcap")
    run, export = medcap_tf.load(tmp_path / "run"), medcap_tf.load(folder.parent)
    assert export.is_export and not run.is_export
    assert export.concept_names == run.concept_names and run.concept_names
    assert export.caption(path).text == run.caption(path).text
    assert export.caption(cv2.imread(str(path))[..., ::-1]).text == run.caption(path).text
    explanation = export.explain(path)
    assert explanation.grad_cam is None and explanation.attention is not None
    with pytest.raises(InputError, match="decoding options are fixed"):
        medcap_tf.load(folder, {"decoding.beam_width": 1})
