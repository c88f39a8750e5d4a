"""Scores that need a model's weights, each an optional plug-in: BERTScore, BLEURT, AlignScore, the similarity of image
and caption, and the F1 of UMLS concepts.

Every one is loaded from a folder of weights that the user has filled, and nothing is downloaded. Where the folder or
the package is not there, the score is absent with the reason: no other number takes its place.

By score, the package and what its folder of weights holds:

- `bertscore`: transformers, torch; `bertscore/`, microsoft/deberta-xlarge-mnli as `save_pretrained` writes it
- `bleurt`: bleurt-pytorch; `bleurt/`, BLEURT-20 the same way; the script of 2026 took BLEURT-20-D12
- `alignscore`: alignscore; `alignscore/AlignScore-base.ckpt`
- `similarity`: MedImageInsight's code on the path; `medimageinsight/`, its release of 2024-09-27
- `umls_f1`: medcat; `medcat.zip`, a model pack with the UMLS

N is the number of images.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.evaluation.bertscore import BertScorer
from medcap_tf.evaluation.metrics import SufficientStatistics
from medcap_tf.evaluation.metrics.editions import (
    EDITIONS,
    both_empty,
    edition_caption_parts,
    missing_parts,
    parts_named,
    text_of_2023,
)

_BLEURT_BATCH = 8
_BLEURT_TOKENS = 512
_SIMILARITY_FACTOR = 2.5  # Hessel et al. 2021, CLIPScore, equation 1


class Captioned(NamedTuple):
    """What is to be scored: N captions as written, and their images where there are any."""

    year: str  # a key of `EDITIONS`
    references: Sequence[str]
    candidates: Sequence[str]
    images: Sequence[Path | None]


class Plugin(NamedTuple):
    """One score with weights."""

    module: str  # what it imports
    install: str  # how people get that
    weights: str  # file or folder below the folder of weights
    score: Callable[[Path, Captioned], list[float]]  # N values
    wants_images: bool = False


def scores_with_weights(captioned: Captioned, weights: Path | None) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The scores of an edition that need weights: name -> N values, and for those that are absent the reason.

    Args:
        captioned: what is to be scored.
        weights: the folder of weights (see the module's table); None: none of these scores is computed.

    Raises:
        InputError: the folder does not exist, or weights in it cannot be loaded.
    """
    if weights is not None and not weights.is_dir():
        raise InputError(f"--weights {weights}: no such folder; it should hold {_places()}")
    values: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for name in EDITIONS[captioned.year].captions:
        plugin = PLUGINS.get(name)
        if plugin is None:
            continue
        reasons[name] = absence(plugin, weights, captioned.images)
        if not reasons[name] and weights is not None:
            values[name] = _score(plugin, weights / plugin.weights, captioned)
    return values, {name: reason for name, reason in reasons.items() if reason}


class EditionChoice(NamedTuple):
    """Which year's scores are wanted."""

    year: str  # a key of `EDITIONS`
    weights: Path | None = None  # the folder of weights


class EditionScores(NamedTuple):
    """An edition's scores of N captions."""

    parts: dict[str, SufficientStatistics]  # those that were computed, by the names of `score_name`
    absent: dict[str, str]  # the others -> why
    notes: dict[str, str]  # of how many scores each mean is


def edition_scores(captioned: Captioned, weights: Path | None) -> EditionScores:
    """All scores of an edition, each computed or absent with a reason; raises InputError as `scores_with_weights`."""
    values, reasons = scores_with_weights(captioned, weights)
    parts = edition_caption_parts(captioned.year, captioned.references, captioned.candidates, values)
    absent = missing_parts(captioned.year, parts, reasons)
    return EditionScores(parts, absent, parts_named(captioned.year, parts))


def absence(plugin: Plugin, weights: Path | None, images: Sequence[Path | None]) -> str:
    """Why a score cannot be computed; empty where it can."""
    if weights is None:
        return f"it needs a model's weights (--weights DIR with {plugin.weights})"
    if not (weights / plugin.weights).exists():
        return f"{weights / plugin.weights} is not there"
    if importlib.util.find_spec(plugin.module) is None:
        return f"the package {plugin.module} is not installed ({plugin.install})"
    if plugin.wants_images and (not images or any(path is None for path in images)):
        return "it needs the images (medcap evaluate has them)"
    return ""


def _score(plugin: Plugin, place: Path, captioned: Captioned) -> list[float]:
    try:
        values = plugin.score(place, captioned)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise InputError(
            f"{place}: {plugin.module} cannot score with it ({type(error).__name__}: {str(error)[:200]}); mend the"
            " weights, or move them away to leave the score out"
        ) from error
    return [float(value) for value in values]


