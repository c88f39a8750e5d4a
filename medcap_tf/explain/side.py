"""Does the evidence for "left" lie where the patient's left is? A measure for real images, which have no masks.

By radiological convention the patient's left is on the image's right in frontal views and in axial and coronal
sections. That is assumed of every image whose words name no other view; lateral, sagittal and oblique views, and
ultrasound, are left out.

Axes: n words, h x w regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.captioner import RunCaptioner
from medcap_tf.explain.attribution import Attributor
from medcap_tf.explain.captioned import CaptionedImage, bar
from medcap_tf.explain.pointing import bootstrap, means
from medcap_tf.explain.regions import matching_share
from medcap_tf.phantoms.backgrounds import MODALITIES, VIEWS, told

SIDES = ("left", "right")
_ENDS = ("low", "high")  # of an interval


class SideCase(NamedTuple):
    """One word of a caption that names one side: the side's own word, or a finding's."""

    image: int  # its number
    side: str  # of SIDES: the patient's
    is_finding: bool
    is_right: bool  # the reference names this side, and not the other
    maps: Mapping[str, np.ndarray]  # by name, float32 [h, w] each


def side_measure(
    captioner: RunCaptioner, attributor: Attributor, captioned: Sequence[CaptionedImage], words: Mapping[str, str]
) -> dict[str, float]:
    """On which half of the image the maps of a caption lie that names one side.

    Args:
        captioner: a loaded run.
        attributor: of it.
        captioned: images with their captions.
        words: what stems name, `finding` or `place`.

    Returns:
        As of `side_rates`, and how many images' captions name a side (`images`), of how many of these a view was
        assumed (`assumed`), and how many were left out for another view (`left_out`); empty where none is left.
    """
    named = [item for item in captioned if len(sides_named(item.caption.words)) == 1]
    views = [view_of(captioner, item) for item in named]
    kept = [item for item, view in zip(named, views) if view != "other"]
    counts = {"images": len(kept), "assumed": views.count(""), "left_out": len(named) - len(kept)}
    rates = side_rates(_cases(attributor, kept, words))
    return {**counts, **rates} if rates else {}


def view_of(captioner: RunCaptioner, item: CaptionedImage) -> str:
    """`frontal` or `axial`; `other` where sides cannot be told; "" where no word says."""
    codes = " ; ".join(captioner.concept_names.get(code, code).replace("_", " ") for code in item.record.concepts)
    sources = [codes, item.record.caption, item.caption.text]
    return "other" if told(sources, MODALITIES) == "ultrasound" else told(sources, VIEWS)


def sides_named(words: Iterable[str]) -> set[str]:
    """The sides among the words of a caption."""
    return {word.lower().strip(".,;:()") for word in words} & set(SIDES)


def _cases(attributor: Attributor, captioned: Sequence[CaptionedImage], words: Mapping[str, str]) -> Iterable[SideCase]:
    for number, item in enumerate(bar(captioned, "sides")):
        (side,) = sides_named(item.caption.words)
        maps = attributor.words(item.pixels, item.caption.tokens)
        is_right = sides_named(item.record.caption.split()) == {side}
        for i, (word, stem) in enumerate(zip(item.caption.words, item.caption.stems)):
            is_finding = words.get(stem) == "finding"
            if is_finding or sides_named([word]):
                yield SideCase(
                    number, side, is_finding, is_right, {name: grids[i] for name, grids in maps.compared().items()}
                )


def side_rates(cases: Iterable[SideCase]) -> dict[str, float]:
    """How the maps of such words lie.

    Returns:
        `words`, how many name a side; by map the share of them whose map lies on the matching half for more than a half
        (a map that knows nothing: `random`, 0.5), with `_mass` the mean share that lies there, with `_low` and `_high`
        a 95% bootstrap interval over images; `right_*` of those whose side the reference has too; `finding_*` of words
        that name a finding in captions with one side. Empty where no word names a side.
    """
    known = list(cases)
    sides = [case for case in known if not case.is_finding]
    if not sides:
        return {}
    own = [(case.image, _row(case)) for case in sides]
    groups = {
        "right": [_row(case) for case in sides if case.is_right],
        "finding": [_row(case) for case in known if case.is_finding],
    }
    rates: dict[str, float] = {"words": len(sides), "random": 0.5, **means([row for _, row in own])}
    for group, rows in groups.items():
        rates.update({f"{group}_{name}": value for name, value in means(rows).items()})
    shares = [(image, {name: value for name, value in row.items() if not name.endswith("_mass")}) for image, row in own]
    ends = bootstrap(shares)
    return {**rates, **{f"{name}_{end}": value for name, pair in ends.items() for end, value in zip(_ENDS, pair)}}


def _row(case: SideCase) -> dict[str, float]:
    """By map whether it lies on the matching half, and with `_mass` how much of it; no map that is all 0."""
    shares = {name: matching_share(grid, case.side) for name, grid in case.maps.items() if grid.any()}
    return {
        **{name: float(share > 0.5) for name, share in shares.items()},
        **{f"{name}_mass": share for name, share in shares.items()},
    }
