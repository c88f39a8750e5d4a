"""One image's explanation as plain values, ready for JSON: what the report's page, or any other page, shows of it.

Axes: n words of the caption, h x w regions, H x W pixels, K concepts shown.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from medcap_tf.caption import UNLIKE, Caption, shares_of
from medcap_tf.evaluation.metrics import caption_parts, notes_on
from medcap_tf.explain.claims import doubtful_claims
from medcap_tf.explain.explanation import Explanation, shared_words
from medcap_tf.explain.figures import MAP_COLORS, active_share, strongest
from medcap_tf.explain.finding_words import finding_words
from medcap_tf.explain.plate import colors
from medcap_tf.explain.regions import word_regions

LONGEST_SIDE = 640  # pixels of the image in the page
SIMILAR_SIDE = 320  # of a similar training image
LEAST_COPIED = 0.01  # of a word's probability, from which on it has a map in the training image it was copied from
CHANNELS_SHOWN = 8
CHANNEL_SIDE = 40  # pixels, at most
SCORES_SHOWN = ("bleu_1", "rouge_l", "meteor")


def entry_of(explanation: Explanation) -> dict[str, Any]:
    """All that a page shows of one image.

    Args:
        explanation: of one image, captioned or not.

    Returns:
        `name` and `path`; `error` (why there is nothing else, or ""); `notes` on what is out of the ordinary;
        `doubts`, the claims of the caption that should not be believed as they stand (see `claims`); `image` (data URI
        `src`; `width` and `height` for its proportions); `caption`; `certainty`, the geometric mean of the tokens'
        probabilities; `confidence` and `novelty` (None: unknown); `words`, each with the shares of its probability
        that the image (`seen`) and similar images (`copied`) gave, and `finding` where one names what was found;
        `maps`, those of `Explanation.word_maps` as [n][h][w] in shares of an even spread; `regions`, of the same maps
        for each word, as of `regions.region_values`; `similar`, training images that count: `id` (empty where
        unknown), `caption`, `weight`, and where the run was asked (see `explanation.Likeness`) `here` and `there`, maps
        of what makes both alike in shares of an even spread, `image` and for each word what was `copied` and the `maps`
        of where from (None, either of them: nothing to show); `concepts`, each with the model's own `score`, by which
        it is named (that of `caption --json`); its `word_score`, what the classifier reads in the caption's words
        alone; `contributions`, what each word gave to that in logits (None, any of the three: not known); `reference`
        (None where unknown); `layers`.
    """
    caption = explanation.caption
    entry: dict[str, Any] = {"name": _name(caption), "path": str(caption.path), "error": caption.error}
    if caption.error:
        return entry
    has_words = len(caption.words) > 0
    known = explanation.word_maps() if has_words else {}
    return {
        **entry,
        "notes": _notes(explanation),
        "doubts": _doubts(explanation, known),
        "image": image_values(explanation.image),
        "caption": caption.text,
        "certainty": round(math.exp(min(caption.score, 0)), 4) if has_words else None,
        "confidence": _rounded(caption.confidence),
        "novelty": _rounded(caption.novelty),
        "words": _words(explanation),
        "maps": {name: _shares(maps) for name, maps in known.items()},
        "regions": {name: word_regions(maps) for name, maps in known.items()},
        "similar": _similar(explanation),
        "concepts": _concepts(explanation),
        "reference": _reference(explanation) if explanation.reference else None,
        "layers": [_layer(name, maps) for name, maps in explanation.layers.items()],
    }


def _name(caption: Caption) -> str:
    """The file's name, with as many of its folders as the image's ID has."""
    return "/".join(caption.path.parts[-1 - caption.image_id.count("/") :])


def _notes(explanation: Explanation) -> list[str]:
    caption = explanation.caption
    silent = f"No caption: {caption.abstained}." if caption.abstained else "The model generated no words."
    notes = [] if caption.words else [silent]
    if caption.is_novel() and not caption.abstained:
        notes.append(f"This image is {UNLIKE} (novelty {caption.novelty:.1f} of 100): what is said of it means little.")
    if (explanation.image == explanation.image[0, 0]).all():
        notes.append("This image has a single color.")
    return notes


def _doubts(explanation: Explanation, maps: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The claims that the caption's first maps, or the image's own concepts, contradict, or that no model can know."""
    caption = explanation.caption
    concepts = [caption.concept_label(code) for code, _ in caption.concepts]
    found = doubtful_claims(caption.words, next(iter(maps.values()), None), concepts)
    return [doubt._asdict() for doubt in found]


def image_values(image: np.ndarray, longest_side: int = LONGEST_SIDE) -> dict[str, Any]:
    """uint8 [H, W, 3] as a page shows it: data URI `src`, `width` and `height` for its proportions."""
    height, width = image.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return {"src": _data_uri("image/jpeg", data), "width": width, "height": height}


