"""Pictures lie where they were put, in the colors that the bar beside them explains."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medcap_tf.explain.explanation import WordReading
from medcap_tf.explain.figures import strip_figure
from medcap_tf.explain.plate import Plate, color_table, colors, save


def saved(draw, path, dpi) -> np.ndarray:
    save(draw, path, dpi)
    return cv2.imread(str(path))[..., ::-1]


def test_a_picture_is_pasted_pixel_by_pixel(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)

    def draw(dpi):
        plate = Plate(2, 1.5, dpi)
        plate.show(picture, left=0.5, top=0.25)
        return plate.figure()

    page = saved(draw, tmp_path / "page.png", 100)
    assert page.shape == (150, 200, 3)
    np.testing.assert_array_equal(page[25:45, 50:80], picture)
    page[25:45, 50:80] = 255
    assert (page == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (37, 91)])
def test_a_picture_of_any_size_fits_its_place(shape):
    fitted = Plate(2, 2, 100).fit(np.full((*shape, 3), 77, np.uint8), 0.5, 1.25)
    assert fitted.shape == (125, 50, 3)
    assert (fitted == 77).all()


def test_words_are_written_where_they_belong(tmp_path):
    def draw(dpi):
        plate = Plate(2, 1, dpi)
        plate.write("word", left=1.5, top=0.25, size=9, across="center", down="center")
        return plate.figure()

    dark = np.argwhere(saved(draw, tmp_path / "page.png", 100)[..., 0] < 128)
    np.testing.assert_allclose((dark.min(0) + dark.max(0)) / 2, (25, 150), atol=3)


def test_the_bar_runs_from_its_lowest_color_below_to_its_highest_above(tmp_path):
    def draw(dpi):
        plate = Plate(2, 2, dpi)
        plate.bar(0.5, 0.5, 1.0, "cividis", (0, 3), "unit")
        return plate.figure()

    column = saved(draw, tmp_path / "page.png", 100)[51:149, 57].astype(int)
    np.testing.assert_allclose(column[[0, -1]], color_table("cividis")[[255, 0]], atol=6)
    np.testing.assert_array_equal(colors(np.array([0.0, 1.0]), "cividis"), color_table("cividis")[[0, 255]])


def test_a_strip_shows_what_each_word_gives_to_each_concept(tmp_path):
    given = np.array([[1.0, -1.0], [0.0, 0.5]], np.float32)
    reading = WordReading(("brain", "mass"), np.array([0.25, 0.75], np.float32), (("C1", 0.9), ("C2", 0.8)), given)
    page = saved(lambda dpi: strip_figure([("generated", reading)], dpi), tmp_path / "page.png", 100).astype(int)
    expected = colors((given + 1) / 2, "PuOr").astype(int)
    for row in range(2):
        for column in range(2):
            center = page[53 + 40 * row + 20, 195 + 95 * column + 47]
            np.testing.assert_allclose(center, expected[row, column], atol=3)


def test_a_pdf_is_written_beside_for_print(tmp_path):
    drawn = []

    def draw(dpi):
        drawn.append(dpi)
        plate = Plate(1, 1, dpi)
        plate.write("word", 0.5, 0.5, 9, "center", "center")
        return plate.figure()

    save(draw, tmp_path / "page.png", 100, pdf=True)
    assert drawn == [100, 300]
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_a_notebook_shows_the_figure_pixel_by_pixel():
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    plate = Plate(1, 0.5, 100)
    plate.show(picture, left=0.2, top=0.1)
    shown = cv2.imdecode(np.frombuffer(plate.figure()._repr_png_(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert shown.shape == (50, 100, 3)
    np.testing.assert_array_equal(shown[10:30, 20:50], picture)
