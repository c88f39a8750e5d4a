"""What a caption states is where the mask is, and in the concepts."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from medcap_tf.phantoms import CONCEPTS, Phantom, draw_phantom


@pytest.fixture(scope="module")
def many() -> list[Phantom]:
    return [draw_phantom(seed) for seed in range(240)]


def test_every_scene_and_finding_occurs(many: list[Phantom]) -> None:
    scenes = {(phantom.modality, phantom.region) for phantom in many}
    assert scenes == {
        *(("radiograph", "chest"), ("CT", "chest"), ("CT", "brain"), ("MR", "brain")),
        *(("CT", "abdomen"), ("MR", "abdomen"), ("ultrasound", "abdomen")),
    }
    kinds = {phantom.finding.kind for phantom in many if phantom.finding}
    assert kinds == {
        *("nodule", "consolidation", "effusion", "pneumothorax", "hemorrhage", "infarct", "tumor"),
        *("cyst", "mass", "stone"),
    }


def test_images_vary_in_size_and_aspect(many: list[Phantom]) -> None:
    for phantom in many:
        assert phantom.image.dtype == phantom.mask.dtype == np.uint8
        assert phantom.image.shape == phantom.mask.shape
        assert 180 <= min(phantom.image.shape) <= max(phantom.image.shape) <= 288
        assert phantom.image.std() > 20, "a flat picture"
    aspects = [phantom.image.shape[1] / phantom.image.shape[0] for phantom in many]
    assert min(aspects) < 0.95 < 1.1 < max(aspects)


def test_about_a_fifth_is_normal(many: list[Phantom]) -> None:
    normal = [phantom for phantom in many if phantom.finding is None]
    assert 0.12 < len(normal) / len(many) < 0.28  # three standard deviations of 240 draws at 0.2
    assert all(re.search("normal|abnormality", phantom.caption, re.I) for phantom in normal)


def test_mask_is_there_exactly_when_a_finding_is_stated(many: list[Phantom]) -> None:
    for phantom in many:
        assert set(np.unique(phantom.mask)) == ({0, 255} if phantom.finding else {0})
        assert bool(re.search("normal|abnormality", phantom.caption, re.I)) == (phantom.finding is None)


def test_caption_states_the_finding(many: list[Phantom]) -> None:
    for phantom in many:
        words = re.findall(r"[a-z]+", phantom.caption.lower())
        assert 4 <= len(words) <= 44
        if phantom.finding:
            finding = phantom.finding
            stated = {finding.side, finding.zone, finding.size, "two" if finding.number == 2 else "a"} - {""}
            assert stated <= set(words), phantom.caption
            stems = (finding.kind, "calcul") if finding.kind == "stone" else (finding.kind,)
            assert any(word.startswith(stems) for word in words), phantom.caption


def test_finding_lies_on_the_stated_side(many: list[Phantom]) -> None:
    """The radiological convention: the patient's right is at image left. Ultrasound shows one organ from close by."""
    checked = 0
    for phantom in many:
        if phantom.finding and phantom.finding.side and phantom.modality != "ultrasound":
            center = np.nonzero(phantom.mask)[1].mean() / phantom.mask.shape[1]
            assert (center < 0.5) == (phantom.finding.side == "right"), phantom.caption
            checked += 1
    assert checked > 100


def test_finding_lies_in_the_stated_zone(many: list[Phantom]) -> None:
    heights: dict[str, list[float]] = {}
    for phantom in many:
        if phantom.finding and phantom.finding.zone and phantom.modality != "ultrasound":
            rows = np.nonzero(phantom.mask)[0]
            heights.setdefault(phantom.finding.zone, []).append(rows.mean() / phantom.mask.shape[0])
    assert max(heights["upper"]) < min(heights["lower"])
    assert max(heights["anterior"]) < min(heights["posterior"])
    assert max(heights["frontal"]) < min(heights["parietal"])
    assert max(heights["parietal"]) < min(heights["occipital"])


def test_large_findings_are_larger(many: list[Phantom]) -> None:
    areas: dict[tuple[str, str], list[float]] = {}
    for phantom in many:
        if phantom.finding and phantom.finding.number == 1 and phantom.finding.organ != "pleura":
            key = phantom.finding.kind, phantom.finding.size
            areas.setdefault(key, []).append((phantom.mask > 0).mean())
    for kind in ("nodule", "consolidation", "hemorrhage", "infarct", "tumor", "cyst", "mass"):
        assert min(areas[kind, "large"]) > 1.4 * max(areas[kind, "small"]), kind


def test_plural_means_two_separate_spots(many: list[Phantom]) -> None:
    pairs = 0
    for phantom in many:
        if phantom.finding and phantom.finding.kind in ("nodule", "cyst", "stone"):
            spots = cv2.connectedComponents(phantom.mask)[0] - 1
            assert spots == phantom.finding.number, phantom.caption
            pairs += spots == 2
    assert pairs > 5


def test_concepts_are_umls_codes_that_fit(many: list[Phantom]) -> None:
    assert all(re.fullmatch(r"C\d{7}", code) for code in CONCEPTS)
    used = {code for phantom in many for code in phantom.concepts}
    assert used == set(CONCEPTS)
    kinds = {"cyst": "Cyst", "effusion": "Effusion", "tumor": "Neoplasms", "pneumothorax": "Pneumothorax"}
    modalities = {"radiograph": "Plain x-ray", "MR": "Resonance", "ultrasound": "Ultrasonography"}
    for phantom in many:
        names = [CONCEPTS[code] for code in phantom.concepts]
        assert len(set(names)) == len(names)
        assert names[:2] == [
            modalities.get(phantom.modality, "X-Ray Computed Tomography"),
            phantom.region.capitalize(),
        ]
        of_finding = names[2 : len(names) - len(phantom.incidentals)]
        assert bool(of_finding) == (phantom.finding is not None)
        if phantom.finding and phantom.finding.kind in kinds:
            assert of_finding[-1] == kinds[phantom.finding.kind]


def test_vocabulary_is_small_and_not_trivial(many: list[Phantom]) -> None:
    words = {word for phantom in many for word in re.findall(r"[a-z]+[0-9]?", phantom.caption.lower())}
    assert 120 < len(words) < 180
    assert len({phantom.caption for phantom in many}) > 150


def test_draw_phantom_repeats_itself() -> None:
    first, again, other = draw_phantom(11), draw_phantom(11), draw_phantom(12)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first[2:] == again[2:]
    assert first.image.shape != other.image.shape or (first.image != other.image).any()