def _data_uri(kind: str, data: np.ndarray) -> str:
    return f"data:{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def _similar(explanation: Explanation) -> list[dict[str, Any]]:
    rows = [{"id": id, "caption": text, "weight": round(weight, 3)} for id, text, weight in explanation.similar]
    for row, likeness in zip(rows, explanation.likenesses):
        shown = likeness.copied >= LEAST_COPIED
        maps = likeness.word_maps
        row |= {
            "image": None if likeness.image is None else image_values(likeness.image, SIMILAR_SIDE),
            "here": _above_zero(likeness.here),
            "there": None if likeness.there is None else _above_zero(likeness.there),
            "copied": _numbers(likeness.copied, 2),
            "maps": None
            if maps is None
            else [_shares(maps[i, None])[0] if shown[i] else None for i in range(len(maps))],
        }
    return rows


def _above_zero(grid: np.ndarray) -> list:
    """What speaks for something in a map float32 [h, w], in shares of an even spread."""
    return _shares(shares_of(grid[None]))[0]


def _words(explanation: Explanation) -> list[dict[str, Any]]:
    words, stems = explanation.caption.words, explanation.caption.stems
    importance = _numbers(explanation.reading.importance) if explanation.reading else [None] * len(words)
    copied, seen = (
        [None] * len(words) if shares is None else _numbers(shares, 2)
        for shares in (explanation.retrieval_share, explanation.image_share)
    )
    shared = shared_words(words, explanation.reference)
    found = finding_words(explanation)
    return [
        {
            "word": word,
            "stem": stem,
            "importance": weight,
            "copied": share,
            "seen": image,
            "shared": known,
            "finding": finding,
        }
        for word, stem, weight, share, image, known, finding in zip(
            words, stems, importance, copied, seen, shared, found
        )
    ]


def _shares(maps: Any) -> list:
    return _numbers(maps * (maps.shape[1] * maps.shape[2]), 3)


def _numbers(values: np.ndarray, digits: int = 4) -> list:
    return np.round(values.astype(np.float64), digits).tolist()


def _concepts(explanation: Explanation) -> list[dict[str, Any]]:
    read = explanation.reading
    contributions = {code: _numbers(row) for (code, _), row in zip(read.concepts, read.contributions)} if read else {}
    own = {**explanation.concept_scores, **dict(explanation.caption.concepts)}
    by_words = {**read.scores, **dict(read.concepts)} if read else {}
    rows = [
        {
            "code": code,
            "name": explanation.caption.concept_names.get(code, ""),
            "score": _rounded(own.get(code)),
            "word_score": _rounded(by_words.get(code)),
            "contributions": contributions.get(code),
        }
        for code in dict.fromkeys([*contributions, *(code for code, _ in explanation.caption.concepts)])
    ]
    return sorted(rows, key=lambda row: (row["code"] not in contributions, -(row["score"] or 0)))


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _reference(explanation: Explanation) -> dict[str, Any]:
    read = explanation.reference_reading
    words = read.words if read else ()
    shared = shared_words(words, explanation.caption.text)
    parts = caption_parts([explanation.reference], [explanation.caption.text])
    scores = {name: parts[name] for name in SCORES_SHOWN}
    return {
        "caption": explanation.reference,
        "words": [
            {"word": word, "importance": weight, "shared": known}
            for word, weight, known in zip(words, _numbers(read.importance) if read else (), shared)
        ],
        "contributions": {code: _numbers(row) for (code, _), row in zip(read.concepts, read.contributions)}
        if read
        else {},
        "scores": {name: round(part.score(), 4) for name, part in scores.items()},
        "notes": notes_on(scores),
    }


def _layer(name: str, maps: np.ndarray) -> dict[str, Any]:
    channels = strongest(maps, CHANNELS_SHOWN)
    low, top = float(maps[..., channels].min()), float(maps[..., channels].max())
    levels = np.rint((maps[..., channels] - low) * (255 / max(top - low, 1e-9))).astype(np.uint8)
    return {
        "name": name,
        "size": list(maps.shape),
        "active": round(active_share(maps), 4),
        "range": [round(low, 3), round(top, 3)],
        "channels": [
            {"channel": int(channel), "src": _channel(levels[..., place])} for place, channel in enumerate(channels)
        ],
    }


def _channel(levels: np.ndarray) -> str:
    scale = min(1.0, CHANNEL_SIDE / max(levels.shape))
    size = tuple(max(1, round(side * scale)) for side in levels.shape[::-1])
    small = cv2.resize(np.ascontiguousarray(levels), size, interpolation=cv2.INTER_AREA)
    return _data_uri("image/png", cv2.imencode(".png", colors(small / 255, MAP_COLORS)[..., ::-1])[1])
