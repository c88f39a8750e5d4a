"""The captions that need looking at most: those furthest from their references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from medcap_tf.caption import Caption
from medcap_tf.evaluation.metrics import caption_scores

SCORE = "meteor"  # made for single sentences, unlike BLEU (Banerjee and Lavie 2005)


def worst(captions: Iterable[Caption], references: Mapping[str, str], count: int) -> list[Caption]:
    """The `count` captions with the lowest score, lowest first; ties keep their order.

    Args:
        captions: of images; one that could not be read comes before all others, one without a reference is left out.
        references: by the captions' `key`: the image's ID, or else its path.
        count: how many at most.
    """
    known = [caption for caption in captions if caption.error or references.get(caption.key)]
    return sorted(known, key=lambda caption: _score(caption, references))[:count]


def _score(caption: Caption, references: Mapping[str, str]) -> float:
    if caption.error:
        return -1.0
    return caption_scores([references[caption.key]], [caption.text])[SCORE]
