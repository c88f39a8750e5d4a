"""The audit: are the explanations true? All measures on one split, `audit.json`, and one figure.

Axes: n words, h x w regions, H x W pixels, S pixels a side.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics import FEW_IMAGES
from medcap_tf.explain.attribution import Attributor, WordMaps
from medcap_tf.explain.captioned import CaptionedImage, bar, caption_records
from medcap_tf.explain.grid import mirrored
from medcap_tf.explain.localization import erasure, named_words, pointing_cases
from medcap_tf.explain.masks import LocationPrior
from medcap_tf.explain.measures import MEASURES, summary
from medcap_tf.explain.perturbation import (
    concept_drops,
    heaviest_first,
    imputed_deletion,
    mu_fidelity,
    region_areas,
    removal_order,
)
from medcap_tf.explain.pointing import means, pointing_game
from medcap_tf.explain.sanity import noisy, randomized, rank_correlation, total_variation
from medcap_tf.explain.side import side_measure
from medcap_tf.files import write_text
from medcap_tf.text import SPECIAL

DRAWS = 4  # noisy copies of an image
_AREAS = ("deletion", "insertion", "deletion_imputed")
WORDS = 2  # of a caption, for deletion and insertion: images differ more than the words of one


def audit(
    captioner: RunCaptioner,
    records: Sequence[Record],
    split: str,
    images: int,
    seed: int = 0,
    training: Sequence[Record] = (),
) -> dict[str, Any]:
    """Run every measure that the data allows.

    Args:
        captioner: a loaded run.
        records: a split; erasure and pointing need their masks, see `masks.mask_paths`.
        split: its name.
        images: how many of its images the costly measures take (all but pointing and word deletion).
        seed: of what is random.
        training: the training records, whose masks say where findings usually are.

    Returns:
        The content of `audit.json`; a measure that the data does not allow is empty.

    Raises:
        InputError: no image that the model has words for.
    """
    captioned = caption_records(captioner, records)
    if not captioned:
        raise InputError(f"split {split!r}: the model has generated no word for any of its {len(records)} images")
    few = captioned[:images]
    attributor, words = Attributor(captioner), named_words(captioner)
    prior = LocationPrior(training, captioner.vocabulary.normalizer, words)
    maps = [attributor.words(item.pixels, item.caption.tokens) for item in few]
    rngs = [np.random.default_rng([seed, number]) for number in range(9)]
    measures = {
        "split": split,
        "images": len(captioned),
        "images_of_costly_measures": len(few),
        "erasure": erasure(captioner, attributor, captioned, words, rngs[5]),
        **pointing_game(pointing_cases(captioner, attributor, captioned, words, prior, maps)),
        "side": side_measure(captioner, attributor, captioned, words),
        **_areas(captioner, attributor, few, maps, rngs[1], rngs[8]),
        "mu_fidelity": _mu_fidelity(attributor, few, maps, rngs[6]),
        "completeness": _completeness(attributor, few, maps),
        "word_deletion": _word_deletion(captioner, attributor, captioned, rngs[2]),
        "randomised": _randomized(captioner, few, maps, rngs[3]),
        "random_logit": _random_logit(captioner, attributor, few, maps, rngs[7]),
        "stability": _stability(captioner, attributor, few, maps, rngs[4]),
    }
    notes = _notes(measures)
    return {"summary": summary(measures), **measures, **({"notes": notes} if notes else {})}


def _notes(measures: Mapping[str, Any]) -> dict[str, str]:
    """The measures that stand on too little to mean anything."""
    images, words = measures["images_of_costly_measures"], measures["pointing_game"].get("words", FEW_IMAGES)
    captions, erased = (
        measures["word_deletion"].get("captions", FEW_IMAGES),
        measures["erasure"].get("words", FEW_IMAGES),
    )
    notes = {}
    if erased < FEW_IMAGES:
        notes["erasure"] = f"of {erased} words alone"
    if words < FEW_IMAGES:
        notes["pointing_game"] = f"of {words} words alone"
    if measures["side"].get("words", FEW_IMAGES) < FEW_IMAGES:
        notes["side"] = f"of {measures['side']['words']} words alone"
    if captions < FEW_IMAGES:
        notes["word_deletion"] = f"of {captions} captions alone"
    if images < FEW_IMAGES:
        costly = ("mu_fidelity", "randomised", "random_logit", "stability")
        notes.update(dict.fromkeys((*_AREAS, *costly), f"of {images} images alone"))
    return notes


def _areas(
    captioner: RunCaptioner,
    attributor: Attributor,
    captioned: Sequence[CaptionedImage],
    true: Sequence[WordMaps],
    rng: np.random.Generator,
    noise: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """`_AREAS` by map, of WORDS words of each caption, beside a random order (`*_scaled` 0) and an oracle's (1)."""
    areas: dict[str, dict[str, list[np.ndarray]]] = {name: defaultdict(list) for name in _AREAS}
    for item, maps in zip(bar(captioned, "deletion and insertion"), true):
        tokens, coarse = item.caption.tokens, captioner.model.grid
        drawn = np.sort(rng.permutation(len(tokens))[:WORDS])

        def log_probs(images: np.ndarray, tokens: np.ndarray = tokens, drawn: np.ndarray = drawn) -> np.ndarray:
            return attributor.word_log_probs(images, tokens)[:, drawn]

        orders = {name: heaviest_first(grids[drawn]) for name, grids in maps.compared().items()}
        orders["random"] = np.tile(rng.permutation(coarse[0] * coarse[1]), (len(drawn), 1))
        orders["oracle"] = removal_order(log_probs, item.pixels, coarse)
        for grid in dict.fromkeys((captioner.model.finest_grid, coarse)):
            names = [name for name, order in orders.items() if order.shape[1] == grid[0] * grid[1]]
            if not names:
                continue  # a finer grid of concepts alone
            own = np.concatenate([orders[name] for name in names])
            measured = region_areas(log_probs, item.pixels, own, grid)
            imputed = imputed_deletion(log_probs, item.pixels, own, grid, noise)
            for kind, values in zip(_AREAS, (*measured, imputed)):
                for name, part in zip(names, np.split(values, len(names))):
                    areas[kind][name].append(part)
    return {
        kind: _scaled({name: float(np.concatenate(values).mean()) for name, values in by_name.items()})
        for kind, by_name in areas.items()
    }


