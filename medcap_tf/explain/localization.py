"""The measures that need masks: erasure, and the cases of the pointing game.

Axes: n words, h x w regions, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medcap_tf.captioner import RunCaptioner
from medcap_tf.explain.attribution import Attributor, WordMaps
from medcap_tf.explain.captioned import CaptionedImage, bar
from medcap_tf.explain.erasure import elsewhere, paint_over, prepared_mask
from medcap_tf.explain.grid import shares_of_regions
from medcap_tf.explain.masks import LocationPrior, mask_of
from medcap_tf.explain.pointing import Case, means
from medcap_tf.phantoms import FINDING_WORDS, PLACE_WORDS

SIZES = {"small findings": 0.01, "medium findings": 0.03, "large findings": 1.0}  # share of the image, at most


def named_words(captioner: RunCaptioner) -> dict[str, str]:
    """What stems of phantoms' captions name: `finding` or `place`."""
    normalizer = captioner.vocabulary.normalizer
    kinds = dict.fromkeys(normalizer.stems(" ".join(sorted(PLACE_WORDS))), "place")
    kinds.update(dict.fromkeys(normalizer.stems(" ".join(sorted(FINDING_WORDS))), "finding"))
    return kinds


def erasure(
    captioner: RunCaptioner,
    attributor: Attributor,
    captioned: Sequence[CaptionedImage],
    words: Mapping[str, str],
    rng: np.random.Generator,
) -> dict[str, float]:
    """What words that name a finding, and its concepts, lose where it is painted over, or an equal area elsewhere."""
    codes = _finding_concepts(captioner, words)
    rows = []
    for item in bar(captioned, "erasure"):
        named = [i for i, stem in enumerate(item.caption.stems) if words.get(stem) == "finding"]
        mask = mask_of(item.record) if named else None
        if mask is None or not mask.any():
            continue
        inside = prepared_mask(mask, item.pixels.shape[0])
        outside = elsewhere(item.pixels, inside, rng)
        if outside is None:
            continue
        variants = np.stack([item.pixels, *(paint_over(item.pixels, area) for area in (inside, outside))])
        log_probs = attributor.word_log_probs(variants, item.caption.tokens)
        columns = [column for code, column in codes.items() if code in item.record.concepts]
        concepts = attributor.image_concepts(variants)[:, columns].mean(1) if columns else np.full(3, np.nan)
        for i in named:
            whole, painted, beside = log_probs[:, i]
            rows.append(
                {"word": whole, "word_painted_over": painted, "word_equal_area": beside,
                 "loses_more_than_elsewhere": float(whole - painted > whole - beside), "concept": concepts[0],
                 "concept_painted_over": concepts[1], "concept_equal_area": concepts[2]}
            )  # fmt: skip
    return {"words": len(rows), **means(rows)} if rows else {}


def _finding_concepts(captioner: RunCaptioner, words: Mapping[str, str]) -> dict[str, int]:
    """Columns of the image's concepts whose names name a finding; none where images name no concepts."""
    if "image" not in captioner.thresholds:
        return {}
    stems = captioner.vocabulary.normalizer.stems
    names = captioner.concept_names
    return {
        code: column
        for column, code in enumerate(captioner.concepts)
        if any(words.get(stem) == "finding" for stem in stems(names.get(code, "")))
    }


def pointing_cases(
    captioner: RunCaptioner,
    attributor: Attributor,
    captioned: Sequence[CaptionedImage],
    words: Mapping[str, str],
    prior: LocationPrior,
    known: Sequence[WordMaps] = (),
) -> Iterable[Case]:
    """The words of captions, and of references, that name a finding or its place, with the finding's mask.

    `known`: the maps of the first captions' words.
    """
    vocabulary, grid = captioner.vocabulary, captioner.model.finest_grid
    for number, item in enumerate(bar(captioned, "pointing game")):
        mask = mask_of(item.record)
        if mask is None or not mask.any():
            continue
        reference = np.array(vocabulary.encode(item.record.caption), np.int32)
        shared = set(vocabulary.normalizer.stems(item.record.caption))
        for stems, tokens, is_reference in (
            (item.caption.stems, item.caption.tokens, False),
            (vocabulary.decode(reference), reference, True),
        ):
            named = [i for i, stem in enumerate(stems) if stem in words]
            if not named:
                continue
            has_maps = not is_reference and number < len(known)
            maps = known[number] if has_maps else attributor.words(item.pixels, tokens)
            for i in named:
                own = {name: grid[i] for name, grid in maps.compared().items()}
                own["ceiling"] = shares_of_regions(mask, grid)
                if (usual := prior.map_of(stems[i])) is not None:
                    own["location_prior"] = usual
                groups = ("reference",) if is_reference else _groups(stems[i] in shared, maps, i, mask)
                yield Case(number, words[stems[i]], own, mask, groups)


def _groups(right: bool, maps: WordMaps, word: int, mask: np.ndarray) -> tuple[str, ...]:
    """What a word of a caption is counted among: whether the reference has it, the finding's size, who gave it."""
    size = next(name for name, share in SIZES.items() if mask.mean() <= share)
    source = "mostly retrieved" if maps.retrieval_share[word] > 0.5 else "mostly decoded"
    return ("right words" if right else "wrong words", size, source)
