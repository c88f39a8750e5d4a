"""A caption as a value: its line, its image, its view in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medcap_tf.caption import Caption


def test_its_words_are_one_line():
    assert Caption(words=("left", "kidney")).text == "left kidney"
    assert Caption().text == ""


def test_it_goes_by_its_images_id_or_else_by_the_whole_path():
    assert Caption(Path("a/scan.png")).key == "a/scan.png"
    assert Caption(Path("a/scan.png"), image_id="a/scan").key == "a/scan"


def test_an_image_is_unlike_the_training_images_from_a_percentile_on():
    assert Caption(novelty=99.0).is_novel() and not Caption(novelty=98.9).is_novel()
    assert Caption(novelty=98.9).is_novel(95) and not Caption().is_novel(0)


def test_it_keeps_the_path_of_a_file_and_the_pixels_of_an_array():
    image = np.zeros((2, 3, 3), np.uint8)
    assert Caption().of("scan.png").path == Path("scan.png")
    assert Caption().of(image).image is image
    assert Caption(error="too large").of(image).image is None


def test_a_notebook_shows_concepts_best_first_and_no_markup_of_the_words():
    shown = Caption(words=("<b>mass</b>",), concepts=(("C2", 0.75), ("C1", 0.5)))._repr_html_()
    assert shown == "<p>&lt;b&gt;mass&lt;/b&gt;<br><small>concepts: C2 0.75, C1 0.50</small></p>"
    assert "(no words)" in Caption()._repr_html_() and "concepts: none" in Caption()._repr_html_()
    assert Caption(error="a < b")._repr_html_() == "<p><b>error:</b> a &lt; b</p>"
