"""A caption as a value: its line, its image, its view in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.errors import InputError


def test_its_words_are_one_line():
    assert Caption(words=("left", "kidney")).text == "left kidney"
    assert Caption().text == ""


def test_it_goes_by_its_images_id_or_else_by_the_whole_path():
    assert Caption(Path("a/scan.png")).key == "a/scan.png"
    assert Caption(Path("a/scan.png"), image_id="a/scan").key == "a/scan"


def test_an_image_is_unlike_the_training_images_from_a_percentile_on():
    assert Caption(novelty=99.0).is_novel() and not Caption(novelty=98.9).is_novel()
    assert Caption(novelty=98.9).is_novel(95) and not Caption().is_novel(0)


def test_of_an_image_unlike_the_training_images_there_may_be_no_caption():
    caption = Caption(Path("cat.jpg"), ("chest",), score=-0.5, novelty=99.5, confidence=0.9, concepts=(("C1", 0.9),))
    silent = caption.unless_novel()
    assert silent.text == "" and silent.concepts == () and silent.confidence is None
    assert (silent.path, silent.novelty) == (Path("cat.jpg"), 99.5)
    assert silent.abstained == "unlike the training images: novelty 99.5 of 100, captions are given below 99"
    assert "novelty 99.5" in silent._repr_html_()
    assert caption.unless_novel(99.9) is caption
    assert Caption(error="broken").unless_novel().error == "broken"
    with pytest.raises(InputError, match="so it cannot abstain"):
        Caption(words=("chest",)).unless_novel()


def test_a_notebook_shows_confidence_and_novelty_where_they_are_known():
    shown = Caption(words=("mass",), confidence=0.5, novelty=100.0)._repr_html_()
    assert "concepts: none; confidence 0.50" in shown and "<b>unlike the training images</b>" in shown


def test_it_keeps_the_path_of_a_file_and_the_pixels_of_an_array():
    image = np.zeros((2, 3, 3), np.uint8)
    assert Caption().of("scan.png").path == Path("scan.png")
    assert Caption().of(image).image is image
    assert Caption(error="too large").of(image).image is None


def test_a_notebook_shows_concepts_best_first_and_no_markup_of_the_words():
    shown = Caption(words=("<b>mass</b>",), concepts=(("C2", 0.75), ("C1", 0.5)))._repr_html_()
    assert shown == "<p>&lt;b&gt;mass&lt;/b&gt;<br><small>concepts: C2 0.75, C1 0.50</small></p>"
    named = Caption(concepts=(("C2", 0.75), ("C1", 0.5)), concept_names={"C1": "Cyst & more"})._repr_html_()
    assert "concepts: C2 0.75, Cyst &amp; more 0.50" in named
    assert "(no words)" in Caption()._repr_html_() and "concepts: none" in Caption()._repr_html_()
    assert Caption(error="a < b")._repr_html_() == "<p><b>error:</b> a &lt; b</p>"
