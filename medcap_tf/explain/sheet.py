"""The explanation sheet: image and caption, and for each phrase of it a box and a map, where the claim comes from, and
what it costs to paint its box over, which stands in place of a confidence that the model would give itself.

Axes: n words, h x w regions, H x W pixels.
"""

from __future__ import annotations

import csv
import io
import string
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from medcap_tf.evaluation.metrics import ConceptNames
from medcap_tf.explain.claims import doubtful_claims
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.figures import outlined, overlay
from medcap_tf.explain.finding_words import finding_words
from medcap_tf.explain.plate import Plate
from medcap_tf.explain.regions import Region, find_regions
from medcap_tf.files import write_text
from medcap_tf.text import stop_words

LONGEST_PHRASE = 4  # words: more make no claim of their own
COPIED = 0.5  # of a phrase's probability, from which on it is said to come from similar images
_VERBS = frozenset("showing shows show demonstrating demonstrates reveals revealing noted seen with without".split())
_QUIET = "#595959"
_IMAGE, _ROW, _MAP, _TEXT, _LABEL = 3.6, 1.15, 1.05, 4.6, 0.24  # inches


class Erased(NamedTuple):
    """What the words of a phrase lose, nats a word, where its regions are painted over, and an equal area elsewhere."""

    inside: float
    elsewhere: float | None  # None where the image has no such place


class Claim(NamedTuple):
    """One phrase of a caption, and what it rests on."""

    start: int  # its words, from this one
    end: int  # to before this one
    text: str
    grid: np.ndarray  # float32 [h, w], its map
    regions: tuple[Region, ...]
    sources: tuple[str, ...]  # "concept Effusion (0.93)", "similar image 12 (71% of its probability)", "image"
    erased: Erased | None  # None where its map has no region
    doubts: tuple[str, ...]

    @property
    def effect(self) -> str:
        """What erasure says, in words."""
        if self.erased is None:
            return "its map is flat: no place to paint over"
        inside, elsewhere = self.erased
        beside = "no equal area elsewhere" if elsewhere is None else f"{-elsewhere:+.2f} for an equal area elsewhere"
        return f"painted over: {-inside:+.2f} nats a word ({beside})"


def phrases(words: Sequence[str], ends: Sequence[bool]) -> list[tuple[int, int]]:
    """A caption in phrases, from a word to before a word: marks, stop words and verbs part them and belong to none, a
    finding (`ends`) is a phrase's last word, and none is longer than 4 words."""
    spans: list[tuple[int, int]] = []
    start = 0
    for place, word in enumerate(words):
        bare = word.strip(string.punctuation).lower()
        if not bare or bare in stop_words() or bare in _VERBS:
            spans.append((start, place))
            start = place + 1
        elif _is_last(ends, place) or place + 1 - start == LONGEST_PHRASE or word[-1:] in ".,;:":
            spans.append((start, place + 1))
            start = place + 1
    return [(a, b) for a, b in [*spans, (start, len(words))] if b > a]


def _is_last(ends: Sequence[bool], place: int) -> bool:
    """Whether a finding ends here: "pleural" and "effusion" are words of one."""
    return ends[place] and not any(ends[place + 1 : place + 2])


def claims_of(explanation: Explanation, erased: Sequence[Erased | None] | None = None) -> list[Claim]:
    """The claims of a caption, in its order; empty for one without words.

    Args:
        explanation: of one image.
        erased: for each claim, of the same explanation; None: not measured.
    """
    words, maps = explanation.caption.words, next(iter(explanation.word_maps().values()))
    if not words:
        return []
    names = {code: explanation.caption.concept_label(code) for code, _ in explanation.caption.concepts}
    doubts = doubtful_claims(words, maps, list(names.values()))
    claims = []
    spans = phrases(words, finding_words(explanation))
    for number, (start, end) in enumerate(spans):
        grid, text = maps[start:end].mean(0), " ".join(words[start:end])
        # A doubtful word of no phrase is told with the phrase after it, at the end with the last one.
        first, last = spans[number - 1][1] if number else 0, end if number + 1 < len(spans) else len(words)
        own = tuple(str(doubt) for doubt in doubts if first <= doubt.word < last)
        sources = _sources(explanation, start, end, ConceptNames(names))
        claims.append(
            Claim(start, end, text, grid, find_regions(grid), sources, erased[number] if erased else None, own)
        )
    return claims


