"""What lies beside the versions for people: what the model learned from, how good it is, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcap_tf import __version__
from medcap_tf.caption import NOVEL_FROM
from medcap_tf.config import Config
from medcap_tf.files import write_text
from medcap_tf.models.calibration import Calibration


def write_model_card(
    base: Path, version: int, run: Path, config: Config, facts: Mapping[str, Any], scores: Mapping[str, Any]
) -> None:
    """`model_card.md`: data, scores beside the baselines, intended use, limits."""
    sections = {
        f"# {base.name}, version {version}": [
            "Captions medical images and gives the reasons: regions of each word, weights of the words, concepts.",
            "**Software for research, not a medical device.** Its captions are not findings.",
            "",
            f"Written by medcap_tf {__version__} from the run `{run.name}`.",
        ],
        "## Data": [f"Trained on the folder `{facts['data']}`: {facts['tokens']} words, {facts['concepts']} concepts."],
        "## Scores": [
            *_score_table(scores),
            "",
            "The baselines: the most frequent words without a look at the image, and the caption of the nearest",
            "training image. A model that does not beat both has little to say.",
        ],
        "## How it decides": _decoding(config, facts),
        "## How far to trust it": _trust(facts.get("calibration"), scores),
        "## Intended use": ["Research on captioning and its explanation, on images like those it was trained on."],
        "## Limits": _limits(facts),
    }
    text = "\n".join(line for title, lines in sections.items() for line in (title, "", *lines, ""))
    write_text(base / "model_card.md", text)


def _score_table(scores: Mapping[str, Any]) -> list[str]:
    methods = [name for name in ("model", "popular_words", "nearest_image") if name in scores]
    if not methods:
        return ["The run has no scores: it had no test split."]
    head = [f"Split `{scores['split']}`, {scores['images']} images.", "", f"| | {' | '.join(methods)} |"]
    rows = [
        f"| {metric} | " + " | ".join(f"{scores[method][metric]:.4f}" for method in methods) + " |"
        for metric, value in scores["model"].items()
        if value is not None  # a score of an ImageCLEF edition whose weights were not there
    ]
    return [*head, "|---" * (len(methods) + 1) + "|", *rows]


def _decoding(config: Config, facts: Mapping[str, Any]) -> list[str]:
    visual, decoding = config.visual, config.decoding
    size, ngram = visual.image_size, decoding.no_repeat_ngram
    agreement = f"On {facts['compared']} validation images it generates the run's own caption for {facts['equal']}."
    return [
        f"ResNet50 up to {visual.layer} at {size} x {size} pixels, {facts['precision']}; beam search of width "
        f"{decoding.beam_width}, at most {decoding.max_length} tokens"
        + (f", none of whose sequences of {ngram} occurs twice." if ngram else "."),
        agreement
        if facts["compared"]
        else "Its captions were not compared with the run's own: no validation images were at hand.",
    ]


def _trust(calibration: Calibration | None, scores: Mapping[str, Any]) -> list[str]:
    """What the answers `confidence` and `novelty` mean, and how well they held on the scored split."""
    lines = []
    if calibration and calibration.confidence:
        lines = ["`confidence`: the probability that a caption names no concept that its image does not have."]
    if calibration and calibration.novelty:
        lines += [
            "`novelty`: how unlike the training images an image is, as a percentile among",
            f"{calibration.images} validation images; from {NOVEL_FROM:g} on, distrust its caption, whatever its",
            "confidence.",
        ]
    known = {name: value for name, value in scores.get("calibration", {}).items() if value is not None}
    held = [f"| {name} | {value:.4f} |" for name, value in known.items()]
    table = ["", f"On split `{scores['split']}`:", "", "| | |", "|---|---|", *held] if lines and held else []
    return [*lines, *table] or ["The run has no calibration: neither `confidence` nor `novelty` is answered."]


def _out_of_its_depth(calibration: Calibration | None) -> list[str]:
    if calibration and calibration.novelty:
        return [
            "- It captions every readable image, a photograph of a cat too; `novelty` alone tells them apart, and what",
            "  was not among the images it was measured on may still pass.",
        ]
    return [
        "- It answers every readable image, a photograph of a cat too, and does not say when it is out of its depth."
    ]


def _limits(facts: Mapping[str, Any]) -> list[str]:
    copied = [
        f"- The captions of the {facts['neighbors']} most similar training images count in each word: it may be copied",
        "  from one. This folder holds all training captions: whoever may not see those may not have it.",
    ]
    return [
        *_out_of_its_depth(facts.get("calibration")),
        "- It knows no word and no concept that its training data did not show often enough.",
        "- Images are squashed to a square; what is smaller than a pixel then is gone.",
        "- Attention shows where the model looked, not that it was right.",
        *(copied if facts["neighbors"] else []),
        f"- JPEG, PNG, BMP and GIF (first frame) of at most {facts['max_pixels']:,} pixels are read by the graph; the",
        "  package's clients convert other kinds before they send them. What cannot be read is answered as not valid.",
    ]
