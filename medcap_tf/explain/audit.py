"""The audit: are the explanations true? All measures on one split, `audit.json`, and one figure.

Axes: n words, h x w regions, H x W pixels, S pixels a side.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from medcap_tf.caption import Caption
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data import images
from medcap_tf.data.folders import image_stem
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics import FEW_IMAGES
from medcap_tf.explain.attribution import Attributor, WordMaps
from medcap_tf.explain.measures import MEASURES
from medcap_tf.explain.perturbation import concept_drops, heaviest_first, region_areas
from medcap_tf.explain.pointing import Case, means, pointing_game
from medcap_tf.explain.sanity import noisy, randomized, rank_correlation, total_variation
from medcap_tf.files import write_text
from medcap_tf.phantoms import FINDING_WORDS, PLACE_WORDS

DRAWS = 4  # noisy copies of an image
MAPS = ("attention", "grad_cam")  # of `WordMaps`, that are compared


class CaptionedImage(NamedTuple):
    """One captioned image; only such as have words are audited."""

    record: Record
    caption: Caption
    pixels: np.ndarray  # uint8 [S, S, 3]


def audit(captioner: RunCaptioner, records: Sequence[Record], split: str, images: int, seed: int = 0) -> dict[str, Any]:
    """Run every measure that the data allows.

    Args:
        captioner: a loaded run.
        records: a split; the pointing game needs their masks, see `mask_paths`.
        split: its name.
        images: how many of its images the costly measures take (all but pointing and word deletion).
        seed: of what is random.

    Returns:
        The content of `audit.json`; a measure that the data does not allow is empty.

    Raises:
        InputError: no image that the model has words for.
    """
    captioned = _caption(captioner, records)
    if not captioned:
        raise InputError(f"split {split!r}: the model has generated no word for any of its {len(records)} images")
    few = captioned[:images]
    attributor = Attributor(captioner)
    maps = [attributor.words(item.pixels, item.caption.tokens) for item in few]
    areas = _areas(attributor, few, maps, np.random.default_rng([seed, 1]))
    measures = {
        "split": split,
        "images": len(captioned),
        "images_of_costly_measures": len(few),
        "pointing_game": pointing_game(_cases(captioner, attributor, captioned)),
        "deletion": areas["deletion"],
        "insertion": areas["insertion"],
        "word_deletion": _word_deletion(captioner, attributor, captioned, np.random.default_rng([seed, 2])),
        "randomised": _randomized(captioner, few, maps, np.random.default_rng([seed, 3])),
        "stability": _stability(captioner, attributor, few, maps, np.random.default_rng([seed, 4])),
    }
    notes = _notes(measures)
    return {**measures, "notes": notes} if notes else measures


def _notes(measures: Mapping[str, Any]) -> dict[str, str]:
    """The measures that stand on too little to mean anything."""
    images, words = measures["images_of_costly_measures"], measures["pointing_game"].get("words", FEW_IMAGES)
    captions = measures["word_deletion"].get("captions", FEW_IMAGES)
    notes = {}
    if words < FEW_IMAGES:
        notes["pointing_game"] = f"of {words} words alone"
    if captions < FEW_IMAGES:
        notes["word_deletion"] = f"of {captions} captions alone"
    if images < FEW_IMAGES:
        notes.update(dict.fromkeys(("deletion", "insertion", "randomised", "stability"), f"of {images} images alone"))
    return notes


def _caption(captioner: RunCaptioner, records: Sequence[Record]) -> list[CaptionedImage]:
    with_image = [record for record in records if record.image_path]
    generated = captioner.caption([record.image_file for record in with_image])
    captions = tqdm(generated, total=len(with_image), desc="captions", unit="image", mininterval=1.0, leave=False)
    return [
        CaptionedImage(record, caption, captioner.prepare(images.read_image(caption.path)))
        for record, caption in zip(with_image, captions)
        if caption.words
    ]


def _bar(captioned: Sequence[CaptionedImage], name: str) -> Iterable[CaptionedImage]:
    return tqdm(captioned, desc=name, unit="image", mininterval=1.0, leave=False)


def _cases(captioner: RunCaptioner, attributor: Attributor, captioned: Sequence[CaptionedImage]) -> Iterable[Case]:
    """The words of captions that name a finding, or its place, with the finding's mask."""
    normalizer = captioner.vocabulary.normalizer
    kinds = dict.fromkeys(normalizer.stems(" ".join(sorted(PLACE_WORDS))), "place")
    kinds.update(dict.fromkeys(normalizer.stems(" ".join(sorted(FINDING_WORDS))), "finding"))
    for item in _bar(captioned, "pointing game"):
        mask = _mask_of(item.record)
        if mask is None or not mask.any():
            continue
        named = [i for i, stem in enumerate(item.caption.stems) if stem in kinds]
        if named:
            grad_cam = attributor.words(item.pixels, item.caption.tokens).grad_cam
            for i in named:
                yield Case(kinds[item.caption.stems[i]], item.caption.attention[i], grad_cam[i], mask)


def _mask_of(record: Record) -> np.ndarray | None:
    """bool [H, W], or None where the data set has no mask of the image; raises InputError where it has two, or one that
    cannot be read."""
    masks = [path for path in mask_paths(record) if path.is_file()]
    if len(masks) > 1:
        raise InputError(f"{masks[0]} and {masks[1]} are both masks of {record.image_id!r}; take one away")
    return images.read_image(masks[0]).max(-1) > 127 if masks else None


