"""What is drawn into an image shares its noise and brightness, and leaves all else as it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medcap_tf.phantoms.embedding import Overlay, Site, body_of, draw_echo, draw_finding, look_of
from tests.phantoms.real import section


def overlay(noise: float = 6, seed: int = 1, speckled: bool = False) -> Overlay:
    return Overlay(np.random.default_rng(seed), section(noise=noise), speckled)


def test_body_is_what_is_not_black() -> None:
    c = overlay()
    np.testing.assert_allclose(c.half, (96, 80), atol=6)  # its blurred rim belongs to it
    np.testing.assert_allclose(c.center, (120, 100), atol=3)
    assert c.body[100, 120] and not c.body[15, 15]


def test_a_frame_is_no_body() -> None:
    framed = cv2.copyMakeBorder(section(), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255,))
    assert not body_of(framed.astype(np.float32) / 255)[5, 5]


def test_an_image_without_anything_drawn_stays_as_it_is() -> None:
    np.testing.assert_array_equal(overlay().blended(), section())


@pytest.mark.parametrize(("kind", "sign"), [("hemorrhage", 1), ("cyst", -1), ("stone", 1), ("infarct", -1)])
def test_a_finding_differs_where_its_mask_is_and_nowhere_else(kind: str, sign: int) -> None:
    c, before = overlay(), section()
    draw_finding(c, look_of("CT", "", kind)._replace(around=0), kind, Site(0.2, -0.1, 20))
    after = c.blended()
    change = after.astype(int) - before
    assert sign * change[c.mask].mean() > 12
    away = cv2.dilate(c.mask.astype(np.uint8), np.ones((15, 15))) == 0
    assert not change[away].any()
    middle = np.argwhere(c.mask).mean(0)
    np.testing.assert_allclose(middle[::-1], c.center + np.array([0.2, -0.1]) * c.half, atol=4)


@pytest.mark.parametrize("noise", [2.0, 8.0])
def test_noise_within_a_finding_is_the_images_own(noise: float) -> None:
    c = overlay(noise)
    draw_finding(c, look_of("CT", "", "cyst"), "cyst", Site(0, 0, 25))
    inside = cv2.erode(c.mask.astype(np.uint8), np.ones((9, 9))) > 0
    after = c.blended().astype(np.float32)
    assert after[inside].std() == pytest.approx(noise, rel=0.25)


def test_edges_are_as_soft_as_the_images_own() -> None:
    slopes = {}
    for blur in (1, 4):
        c = Overlay(np.random.default_rng(2), cv2.GaussianBlur(section(noise=0), (0, 0), blur))
        draw_finding(c, look_of("CT", "", "cyst"), "cyst", Site(0, 0, 25))
        row = c.blended()[100].astype(int)
        slopes[blur] = np.abs(np.diff(row[80:160])).max()
    assert slopes[4] < 0.8 * slopes[1]


def test_a_site_has_room_and_is_drawn_from_those_that_fit() -> None:
    c = overlay()
    for _ in range(20):
        site = c.site(15, lambda x, y, level: (x < -0.2) & (y > 0))
        assert site is not None and site.x < -0.2 and site.y > 0
        row, column = (c.center + np.array([site.x, site.y]) * c.half)[::-1].astype(int)
        assert c.body[row - 10 : row + 11, column - 10 : column + 11].all()
    assert c.site(15, lambda x, y, level: level > 2) is None
    assert c.site(300, lambda x, y, level: level > 0) is None


def test_a_stone_casts_a_shadow_under_ultrasound() -> None:
    c = overlay(speckled=True)
    draw_finding(c, look_of("ultrasound", "", "stone"), "stone", Site(0, -0.3, 12))
    draw_echo(c, "stone")
    after, (column, row) = c.blended(), c.center.astype(int)
    assert after[row + 20 : row + 40, column - 4 : column + 4].mean() < 45
    assert after[row + 20 : row + 40, column + 40 : column + 50].mean() > 100
