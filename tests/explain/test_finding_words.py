"""Which words name what was found: by the concepts' names, without what was taken or where."""

from __future__ import annotations

import dataclasses

from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.finding_words import finding_words
from tests.explain.test_report import explanation_of

NAMES = {"A": "Plain x-ray", "B": "Chest", "C": "Catheters", "D": "Sarcoidosis of the lung"}


def explained(words: tuple[str, ...], codes: str, names: dict[str, str] = NAMES) -> Explanation:
    explanation = explanation_of(words=words)
    concepts = tuple((code, 0.9) for code in codes)
    caption = dataclasses.replace(explanation.caption, concepts=concepts, concept_names=names)
    return dataclasses.replace(explanation, caption=caption)


def test_concepts_of_the_image_name_findings():
    words = ("radiograph", "chest", "sarcoid", "sarcoidosis", "catheter", "left", "lung")
    assert finding_words(explained(words, "ABCD")) == [False, False, False, True, True, False, False]
    assert finding_words(explained(words, "AB")) == [False] * 7


def test_without_names_those_of_phantoms_count():
    assert finding_words(explained(("large", "effusions", "right"), "A", {})) == [False, True, False]
