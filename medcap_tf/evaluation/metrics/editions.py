"""The scores of the ImageCLEFmed Caption editions 2021 to 2026, each as that edition's own script counts them.

Sources: the evaluators of 2025 and 2026 are public (github.com/taubsity/clef-caption-evaluation and
.../clef-caption-evaluation-2026), those of 2022 in participants' copies; of 2023 and 2024 the task's descriptions tell
the steps, and 2024's BLEU-1 and CIDEr, whose script nobody has published, are computed on 2023's text.

A score of an edition is called `imageclef_YEAR_NAME`. What needs a model's weights, or has no public script, is listed
in `Edition.absent_here` and never stands for a number: an overall score exists with all of its parts or not at all.

N is the number of images.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from medcap_tf.evaluation.metrics.captions import (
    caption_parts,
    corpus_parts,
    sentence_bleu_of_nltk_3_2_2,
)
from medcap_tf.evaluation.metrics.concepts import ConceptSets, upper
from medcap_tf.evaluation.metrics.sufficient_statistics import SufficientStatistics, check_pairs, mean_of, ratio_of
from medcap_tf.text import Normalizer

# Modality and anatomy, checked by hand: the secondary score of 2023 and later looks at these alone.
MANUAL_CODES = frozenset(
    "C0002978 C0040405 C0024485 C0032743 C0041618 C1306645 C1140618 C0037949 C0030797 C0023216 C0037303 C0817096 "
    "C0006141 C0000726 C0920367".split()
)

_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_OF_2022 = Normalizer(stemmer="none", remove_stop_words=True)
_NO_SCRIPT = "its script is not public"


class Mean(NamedTuple):
    """A score that is the mean of others; it exists where all of them do."""

    of: tuple[str, ...]
    note: str = ""


class Edition(NamedTuple):
    """What one year's script scores, in its order."""

    captions: tuple[str, ...]
    concepts: tuple[str, ...]
    means: Mapping[str, Mean] = {}  # each after the scores that it needs
    unknown: Mapping[str, str] = {}  # scores that no public code computes -> why


_RELEVANCE = ("bertscore", "rouge_1", "similarity", "bleurt")
_FACTUALITY = ("umls_f1", "alignscore")
_MEANS_OF_2025 = {
    "relevance": Mean(_RELEVANCE),
    "factuality": Mean(_FACTUALITY),
    "overall": Mean(("relevance", "factuality"), "of 6 scores; tables that leave BLEURT out are higher"),
    "relevance_without_bleurt": Mean(("bertscore", "rouge_1", "similarity")),
    "overall_without_bleurt": Mean(
        ("relevance_without_bleurt", "factuality"), "of 5 scores, as the public script has it"
    ),
}
_OF_2025 = Edition((*_RELEVANCE, *_FACTUALITY), ("concept_f1", "concept_f1_manual"), _MEANS_OF_2025)

EDITIONS: Mapping[str, Edition] = {
    "2021": Edition(("bleu",), ("concept_f1",)),
    "2022": Edition(("bleu", "rouge_1"), ("concept_f1",)),
    "2023": Edition(("bertscore", "rouge_1"), ("concept_f1", "concept_f1_manual")),
    "2024": Edition(
        ("bertscore", "rouge_1", "bleurt", "bleu_1", "meteor", "cider", "clipscore", "refclipscore"),
        ("concept_f1", "concept_f1_manual"),
        unknown=dict.fromkeys(("meteor", "clipscore", "refclipscore"), _NO_SCRIPT),
    ),
    "2025": _OF_2025,
    "2026": _OF_2025,
}


def text_of_2023(caption: str) -> str:
    """A caption as the editions from 2023 on compare it: lower case, each run of digits the word "number", then every
    ASCII punctuation mark deleted. Dashes and signs outside ASCII stay."""
    return re.sub(r"\d+", "number", caption.lower()).translate(_DELETE_PUNCTUATION)