def _scaled(means: dict[str, float]) -> dict[str, float]:
    span = means["oracle"] - means["random"]
    if abs(span) <= 1e-9:
        return means
    maps = (name for name in means if name not in ("random", "oracle"))
    return {**means, **{f"{name}_scaled": (means[name] - means["random"]) / span for name in maps}}


def _mu_fidelity(
    attributor: Attributor, captioned: Sequence[CaptionedImage], true: Sequence[WordMaps], rng: np.random.Generator
) -> dict[str, float]:
    rows = []
    for item, maps in zip(bar(captioned, "MuFidelity"), true):
        log_probs = partial(attributor.word_log_probs, tokens=item.caption.tokens)
        rows.append(mu_fidelity(log_probs, item.pixels, maps.compared(), rng))
    return means(rows)


def _completeness(
    attributor: Attributor, captioned: Sequence[CaptionedImage], true: Sequence[WordMaps]
) -> dict[str, float]:
    """Whether a word's parts add up to its logit, and how large they are; empty where words have no evidence."""
    rows = []
    for item, maps in zip(captioned, true):
        if maps.evidence is None:
            return {}
        parts = [maps.evidence.maps.sum((1, 2)), maps.evidence.whole, maps.evidence.words]
        rows += [
            {"logit": logit, "places": places, "whole_image": whole, "words_before": words,
             "error": abs(places + whole + words - logit)}
            for logit, places, whole, words in zip(attributor.logits(item.pixels, item.caption.tokens), *parts)
        ]  # fmt: skip
    return means(rows)