def mask_paths(record: Record) -> list[Path]:
    """Where the mask of an image may lie: `masks/ID.png` beside the folder that its ID starts from, or in `masks`
    where the image is in `images`, at the same place.

    `test/images/CXR1/0.png` has `test/masks/CXR1/0.png`, whether its ID is `CXR1/0` or `0`.
    """
    path = record.image_file
    start = path.parents[record.image_id.count("/")]
    paths = [start.parent / "masks" / f"{record.image_id}.png"]
    parts = path.parts
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[-2::-1].index("images")
        paths.append(Path(*parts[:place], "masks", *parts[place + 1 : -1], f"{image_stem(path.name)}.png"))
    return list(dict.fromkeys(paths))


def _areas(
    attributor: Attributor, captioned: Sequence[CaptionedImage], true: Sequence[WordMaps], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    areas: dict[str, dict[str, list[np.ndarray]]] = {"deletion": defaultdict(list), "insertion": defaultdict(list)}
    for item, maps in zip(_bar(captioned, "deletion and insertion"), true):
        tokens = item.caption.tokens
        orders = {name: heaviest_first(getattr(maps, name)) for name in MAPS}
        grid = maps.attention.shape[1], maps.attention.shape[2]
        orders["random"] = np.tile(rng.permutation(grid[0] * grid[1]), (len(tokens), 1))
        for name, order in orders.items():
            own = region_areas(partial(attributor.word_log_probs, tokens=tokens), item.pixels, order, grid)
            for kind, values in own._asdict().items():
                areas[kind][name].append(values)
    return {
        kind: {name: float(np.concatenate(values).mean()) for name, values in by_name.items()}
        for kind, by_name in areas.items()
    }


def _word_deletion(
    captioner: RunCaptioner, attributor: Attributor, captioned: Sequence[CaptionedImage], rng: np.random.Generator
) -> dict[str, float]:
    """Over the captions as the model generated them; the right concepts are the reference's that it knows."""
    if captioner.model.semantic is None or not captioner.thresholds.get("words"):
        return {}
    columns = {code: i for i, code in enumerate(captioner.concepts)}
    drops = []
    for item in _bar(captioned, "word deletion"):
        right = [code for code in item.record.concepts if code in columns]
        tokens = item.caption.tokens
        if not right or len(tokens) < 2:
            continue
        weights = {
            "attention": attributor.predict_concepts(tokens[None])[1][0],
            "gradient": attributor.concept_contributions(tokens, right).sum(0),
        }
        rows = np.array([columns[code] for code in right])
        drops.append(concept_drops(lambda x: attributor.predict_concepts(x)[0], tokens, weights, rows, rng))
    return {"captions": len(drops), **means(drops)} if drops else {}


def _randomized(
    captioner: RunCaptioner, captioned: Sequence[CaptionedImage], true: Sequence[WordMaps], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """By part, from the output down: rank correlation with the true maps when it and all before it are shuffled."""
    result, attributor = {}, Attributor(captioner, folded=False)
    for part in randomized(captioner.model, rng):
        rows = []
        for item, before in zip(_bar(captioned, f"randomized down to {part}"), true):
            after = attributor.words(item.pixels, item.caption.tokens)
            rows.append({name: rank_correlation(getattr(before, name), getattr(after, name)) for name in MAPS})
        result[part] = means(rows)
    return result


def _stability(
    captioner: RunCaptioner,
    attributor: Attributor,
    captioned: Sequence[CaptionedImage],
    true: Sequence[WordMaps],
    rng: np.random.Generator,
) -> dict[str, float]:
    """How much of each map moves under noise that leaves the caption as it is."""
    rows, same = [], 0
    for item, before in zip(_bar(captioned, "stability"), true):
        tokens = item.caption.tokens
        copies = noisy(item.pixels, rng, DRAWS)
        for pixels, caption in zip(copies, captioner.caption_pixels(copies)):
            if caption.stems != item.caption.stems:
                continue
            same += 1
            after = attributor.words(pixels, tokens)
            rows.append({name: total_variation(getattr(before, name), getattr(after, name)) for name in MAPS})
    return {"same_caption": same / (len(captioned) * DRAWS), **means(rows)}


def format_audit(audit: Mapping[str, Any]) -> str:
    """`audit.json` as lines for people: a measure a paragraph."""
    lines = [f"{audit['split']}: {audit['images']} images ({audit['images_of_costly_measures']} for costly measures)"]
    for name, (title, meaning) in MEASURES.items():
        lines += ["", f"{title}. {meaning}"]
        values = audit[name] or {"not measured": "the data or the run lacks what it needs"}
        for key, value in values.items():
            lines.append(f"  {key:22}{_shown(value)}")
        if name in audit.get("notes", {}):
            lines.append(f"  note: {audit['notes'][name]}: too few to mean much")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {number:.3f}" for name, number in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_audit(path: Path, audit: Mapping[str, Any]) -> None:
    """Write `audit.json`, atomically."""
    write_text(path, json.dumps(audit, indent=2) + "\n")
