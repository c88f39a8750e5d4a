"""The form by itself, and in a browser: what is rated is the table that it saves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medcap_tf.evaluation.ratings import read_ratings
from medcap_tf.explain.rating_form import Rated, write_form


@pytest.fixture
def form(tmp_path):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 6, 3), 90, np.uint8))
    rated = [Rated("a", tmp_path / "a.png", "a cyst & <b>more</b>"), Rated('b,"1"', tmp_path / "b.png", "")]
    return write_form(tmp_path / "form.html", rated)


def test_it_asks_nothing_of_a_network_and_shows_captions_as_text(form):
    text = form.read_text("utf-8")
    assert "a cyst &amp; &lt;b&gt;more&lt;/b&gt;" in text and "(no words)" in text
    assert "http://" not in text and "https://" not in text and text.count("data:image/jpeg") == 2
    assert text.count("<fieldset") == 2 * 5 and text.count('type="radio"') == 2 * 5 * 5
    assert "default-src 'none'" in text


def shown(browser, selector):
    """An element, scrolled away from the bar at the foot of the page, as a person would."""
    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", element)
    return element


def test_what_is_clicked_is_saved(form, browser, tmp_path):
    browser.get(form.as_uri())
    assert browser.find_element("id", "done").text == "0 of 2 images rated by all criteria"
    for number, name in enumerate(("correctness", "faithfulness", "clinical_relevance", "clarity", "completeness")):
        chosen = f'article:first-of-type [data-criterion="{name}"] input[value="{1 + number}"]'
        shown(browser, chosen).click()
    shown(browser, "article:last-of-type .comment input").send_keys('so, "so"')
    assert browser.find_element("id", "done").text == "1 of 2 images rated by all criteria"
    (tmp_path / "ratings.csv").write_text(browser.execute_script("return table()"))
    values = read_ratings(tmp_path / "ratings.csv").values
    assert list(values["a"].values()) == [1, 2, 3, 4, 5] and values['b,"1"'] == {}