def tokens_of_2022(caption: str) -> list[str]:
    """A caption's words as 2022 compares them: 2021's without the stems."""
    return _OF_2022.stems(caption)


def score_name(year: str, name: str) -> str:
    """What an edition's score is called beside the others."""
    return f"imageclef_{year}_{name}"


def both_empty(year: str, reference: str, candidate: str) -> bool:
    """Whether an image has nothing to compare, which counts 1: from 2025 on an empty text is one without a character,
    before that one of which nothing is left to compare."""
    if year >= "2025":
        return not reference and not candidate
    cut = text_of_2023 if year >= "2023" else (lambda text: " ".join(tokens_of_2022(text)))
    return not cut(reference) and not cut(candidate)


def edition_caption_parts(
    year: str,
    references: Sequence[str],
    candidates: Sequence[str],
    with_weights: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, SufficientStatistics]:
    """An edition's scores of N captions by image, those that can be computed.

    Args:
        year: a key of `EDITIONS`.
        references: one caption an image, as written.
        candidates: what was generated.
        with_weights: score -> N values, of scores that needed a model's weights.

    Raises:
        InputError: no captions, or different numbers of references and candidates.
    """
    check_pairs(references, candidates, "caption")
    edition, given = EDITIONS[year], with_weights or {}
    computed: dict[str, SufficientStatistics] = {}
    for name in edition.captions:
        if name in given:
            computed[name] = mean_of(given[name])
        elif name in _COMPUTED and name not in edition.unknown:
            computed[name] = _COMPUTED[name](year, references, candidates)
    for name, mean in edition.means.items():
        if all(part in computed for part in mean.of):
            # Every part is a mean over the same images, so that their mean is one, too.
            values = np.mean([computed[part].values[:, 0] for part in mean.of], axis=0)
            computed[name] = mean_of(values)
    return {score_name(year, name): part for name, part in computed.items()}


def edition_concept_parts(
    year: str, references: ConceptSets, predictions: ConceptSets, manual: ConceptSets | None = None
) -> dict[str, SufficientStatistics]:
    """An edition's F1 scores of N images' concepts, by image.

    Until 2021 an image without true concepts does not count; later its F1 is 1 where none is predicted and 0 where one
    is, because the scripts read an empty field as one concept without a name. The secondary score cuts both sides to
    `MANUAL_CODES`, and skips images of which nothing true is left.

    Args:
        year: a key of `EDITIONS`.
        references: the true codes of each image.
        predictions: the named ones.
        manual: the true codes that were checked by hand (`concepts_manual.csv`); None: the secondary score is left out.

    Raises:
        InputError: no images, or different numbers of them.
    """
    check_pairs(references, predictions, "concept set")
    parts = {"concept_f1": _image_f1(references, predictions, skips_empty=year == "2021")}
    if "concept_f1_manual" in EDITIONS[year].concepts and manual is not None:
        check_pairs(manual, predictions, "concept set")
        true, named = ([upper(codes) & MANUAL_CODES for codes in side] for side in (manual, predictions))
        parts["concept_f1_manual"] = _image_f1(true, named, skips_empty=True)
    return {score_name(year, name): part for name, part in parts.items()}


def missing_parts(year: str, computed: Mapping[str, object], reasons: Mapping[str, str]) -> dict[str, str]:
    """The edition's caption scores that were not computed -> why, means with the number of parts that are there.

    Args:
        year: a key of `EDITIONS`.
        computed: what was, by the names of `score_name`.
        reasons: for a score that needs weights, why it is absent.
    """
    edition = EDITIONS[year]
    notes = {}
    for name in edition.captions:
        if score_name(year, name) not in computed:
            reason = edition.unknown.get(name) or reasons.get(name, "it needs a model's weights")
            notes[score_name(year, name)] = f"not computed: {reason}"
    for name in edition.means:
        if score_name(year, name) not in computed:
            leaves = leaves_of(edition, name)
            there = [leaf for leaf in leaves if score_name(year, leaf) in computed]
            notes[score_name(year, name)] = (
                f"not computed: {len(there)} of its {len(leaves)} parts are there ({', '.join(there) or 'none'})"
            )
    return notes


