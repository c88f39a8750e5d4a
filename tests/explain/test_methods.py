"""tf-explain's methods on the concept view of a trained run."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.captioner import RunCaptioner
from medcap_tf.explain.explainer import Explainer
from medcap_tf.explain.methods import METHODS, ConceptMethods, methods_figure
from tests.conftest import run_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def captioner(small_run):
    return RunCaptioner.load(small_run)


@pytest.fixture
def shape(captioner):
    return (captioner.config.visual.image_size,) * 2 + (3,)


def test_every_method_draws_every_concept(captioner, shape):
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    (pictures,) = ConceptMethods(captioner, METHODS).draw(pixels, [(captioner.concepts[0], 0.5)]).values()
    assert list(pictures) == list(METHODS)
    for name, picture in pictures.items():
        assert picture.dtype == np.uint8, name
        assert name == "integrated_gradients" or np.ptp(picture) > 0, name  # of a flat sigmoid it is next to none
        assert name == "activations" or picture.shape == shape
    figure = methods_figure({"C1": pictures, "C2": pictures}, (100, 60), dpi=50)
    assert len(figure.axes) == 2 * len(METHODS)


def test_an_image_of_one_color_is_drawn_too(captioner, shape):
    pixels = np.zeros(shape, np.uint8)
    (pictures,) = ConceptMethods(captioner, METHODS).draw(pixels, [(captioner.concepts[0], 0.5)]).values()
    assert len(pictures) == len(METHODS)


def test_methods_are_drawn_for_the_concepts_named(captioner, phantoms):
    path = min((phantoms / "test" / "images").iterdir())
    caption = next(captioner.caption([path]))
    explanation = Explainer(captioner, methods=["grad_cam"]).explain(caption)
    assert len(explanation.methods) == min(3, len(caption.concepts))


def test_an_unknown_method_is_refused_with_the_list(small_run, phantoms, tmp_path):
    path = min((phantoms / "test" / "images").iterdir())
    done = run_command(
        *("-m", "medcap_tf", "explain", small_run, path, "--out", tmp_path, "--methods", "voodoo"), check=False
    )
    assert done.returncode == 1
    assert "voodoo" in done.stderr
    assert "smoothgrad" in done.stderr
