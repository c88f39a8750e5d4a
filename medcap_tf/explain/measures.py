"""What the audit measures, in words for people, and what follows from it in three sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Title and meaning of each measure.
MEASURES = {
    "erasure": (
        "Erasure",
        "Log-probability of words that name a finding, and scores of its concepts, with the finding painted over and "
        "with an equal area elsewhere painted over: where the first costs no more, no map can point.",
    ),
    "pointing_game": (
        "Pointing game",
        "Share of the words that name a finding or its place whose map peaks inside the finding (within: or 15 pixels "
        "beside it). Ceiling: a perfect map of these regions; location prior: where training images have such "
        "findings; random and centre are chance.",
    ),
    "pointing_groups": (
        "Pointing game by group",
        "The words that name a finding: right ones are in the reference too; sizes are shares of the image up to 1%, "
        "up to 3%, more; reference: the words of the reference, right or not in the caption.",
    ),
    "pointing_intervals": (
        "Pointing game, how sure",
        "95% bootstrap intervals over images, of the words that name a finding.",
    ),
    "side": (
        "Side",
        "Words that name the patient's left or right, in captions with one side: share whose map lies for more than a "
        "half on the matching half of the image (mass: the mean share that lies there; random: 0.5). Frontal and axial "
        "views are assumed, the patient's left on the image's right, where no word says so; other views and "
        "ultrasound are left out.",
    ),
    "deletion": (
        "Deletion",
        "A word's log-probability as its heaviest regions are blurred away (area, nats): lower is better; scaled: 0 "
        "for a random order, 1 for that of an oracle that asks the model region by region.",
    ),
    "insertion": (
        "Insertion",
        "A word's log-probability as its heaviest regions are shown (area, nats): higher is better; scaled as above.",
    ),
    "deletion_imputed": (
        "Deletion, imputed",
        "A word's mean log-probability with its heaviest sixth, third and half of the regions filled from what is "
        "around them, a second way to remove: blur may be a sign in itself. Lower is better; scaled as above.",
    ),
    "mu_fidelity": (
        "MuFidelity",
        "Correlation of what a map gives to random sets of regions with what blurring them costs: higher is better.",
    ),
    "completeness": (
        "Completeness",
        "What places, the image as a whole and the words before add to a word's logit (counted from the mean of all "
        "words' logits), and by how much their sum misses it: 0 where the map is all that the image gave.",
    ),
    "word_deletion": (
        "Word deletion",
        "Fall of the right concepts' scores without the heaviest third of the words, by the weight that is shown (the "
        "words' importance, or of a deep classifier its attention) or by the gradient: higher is better. "
        "Comprehensiveness: the same over three shares; sufficiency: the fall where those words alone are kept: lower "
        "is better.",
    ),
    "randomised": (
        "Randomized weights",
        "Rank correlation with the true maps as parts of the model are shuffled, output first: it must fall.",
    ),
    "random_logit": (
        "Random logit",
        "Rank correlation with the map of another word at the same step: a map that is the same for any word says "
        "nothing of this one.",
    ),
    "stability": (
        "Stability",
        "Share of a map that moves under noise that leaves the caption as it is, and where the image is mirrored: "
        "lower is better.",
    ),
}
_NAMES = {"evidence": "evidence", "attention": "attention", "hires_cam": "HiResCAM", "grad_cam": "Grad-CAM"}


def summary(audit: Mapping[str, Any]) -> list[str]:
    """What to believe, how far, and what not: three plain sentences on the measures of an audit."""
    return [_whether_it_looks(audit["erasure"]), _whether_it_points(audit), _what_not(audit)]


def _whether_it_looks(erasure: Mapping[str, float]) -> str:
    if not erasure:
        return "Whether the model looks at the findings cannot be told: the images have no masks."
    painted, beside = (erasure["word"] - erasure[name] for name in ("word_painted_over", "word_equal_area"))
    looks = "looks" if painted > 2 * max(beside, 0) and painted > 0.1 else "hardly looks"
    return (
        f"The model {looks} at the findings: with the finding painted over, a word that names it loses {painted:.2f} "
        f"nats, with an equal area elsewhere {beside:.2f}."
    )


def _whether_it_points(audit: Mapping[str, Any]) -> str:
    rates, ends = audit["pointing_game"], audit["pointing_intervals"]
    if "finding_random" not in rates:
        unknown = (
            "Whether maps point at what words name cannot be told: no word of a caption names a finding with a mask"
        )
        return f"{unknown}{_whether_sides_fit(audit.get('side') or {})}."
    best = max(_NAMES, key=lambda name: rates.get(f"finding_{name}", -1))
    rate, chance = rates[f"finding_{best}"], rates.get("finding_location_prior", rates["finding_random"])
    other = "knowing where such findings usually are" if "finding_location_prior" in rates else "a random point"
    advice = "a hint" if ends.get(best, [rate])[0] > chance else "no sign"
    return (
        f"Of the words that name a finding {rate:.0%} have the peak of the best map ({_NAMES[best]}) inside it, of "
        f"at most {rates['finding_ceiling']:.0%} on this grid; {other} reaches {chance:.0%}: read a peak as {advice} "
        "of the place."
    )


def _whether_sides_fit(side: Mapping[str, float]) -> str:
    """What sides tell where no mask does; empty where they tell nothing."""
    known = [name for name in _NAMES if name in side]
    if not known:
        return ""
    best = max(known, key=lambda name: side[name])
    low, high = side.get(f"{best}_low", 0.0), side.get(f"{best}_high", 1.0)
    return (
        f"; of {side['words']} words that name a side, {side[best]:.0%} ({low:.0%} to {high:.0%}) have the better map "
        f"({_NAMES[best]}) on that side of the image, and half would by chance"
    )


def _what_not(audit: Mapping[str, Any]) -> str:
    groups, words = audit["pointing_groups"], audit["word_deletion"]
    warnings = []
    right, wrong = groups.get("right words"), groups.get("wrong words")
    if right and wrong:
        best = max(_NAMES, key=lambda name: right.get(name, -1))
        if right[best] <= wrong[best] + 0.05:
            warnings.append(
                f"a map that points does not make a word right (right words {right[best]:.0%}, wrong ones "
                f"{wrong[best]:.0%})"
            )
    shown = words.get("importance", words.get("attention"))  # of a sum over words, or of a deep classifier
    if shown is not None and shown <= words["random"]:
        warnings.append(
            f"the weights of words are no reasons (without the heaviest the concepts lose {shown:.3f}, "
            f"without random ones {words['random']:.3f})"
        )
    if not warnings:
        return "No other measure warns."
    return f"Do not believe more than that: {'; '.join(warnings)}."