def _word_deletion(
    captioner: RunCaptioner, attributor: Attributor, captioned: Sequence[CaptionedImage], rng: np.random.Generator
) -> dict[str, float]:
    """Over the captions as the model generated them; the right concepts are the reference's that it knows."""
    if captioner.model.semantic is None or not captioner.thresholds.get("words"):
        return {}
    columns = {code: i for i, code in enumerate(captioner.concepts)}
    shown = "importance" if captioner.config.semantic.output == "sum" else "attention"
    drops = []
    for item in bar(captioned, "word deletion"):
        right = [code for code in item.record.concepts if code in columns]
        tokens = item.caption.tokens
        if not right or len(tokens) < 2:
            continue
        weights = {
            shown: attributor.predict_concepts(tokens[None])[1][0],
            "gradient": attributor.concept_contributions(tokens, right).sum(0),
        }
        rows = np.array([columns[code] for code in right])
        drops.append(concept_drops(lambda x: attributor.predict_concepts(x)[0], tokens, weights, rows, rng))
    return {"captions": len(drops), **means(drops)} if drops else {}


def _each(measure: Callable[[Any, Any], float], one: WordMaps, other: WordMaps) -> dict[str, float]:
    """A comparison of two sets of maps, by map."""
    others = other.compared()
    return {name: measure(grids, others[name]) for name, grids in one.compared().items()}


def _randomized(
    captioner: RunCaptioner, captioned: Sequence[CaptionedImage], true: Sequence[WordMaps], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """By part, from the output down: rank correlation with the true maps when it and all before it are shuffled."""
    result, attributor = {}, Attributor(captioner, folded=False)
    for part in randomized(captioner.model, rng):
        rows = []
        for item, before in zip(bar(captioned, f"randomized down to {part}"), true):
            after = attributor.words(item.pixels, item.caption.tokens)
            rows.append(_each(rank_correlation, before, after))
        result[part] = means(rows)
    return result


def _random_logit(
    captioner: RunCaptioner,
    attributor: Attributor,
    captioned: Sequence[CaptionedImage],
    true: Sequence[WordMaps],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Rank correlation of each word's map with that of another word at the same step (Sixt et al. 2020, section 5)."""
    rows = []
    for item, own in zip(bar(captioned, "random logit"), true):
        tokens = item.caption.tokens
        others = rng.integers(len(SPECIAL), len(captioner.vocabulary) - 1, len(tokens))
        others = (others + (others >= tokens)).astype(np.int32)
        maps = attributor.words(item.pixels, tokens, others)
        rows.append(_each(rank_correlation, own, maps))
    return means(rows)


def _stability(
    captioner: RunCaptioner,
    attributor: Attributor,
    captioned: Sequence[CaptionedImage],
    true: Sequence[WordMaps],
    rng: np.random.Generator,
) -> dict[str, float]:
    """How much of each map moves under noise that leaves the caption as it is, and (`*_flip`) in a mirror."""
    rows, same = [], 0
    for item, before in zip(bar(captioned, "stability"), true):
        tokens = item.caption.tokens
        copies = noisy(item.pixels, rng, DRAWS)
        for pixels, caption in zip(copies, captioner.caption_pixels(copies)):
            if caption.stems != item.caption.stems:
                continue
            same += 1
            after = attributor.words(pixels, tokens)
            rows.append(_each(total_variation, before, after))
        flipped = attributor.words(np.ascontiguousarray(item.pixels[:, ::-1]), tokens)
        back = {name: mirrored(grids) for name, grids in flipped.compared().items()}
        rows.append({f"{name}_flip": total_variation(grids, back[name]) for name, grids in before.compared().items()})
    return {"same_caption": same / (len(captioned) * DRAWS), **means(rows)}


def format_audit(audit: Mapping[str, Any]) -> str:
    """`audit.json` as lines for people: what to believe, then a measure a paragraph."""
    lines = [*audit["summary"], ""]
    lines.append(
        f"{audit['split']}: {audit['images']} images ({audit['images_of_costly_measures']} for costly measures)"
    )
    for name, (title, meaning) in MEASURES.items():
        lines += ["", f"{title}. {meaning}"]
        values = audit[name] or {"not measured": "the data or the run lacks what it needs"}
        for key, value in values.items():
            lines.append(f"  {key:32}{_shown(value)}")
        if name in audit.get("notes", {}):
            lines.append(f"  note: {audit['notes'][name]}: too few to mean much")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_shown(number)}" for name, number in value.items() if not name.endswith("_within"))
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_audit(path: Path, audit: Mapping[str, Any]) -> None:
    """Write `audit.json`, atomically."""
    write_text(path, json.dumps(audit, indent=2) + "\n")
