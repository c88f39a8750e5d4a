"""A linter of captions: claims that nothing supports, or that no model can know, each with its reason.

What goes wrong in captions that explain themselves: sides that their own map contradicts, a modality that the concepts
contradict, arrows and their colors, which only the author of a figure has seen, measurements, which need a scale, and
pieces of words.

Axes: n words, h x w regions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from medcap_tf.explain.regions import matching_share
from medcap_tf.phantoms.backgrounds import MODALITIES, VIEWS, told

SIDES = ("left", "right")
LEAST_MATCHING = 1 / 3
"""Of a side's map, less than so much on the half where that side is contradicts it: maps are coarse and spread."""

_PHRASE = 3  # words: a side and what it belongs to
_MARKS = re.compile(r"arrow(?:s|heads?)?|asterisks?|stars?|pointers?|circled?|crosshairs?", re.IGNORECASE)
_COLORS = "white black red yellow blue green orange purple pink gray grey curved open solid dashed".split()
_NUMBER = r"\d+(?:[.,]\d+)?"
_UNITS = r"(?:mm|cm|ml|cc|hu|millimet(?:er|re)s?|centimet(?:er|re)s?)"
_MEASURED = re.compile(rf"(?:{_NUMBER} ?(?:[x×] ?{_NUMBER} ?)*[-\s]?{_UNITS})(?![a-z])", re.IGNORECASE)
# Marks of word pieces, replacement characters, tokens of the vocabulary; six letters and no vowel; one letter thrice
# (but for the numeral III).
_UNREADABLE = re.compile(
    r".*(?:##|\u2581|\u0120|\ufffd|<\w+>).*|[bcdfghjklmnpqrstvwxz]{6,}|\w*([a-hj-wyz])\1\1\w*", re.IGNORECASE
)


class Doubt(NamedTuple):
    """One claim that should not be believed as it stands."""

    word: int  # its place in the caption
    claim: str
    rule: str  # side, modality, mark, measurement, unreadable, repeated
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.claim!r}: {self.reason}"


def doubtful_claims(words: Sequence[str], maps: np.ndarray | None = None, concepts: Sequence[str] = ()) -> list[Doubt]:
    """The doubtful claims of one caption, in its order.

    Args:
        words: of the caption.
        maps: of the words, float [n, h, w], those that say most; None leaves the sides unquestioned.
        concepts: names of what the image shows, as something other than the caption says.
    """
    doubts = [
        *_modalities(words, concepts),
        *_marks(words),
        *_measurements(words),
        *_unreadable(words),
        *_repeated(words),
        *(() if maps is None else _sides(words, maps, concepts)),
    ]
    return sorted(doubts)


def _sides(words: Sequence[str], maps: np.ndarray, concepts: Sequence[str]) -> Iterator[Doubt]:
    """By convention the patient's left is on the image's right, in frontal views and in axial and coronal sections."""
    sources = [" ".join(words), " ; ".join(concepts)]
    if told(sources, VIEWS) == "other" or told(sources, MODALITIES) == "ultrasound":
        return
    places = [i for i, word in enumerate(words) if _bare(word) in SIDES]
    for place, following in zip(places, [*places[1:], len(words)]):
        side = _bare(words[place])
        end = min(place + _PHRASE, following)
        share = matching_share(maps[place:end].mean(0), side)
        if share < LEAST_MATCHING:
            reason = f"{1 - share:.0%} of its map lies on the other half of the image, the patient's {_other(side)}"
            yield Doubt(place, " ".join(words[place:end]), "side", f"{reason} by convention")


def _modalities(words: Sequence[str], concepts: Sequence[str]) -> Iterator[Doubt]:
    # UMLS calls MR "Resonance" on these images.
    shown = set().union(*({"MR"} if name.strip().lower() == "resonance" else _modality_of(name) for name in concepts))
    bare = [_bare(word) for word in words]
    for place, word in enumerate(bare):
        pair = bare[place : place + 2]
        # "Magnetic resonance" says it in two words, neither of which does alone.
        claim = word if _modality_of(word) or any(map(_modality_of, pair[1:])) else " ".join(pair)
        said = _modality_of(claim)
        if len(shown) == 1 and said and not said & shown:
            yield Doubt(place, claim, "modality", f"the image's concepts say {', '.join(shown)}")


def _modality_of(text: str) -> set[str]:
    """The modalities that a name or some words say: UMLS calls CT "X-Ray Computed Tomography"."""
    said = {modality for modality in MODALITIES if told([text], [modality])}
    return said - {"radiograph"} if "CT" in said else said


def _marks(words: Sequence[str]) -> Iterator[Doubt]:
    for place, word in enumerate(words):
        if _MARKS.fullmatch(_bare(word)):
            colored = place > 0 and _bare(words[place - 1]) in _COLORS
            claim = " ".join(words[place - colored : place + 1])
            yield Doubt(place - colored, claim, "mark", "the author of a figure draws it; a model cannot know it")


def _measurements(words: Sequence[str]) -> Iterator[Doubt]:
    text = " ".join(words)
    for match in _MEASURED.finditer(text):
        place = text[: match.start()].count(" ")
        yield Doubt(place, match.group(), "measurement", "the image as the model sees it has no scale")


def _unreadable(words: Sequence[str]) -> Iterator[Doubt]:
    for place, word in enumerate(words):
        if _UNREADABLE.fullmatch(_bare(word)):
            yield Doubt(place, word, "unreadable", "it reads as a piece of a word")


def _repeated(words: Sequence[str]) -> Iterator[Doubt]:
    bare = [_bare(word) for word in words]
    covered = -1
    for place in range(len(bare)):
        for length in (3, 2, 1):
            again = bare[place + length : place + 2 * length]
            if place > covered and len(again) == length and bare[place : place + length] == again:
                covered = place + length
                yield Doubt(place + length, " ".join(words[covered : covered + length]), "repeated", "it says so twice")
                break


def _bare(word: str) -> str:
    return word.strip(".,;:()[]'\"").lower()


def _other(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]
