"""What lies beside a finding is drawn, stated and coded, or none of the three, and says nothing about the finding."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import cv2
import numpy as np
import pytest

from medcap_tf.phantoms import INCIDENTAL_SHARE, Phantom, draw_phantom, phantom
from medcap_tf.phantoms.findings import Finding, choose_finding
from medcap_tf.phantoms.incidental import choose_incidentals
from medcap_tf.phantoms.wording import caption_of

CODES = {
    **{"catheter": "C0085590", "pacemaker": "C0030163", "stent": "C0038257", "needle": "C0027551"},
    **{"tube": "C0175730", "implant": "C0021102", "electrode": "C0013812", "splenomegaly": "C0038002"},
    **{"calcification": "C0006663", "hydrocephalus": "C0020255", "ascites": "C0003962", "clip": "C0175722"},
    **{"prosthesis": "C0175649", "emphysema": "C0013990", "hematoma": "C0018944", "atrophy": "C0333641"},
    **{"screw": "C0301559", "lymphadenopathy": "C0497156"},
}
KINDS = {
    ("radiograph", "chest"): ("prosthesis", "tube", "catheter", "pacemaker", "clip", "electrode"),
    ("CT", "chest"): ("implant", "emphysema", "pacemaker", "calcification", "prosthesis", "tube"),
    ("CT", "brain"): ("hydrocephalus", "catheter", "calcification", "electrode", "clip", "hematoma"),
    ("MR", "brain"): ("hydrocephalus", "atrophy", "catheter", "electrode", "clip", "hematoma"),
    ("CT", "abdomen"): ("splenomegaly", "ascites", "stent", "calcification", "tube", "screw"),
    ("MR", "abdomen"): ("splenomegaly", "ascites", "stent", "lymphadenopathy", "catheter", "screw"),
    ("ultrasound", "abdomen"): ("ascites", "lymphadenopathy", "calcification", "needle", "catheter", "electrode"),
}


@pytest.fixture(scope="module")
def many() -> list[Phantom]:
    return [draw_phantom(seed) for seed in range(240)]


def drawn_with(monkeypatch: pytest.MonkeyPatch, seed: int, kinds: tuple[str, ...]) -> Phantom:
    """The phantom of a seed with other incidental things, the choice itself having drawn the same random numbers."""
    with monkeypatch.context() as patch:
        patch.setattr(phantom, "choose_incidentals", lambda *given: (choose_incidentals(*given), kinds)[1])
        return draw_phantom(seed)


def test_drawn_around_the_finding_and_clearly_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[tuple[str, str, str]] = Counter()
    for seed in range(60):
        bare = drawn_with(monkeypatch, seed, ())
        for kind in KINDS[bare.modality, bare.region]:
            shown = drawn_with(monkeypatch, seed, (kind,))
            np.testing.assert_array_equal(shown.mask, bare.mask)
            np.testing.assert_array_equal(shown.image[bare.mask > 0], bare.image[bare.mask > 0])
            small = [cv2.resize(x.image, (112, 112), interpolation=cv2.INTER_AREA).astype(int) for x in (bare, shown)]
            changed = np.abs(small[1] - small[0]) > 25  # of 255; noise differs nowhere
            assert 40 < changed.sum() < 0.2 * changed.size, (kind, seed)
            seen[bare.modality, bare.region, kind] += 1
    assert set(seen) == {(*scene, kind) for scene, kinds in KINDS.items() for kind in kinds}


def test_stated_and_coded_exactly_when_drawn(many: list[Phantom]) -> None:
    for one in many:
        assert set(one.incidentals) <= set(KINDS[one.modality, one.region])
        for kind, code in CODES.items():
            assert (kind in one.caption.lower()) == (code in one.concepts) == (kind in one.incidentals), one.caption
    assert {kind for one in many for kind in one.incidentals} == set(CODES)


def test_every_finding_occurs_with_every_set_alike() -> None:
    for scene, kinds in KINDS.items():
        met: dict[str, list[tuple[str, ...]]] = {}
        for seed in range(3000):
            rng = np.random.default_rng(seed)
            finding, chosen = choose_finding(rng, *scene), choose_incidentals(rng, *scene)
            met.setdefault(finding.kind if finding else "none", []).append(chosen)
        assert len(met) > 2
        for finding_kind, sets in met.items():
            assert max(map(len, sets)) <= 4
            assert {chosen for count in range(3) for chosen in itertools.combinations(kinds, count)} <= set(sets)
            for kind in kinds:
                share = sum(kind in chosen for chosen in sets) / len(sets)
                assert abs(share - INCIDENTAL_SHARE) < 0.1, (scene, finding_kind)  # four deviations of 350 draws


def test_kinds_come_independently_and_never_five_at_once() -> None:
    kinds = KINDS["CT", "brain"]
    sets = [choose_incidentals(np.random.default_rng(seed), "CT", "brain") for seed in range(6000)]
    counts = Counter(map(len, sets))
    assert set(counts) == {0, 1, 2, 3, 4}
    assert abs(sum(map(len, sets)) / len(sets) - 6 * INCIDENTAL_SHARE) < 0.05
    for first, second in itertools.combinations(kinds, 2):
        both = sum(first in chosen and second in chosen for chosen in sets) / len(sets)
        assert abs(both - INCIDENTAL_SHARE**2) < 0.013, (first, second)  # nearly five deviations of 6000 draws


def captions(incidentals: tuple[str, ...], finding: Finding | None = None, region: str = "brain") -> set[str]:
    return {caption_of(np.random.default_rng(n), "CT", region, "CT", finding, incidentals) for n in range(400)}


def test_articles_and_verbs_agree() -> None:
    tumor = Finding("tumor", "brain", "left", "frontal", "small", 1)
    catheter = captions(("catheter",), tumor)
    assert any(caption.endswith("lobe. There is a ventricular catheter.") for caption in catheter)
    assert any(caption.endswith("lobe. A ventricular catheter is seen.") for caption in catheter)
    assert any(caption.endswith("lobe, with a ventricular catheter.") for caption in catheter)
    chalk = captions(("calcification",), tumor)
    assert any(caption.endswith("There are calcifications of the choroid plexus.") for caption in chalk)
    assert any(caption.endswith("Calcification of the choroid plexus is seen.") for caption in chalk)
    assert not any(re.search("(There is|There are a) .*calcifications|calcifications.* is seen", one) for one in chalk)
    both = captions(("catheter", "calcification"), tumor)
    assert any(
        caption.endswith("A ventricular catheter and calcifications of the choroid plexus are seen.")
        for caption in both
    )
    assert not any(re.search("There are a|is seen", caption) for caption in both)
    three = captions(("hydrocephalus", "catheter", "electrode"), tumor)
    assert any("There is hydrocephalus, a ventricular catheter and deep brain electrodes." in one for one in three)


def test_one_kind_is_named_by_what_it_is_in_its_scene() -> None:
    def named(modality: str, region: str, kind: str) -> set[str]:
        drawn = (caption_of(np.random.default_rng(n), modality, region, "T2", None, (kind,)) for n in range(400))
        return {re.sub(".* with |.* showing |, .*|[.]", "", caption) for caption in drawn}

    assert named("radiograph", "chest", "tube") == {"a nasogastric tube", "a gastric tube"}
    assert named("CT", "chest", "tube") == {"a chest tube", "a thoracic drainage tube"}
    assert named("ultrasound", "abdomen", "electrode") == {"an ablation electrode", "a radiofrequency electrode"}
    assert named("CT", "abdomen", "calcification") == {
        *("aortic calcification", "calcification of the aorta", "aortic calcifications"),
    }


def test_without_a_finding_only_the_rest_is_normal() -> None:
    alone = captions(("ascites",), region="abdomen")
    assert "CT scan of the abdomen showing ascites, otherwise normal." in alone
    assert "Otherwise normal CT scan of the abdomen with ascites." in alone
    assert all(re.search("otherwise normal|other abnormality", caption, re.I) for caption in alone)
    plain = captions((), region="abdomen")
    assert len(plain) > 10
    assert not any(re.search("other|ascites", caption, re.I) for caption in plain)


@pytest.mark.parametrize(("region", "kind"), [("brain", "catheter"), ("brain", "clip"), ("abdomen", "stent")])
def test_devices_are_bright_in_ct_and_dark_in_mr(monkeypatch: pytest.MonkeyPatch, region: str, kind: str) -> None:
    checked = Counter()
    for seed in range(80):
        bare = drawn_with(monkeypatch, seed, ())
        if bare.region == region and bare.modality in ("CT", "MR"):
            shown = drawn_with(monkeypatch, seed, (kind,)).image.astype(int)
            changed = np.abs(shown - bare.image) > 25
            assert (shown[changed].max() > 230) if bare.modality == "CT" else (shown[changed].min() < 40), seed
            checked[bare.modality] += 1
    assert min(checked["CT"], checked["MR"]) > 3