def missing_concepts(year: str, computed: Mapping[str, object], remedy: str) -> dict[str, str]:
    """The edition's concept scores that were not computed -> why: for want of codes checked by hand.

    Args:
        year: a key of `EDITIONS`.
        computed: what was, by the names of `score_name`.
        remedy: where those codes would come from.
    """
    names = [score_name(year, name) for name in EDITIONS[year].concepts]
    return {name: f"not computed: it needs {remedy}" for name in names if name not in computed}


def parts_named(year: str, computed: Mapping[str, object]) -> dict[str, str]:
    """For each mean that was computed, of how many scores it is."""
    notes = {}
    for name, mean in EDITIONS[year].means.items():
        if score_name(year, name) in computed:
            leaves = leaves_of(EDITIONS[year], name)
            notes[score_name(year, name)] = mean.note or f"of {len(leaves)} scores ({', '.join(leaves)})"
    return notes


def leaves_of(edition: Edition, name: str) -> list[str]:
    """The single scores that a mean is made of in the end."""
    mean = edition.means.get(name)
    return [leaf for part in mean.of for leaf in leaves_of(edition, part)] if mean else [name]


def _image_f1(references: ConceptSets, predictions: ConceptSets, skips_empty: bool) -> SufficientStatistics:
    pairs = [(upper(true), upper(named)) for true, named in zip(references, predictions)]
    values = [_f1(true, named) for true, named in pairs]
    counted = [float(bool(true) or not skips_empty) for true, _ in pairs]
    return ratio_of([value * count for value, count in zip(values, counted)], counted)


def _f1(true: set[str], named: set[str]) -> float:
    total = len(true) + len(named)
    return 2 * len(true & named) / total if total else 1.0


def _bleu(year: str, references: Sequence[str], candidates: Sequence[str]) -> SufficientStatistics:
    """2021 and 2022: the mean sentence BLEU without smoothing, by the rule of NLTK 3.2.2.

    That 2022 ran that rule, too, is inferred: its best score, 0.483 beside a ROUGE-1 of 0.142, cannot come from a rule
    by which a caption without a matching 4-gram has 0.
    """
    if year == "2021":
        return caption_parts(references, candidates)["imageclef_2021_bleu"]
    pairs = zip(map(tokens_of_2022, references), map(tokens_of_2022, candidates))
    return mean_of([sentence_bleu_of_nltk_3_2_2(reference, candidate) for reference, candidate in pairs])


def _rouge_1(year: str, references: Sequence[str], candidates: Sequence[str]) -> SufficientStatistics:
    """The mean ROUGE-1 F1 without stems; `rouge-score` itself cuts at what is no ASCII letter or digit."""
    scorer = RougeScorer(["rouge1"], use_stemmer=False)
    cut: Callable[[str], str] = text_of_2023 if year >= "2023" else (lambda text: " ".join(tokens_of_2022(text)))
    values = [
        1.0
        if both_empty(year, reference, candidate)
        else scorer.score(cut(reference), cut(candidate))["rouge1"].fmeasure
        for reference, candidate in zip(references, candidates)
    ]
    return mean_of(values)


def _corpus_part(name: str) -> Callable[[str, Sequence[str], Sequence[str]], SufficientStatistics]:
    def part(year: str, references: Sequence[str], candidates: Sequence[str]) -> SufficientStatistics:
        return corpus_parts(*([text_of_2023(text).split() for text in side] for side in (references, candidates)))[name]

    return part


_COMPUTED: Mapping[str, Callable[[str, Sequence[str], Sequence[str]], SufficientStatistics]] = {
    "bleu": _bleu,
    "rouge_1": _rouge_1,
    "bleu_1": _corpus_part("bleu_1"),
    "cider": _corpus_part("cider"),
}