def _sources(explanation: Explanation, start: int, end: int, names: ConceptNames) -> tuple[str, ...]:
    text = " ".join(explanation.caption.words[start:end])
    named = names.claims(text).concepts
    sources = [
        f"concept {names.name(code)} ({score:.2f})" for code, score in explanation.caption.concepts if code in named
    ]
    share = explanation.retrieval_share
    copied = float(share[start:end].mean()) if share is not None else 0.0
    if copied >= COPIED:
        holders = [image_id for image_id, caption, _ in explanation.similar if text.lower() in caption.lower()]
        which = f"similar image {holders[0]}" if holders and holders[0] else "similar images"
        sources.append(f"{which} ({copied:.0%} of its probability)")
    return tuple(sources) or ("image",)


def sheet_figure(explanation: Explanation, claims: Sequence[Claim], dpi: int) -> Figure:
    """The sheet of one image: its picture with the claims' boxes by number, and a row a claim with its map."""
    image = explanation.image
    lines = textwrap.wrap(explanation.caption.text or "(no words)", 110)
    top = 0.3 + 0.18 * len(lines)
    high = min(_IMAGE * image.shape[0] / image.shape[1], 1.6 * _IMAGE)
    plate = Plate(_IMAGE + _MAP + _TEXT + 0.5, top + max(high, _ROW * len(claims)) + 0.35, dpi)
    plate.write("\n".join(lines), 0.1, 0.1, 10, "left", "top")
    boxed = outlined(image, [region for claim in claims for region in claim.regions[:1]])
    plate.show(plate.fit(boxed, _IMAGE, high), 0.1, top)
    labels: list[tuple[float, float]] = []
    for number, claim in enumerate(claims, 1):
        for region in claim.regions[:1]:
            left, upper = region.box[0] * _IMAGE + 0.14, top + region.box[1] * high + 0.02
            while any(abs(left - x) < _LABEL and abs(upper - y) < _LABEL for x, y in labels):
                left += _LABEL  # beside the label of a claim from the same place
            labels.append((left, upper))
            plate.write(str(number), left, upper, 9, "left", "top", color="white", backgroundcolor="black")
        _draw_claim(plate, explanation, claim, number, top + _ROW * (number - 1))
    note = "Research, not a medical device. Boxes say what the caption rests on, not where a finding ends."
    plate.write(note, 0.1, plate.height - 0.1, 8, "left", "bottom", color=_QUIET)
    return plate.figure()


def _draw_claim(plate: Plate, explanation: Explanation, claim: Claim, number: int, top: float) -> None:
    small = cv2.resize(explanation.image, (224, 224), interpolation=cv2.INTER_AREA)
    plate.show(plate.fit(overlay(small, claim.grid), _MAP, _MAP), _IMAGE + 0.3, top)
    lines = [
        *textwrap.wrap("from " + ", ".join(claim.sources), 66)[:2],
        claim.regions[0].place if claim.regions else "no place",
        claim.effect,
        *(textwrap.shorten(f"doubt: {doubt}", 66, placeholder="…") for doubt in claim.doubts[:1]),
    ]
    plate.write(f"{number}  {claim.text}", _IMAGE + _MAP + 0.4, top, 10, "left", "top", fontweight="bold")
    plate.write("\n".join(lines), _IMAGE + _MAP + 0.4, top + 0.2, 8, "left", "top")


def write_table(path: Path, sheets: Sequence[tuple[str, Sequence[Claim]]]) -> Path:
    """Write all claims of images, given with their IDs, as one table, atomically; returns its path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow("ID,claim,phrase,left,top,right,bottom,place,source,erased_nats,elsewhere_nats,doubts".split(","))
    for image_id, claims in sheets:
        for number, claim in enumerate(claims, 1):
            box = [f"{end:.3f}" for end in claim.regions[0].box] if claim.regions else [""] * 4
            place = claim.regions[0].place if claim.regions else ""
            erased = [None, None] if claim.erased is None else list(claim.erased)
            numbers = ["" if value is None else f"{value:.4f}" for value in erased]
            rest = ["; ".join(claim.sources), *numbers, "; ".join(claim.doubts)]
            writer.writerow([image_id, number, claim.text, *box, place, *rest])
    write_text(path, text.getvalue())
    return path
