"""Findings that the image does not show: which concepts, sides and organs a caption names, against what is true of the
image, as clinical metrics ask (CheXbert F1, RadGraph F1), from names and word lists alone.

What is true of an image is what its reference caption names and what its codes are called. A caption names a concept
where the words of its name stand side by side, as official tokens (stems); "Pacemaker, Artificial" is found as
"artificial pacemaker", too.

N is the number of images.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from medcap_tf.evaluation.metrics.captions import official_tokens
from medcap_tf.evaluation.metrics.sufficient_statistics import SufficientStatistics, ratio_of

_SIDES = {"left": {"left"}, "right": {"right"}, "bilateral": {"left", "right"}, "both": {"left", "right"}}

# Organ or region: the region it lies in, then the words that mean it.
_ORGANS: Mapping[str, tuple[str, str]] = {
    "brain": ("head", "brain cerebral cerebrum intracranial cerebellum cerebellar"),
    "skull": ("head", "skull cranial cranium"),
    "orbit": ("head", "orbit orbital eye ocular"),
    "jaw": ("head", "jaw mandible mandibular maxilla maxillary"),
    "thyroid": ("neck", "thyroid"),
    "lung": ("chest", "lung pulmonary pneumothorax"),
    "pleura": ("chest", "pleura pleural"),
    "heart": ("chest", "heart cardiac ventricular atrial pericardial"),
    "mediastinum": ("chest", "mediastinum mediastinal"),
    "esophagus": ("chest", "esophagus esophageal oesophagus"),
    "breast": ("breast", "breast mammary"),
    "liver": ("abdomen", "liver hepatic"),
    "gallbladder": ("abdomen", "gallbladder biliary cholelithiasis"),
    "pancreas": ("abdomen", "pancreas pancreatic"),
    "spleen": ("abdomen", "spleen splenic"),
    "stomach": ("abdomen", "stomach gastric"),
    "kidney": ("abdomen", "kidney renal"),
    "adrenal gland": ("abdomen", "adrenal suprarenal"),
    "bowel": ("abdomen", "bowel intestine intestinal colon colonic duodenum duodenal ileum jejunum appendix"),
    "urinary bladder": ("pelvis", "bladder"),
    "uterus": ("pelvis", "uterus uterine"),
    "ovary": ("pelvis", "ovary ovarian"),
    "prostate": ("pelvis", "prostate prostatic"),
    "shoulder": ("arm", "shoulder humerus humeral clavicle"),
    "elbow": ("arm", "elbow"),
    "hand": ("arm", "hand wrist carpal finger"),
    "hip": ("leg", "hip femur femoral"),
    "knee": ("leg", "knee patella patellar tibia tibial"),
    "foot": ("leg", "foot ankle"),
    "head": ("head", "head"),
    "neck": ("neck", "neck"),
    "chest": ("chest", "chest thorax thoracic"),
    "abdomen": ("abdomen", "abdomen abdominal"),
    "pelvis": ("pelvis", "pelvis pelvic"),
    "spine": ("spine", "spine spinal vertebra vertebral lumbar"),
}
_REGIONS = frozenset(region for region, _ in _ORGANS.values())


class Claims(NamedTuple):
    """What a text names."""

    concepts: frozenset[str]  # codes
    sides: frozenset[str]  # left, right
    organs: frozenset[str]  # keys of the list of organs and regions


class ConceptNames:
    """Finds the names of concepts in captions; of names within a longer one that is there, the longer one counts.

    Args:
        names: code -> name. What stands in parentheses is no part of a name, what stands after a comma may stand
            before it; names without a word are passed over.
    """

    def __init__(self, names: Mapping[str, str]):
        self._codes: dict[tuple[str, ...], set[str]] = {}
        for code, name in names.items():
            parts = [_stems(part) for part in re.sub(r"\(.*?\)", " ", name).split(",")]
            for stems in (sum(parts, ()), sum(reversed(parts), ())):
                if stems:
                    self._codes.setdefault(stems, set()).add(code)
        self._lengths = sorted({len(stems) for stems in self._codes}, reverse=True)
        self._names = names

    def __bool__(self) -> bool:
        return bool(self._codes)

    def name(self, code: str) -> str:
        """What a code is called; the code itself where nobody says."""
        return self._names.get(code, code)

    def claims(self, caption: str, codes: Collection[str] = ()) -> Claims:
        """What a caption names, with what `codes` are called."""
        tokens = _stems(caption)
        named = [token for code in codes for token in _stems(self._names.get(code, ""))]
        every = [*tokens, *named]
        sides = frozenset(side for token in tokens for side in _sides().get(token, ()))
        organs = frozenset(organ for token in every for organ in _organs().get(token, ()))
        return Claims(frozenset(self._in(tokens)) | frozenset(codes), sides, organs)

    def _in(self, tokens: tuple[str, ...]) -> set[str]:
        found_codes: set[str] = set()
        taken = [False] * len(tokens)
        for length in self._lengths:
            for start in range(len(tokens) - length + 1):
                own = slice(start, start + length)
                codes = self._codes.get(tokens[own])
                if codes and not all(taken[own]):
                    found_codes |= codes
                    taken[own] = [True] * length
        return found_codes


def finding_parts(
    references: Sequence[str],
    candidates: Sequence[str],
    codes: Sequence[Collection[str]],
    names: ConceptNames,
) -> dict[str, SufficientStatistics]:
    """How far captions name what N images show, by image; NaN where there is nothing to count, and the note says so.

    Args:
        references: one caption an image.
        candidates: what was generated.
        codes: the true codes of each image.
        names: of the concepts.

    Returns:
        `finding_precision`: of the concepts that the captions name, the share that is true of their image;
        `finding_recall`: of those that the references name, the share that the captions name; `wrong_side` and
        `wrong_organ`: of the images where reference and caption both name one, the share whose caption names one that
        the image does not show. The last two are better the lower they are.
    """
    true = [names.claims(text, own) for text, own in zip(references, codes)]
    wanted = [names.claims(text).concepts for text in references]
    claims = [names.claims(text) for text in candidates]
    pairs = list(zip(claims, true))
    sides = [(bool(c.sides and t.sides), bool(c.sides - t.sides)) for c, t in pairs]
    organs = [(bool(c.organs and t.organs), bool(wrong_organs(c.organs, t.organs))) for c, t in pairs]
    return {
        "finding_precision": _counted(
            [(len(c.concepts), len(c.concepts & t.concepts)) for c, t in pairs], "no caption names a concept"
        ),
        "finding_recall": _counted(
            [(len(w), len(c.concepts & w)) for c, w in zip(claims, wanted)], "no reference names a concept"
        ),
        "wrong_side": _counted(sides, "no image has a side in both its reference and its caption"),
        "wrong_organ": _counted(organs, "no image has an organ in both its reference and its caption"),
    }


def wrong_organs(named: Collection[str], true: Collection[str]) -> set[str]:
    """The organs and regions that are named and not true. A region is true with any organ in it; an organ with its
    region alone is not contradicted. Empty where nothing is known to be true."""
    regions = {_ORGANS[organ][0] for organ in true}
    whole = {organ for organ in true if organ in _REGIONS}
    if not true:
        return set()
    return {
        organ
        for organ in named
        if organ not in true and not (organ in regions if organ in _REGIONS else _ORGANS[organ][0] in whole)
    }


def _stems(text: str) -> tuple[str, ...]:
    """Official tokens, with the words around a hyphen apart."""
    return tuple(official_tokens(text.replace("-", " ")))


def _counted(pairs: Sequence[tuple[float, float]], nothing: str) -> SufficientStatistics:
    """Pairs of how much counts in an image, and how much of that is so; `nothing` is the note where none counts."""
    counted = [float(counts) for counts, _ in pairs]
    so = [float(min(counts, value)) for counts, value in pairs]
    return ratio_of(so, counted, lambda values: "" if values[:, 1].any() else nothing)


@lru_cache(maxsize=1)
def _sides() -> Mapping[str, frozenset[str]]:
    """Stem -> sides. "Both" is a stop word of the official tokens and is not seen."""
    return {stem: frozenset(sides) for word, sides in _SIDES.items() for stem in official_tokens(word)}


@lru_cache(maxsize=1)
def _organs() -> Mapping[str, frozenset[str]]:
    """Stem -> organs and regions; a stem may belong to two ("bladder" to its own and to none of the gallbladder's)."""
    organs: dict[str, set[str]] = {}
    for organ, (_, words) in _ORGANS.items():
        for stem in official_tokens(words):
            organs.setdefault(stem, set()).add(organ)
    return {stem: frozenset(own) for stem, own in organs.items()}