def _one_where_empty(captioned: Captioned, score: Callable[[str, str], float]) -> list[float]:
    """A value an image; 1 where neither reference nor caption has anything to compare."""
    pairs = zip(captioned.references, captioned.candidates)
    return [1.0 if both_empty(captioned.year, r, c) else score(r, c) for r, c in pairs]


def _bertscore(place: Path, captioned: Captioned) -> list[float]:
    """BERTScore F1 of the text of 2023; from 2025 on words weigh by the inverse document frequency in all references.
    Tables call it recall, the scripts take F1."""
    references = [text_of_2023(text) for text in captioned.references]
    scorer = BertScorer(place, references if captioned.year >= "2025" else None)
    return _one_where_empty(captioned, lambda r, c: scorer.f1(text_of_2023(r), text_of_2023(c)))


def _bleurt(place: Path, captioned: Captioned) -> list[float]:
    """BLEURT (Sellam et al. 2020) of the text of 2023."""
    import torch
    from bleurt_pytorch import BleurtForSequenceClassification, BleurtTokenizer

    model = BleurtForSequenceClassification.from_pretrained(str(place)).eval()
    tokenizer = BleurtTokenizer.from_pretrained(str(place))
    pairs = [[text_of_2023(text) for text in side] for side in (captioned.references, captioned.candidates)]
    values: list[float] = []
    for start in range(0, len(pairs[0]), _BLEURT_BATCH):
        batch = (side[start : start + _BLEURT_BATCH] for side in pairs)
        inputs = tokenizer(*batch, padding="longest", return_tensors="pt", truncation=True, max_length=_BLEURT_TOKENS)
        with torch.inference_mode():
            values += model(**inputs).logits.flatten().tolist()
    return values


def _alignscore(place: Path, captioned: Captioned) -> list[float]:
    """AlignScore (Zha et al. 2023) of the caption, as the claim, with the reference, as its context; raw text."""
    from alignscore import AlignScore

    # The base checkpoint names its own encoder; this one gives the tokenizer, which both sizes share.
    scorer = AlignScore(
        model="roberta-base",
        batch_size=32,
        device="cpu",
        ckpt_path=str(place),
        evaluation_mode="nli_sp",
        verbose=False,
    )
    return _one_where_empty(captioned, lambda reference, claim: scorer.score(contexts=[reference], claims=[claim])[0])


def _similarity(place: Path, captioned: Captioned) -> list[float]:
    """2.5 max(cos, 0) of the embeddings of image and caption by MedImageInsight; an empty caption has 0."""
    from medimageinsightmodel import MedImageInsight

    model = MedImageInsight(
        model_dir=str(place),
        vision_model_name="medimageinsigt-v1.0.0.pt",  # spelled so in the release
        language_model_name="language_model.pth",
    )
    model.load_model()
    return [
        _cosine(model, path, caption) if caption and path is not None else 0.0
        for path, caption in zip(captioned.images, captioned.candidates)
    ]


def _cosine(model: Any, image: Path, caption: str) -> float:
    shown = base64.encodebytes(image.read_bytes()).decode("ascii")
    embedded = model.encode(images=[shown], texts=[caption])
    one, other = (np.asarray(embedded[f"{kind}_embeddings"][0], float) for kind in ("image", "text"))
    return _SIMILARITY_FACTOR * max(0.0, float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))


def _umls_f1(place: Path, captioned: Captioned) -> list[float]:
    """F1 of the UMLS concepts that MedCAT finds in raw caption and reference, of all 127 semantic types; a reference
    in which it finds none has 0."""
    from medcat.cat import CAT

    linker = CAT.load_model_pack(str(place))

    def codes(text: str) -> set[str]:
        return {entity["cui"] for entity in linker.get_entities(text)["entities"].values()}

    def f1(reference: str, candidate: str) -> float:
        true, named = codes(reference), codes(candidate)
        return 2 * len(true & named) / (len(true) + len(named)) if true and named else 0.0

    return _one_where_empty(captioned, f1)


PLUGINS: dict[str, Plugin] = {
    "bertscore": Plugin("transformers", "pip install 'medcap_tf[metrics]'", "bertscore", _bertscore),
    "bleurt": Plugin("bleurt_pytorch", "from github.com/lucadiliello/bleurt-pytorch", "bleurt", _bleurt),
    "alignscore": Plugin(
        "alignscore", "from github.com/yuh-zha/AlignScore; wants torch below 2", "alignscore/AlignScore-base.ckpt",
        _alignscore,
    ),
    "similarity": Plugin(
        "medimageinsightmodel", "the code of MedImageInsight on PYTHONPATH", "medimageinsight", _similarity, True
    ),
    "umls_f1": Plugin("medcat", "pip install 'medcat<2'; its model pack wants a UMLS license", "medcat.zip", _umls_f1),
}  # fmt: skip


def _places() -> str:
    return ", ".join(plugin.weights for plugin in PLUGINS.values())
