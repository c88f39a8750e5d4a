"""Ratings of captions by people, on five criteria from 1 to 5: what a table of them says, and how far raters agree.

The criteria are those of MediaEval Medico 2025 for explanations of medical images.

Axes: N rated images, R raters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medcap_tf.data.folders import image_stem
from medcap_tf.data.tables import alike
from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics.resampling import intervals
from medcap_tf.evaluation.metrics.sufficient_statistics import mean_of

CRITERIA: Mapping[str, str] = {
    "correctness": "What the caption says of the image is right.",
    "faithfulness": "Words and maps say what the model has used, and nothing that it cannot know.",
    "clinical_relevance": "It says what matters for the patient, and nothing beside the point.",
    "clarity": "It reads well and means one thing.",
    "completeness": "Nothing that the image shows and that matters is missing.",
}
LOWEST, HIGHEST = 1, 5


class Ratings(NamedTuple):
    """One rater's table."""

    name: str  # of the file
    values: dict[str, dict[str, int]]  # image's ID -> criterion -> 1 to 5, of those that were rated


def read_ratings(path: Path) -> Ratings:
    """Read a table as the form saves it: ID, the five criteria, comment; cells may be empty.

    Raises:
        InputError: it cannot be read, lacks a column or an ID, or holds something else than 1 to 5, or nothing.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a table that the form has saved") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header, *rows = [(reader.line_num, fields) for fields in reader if fields] or [(0, [])]
    except csv.Error as error:  # a quotation mark that nothing closes would gather the rows after it
        raise InputError(f"{path}:{reader.line_num}: no table of commas ({error}); mend the quotation marks") from error
    names = header[1]
    wrong = [name for name in ("ID", *CRITERIA) if names.count(name) != 1]
    if wrong:
        raise InputError(
            f"{path}: no column {', '.join(wrong)}, or several of that name; it should have ID, {', '.join(CRITERIA)}"
        )
    values: dict[str, dict[str, int]] = {}
    for number, fields in rows:
        if len(fields) != len(names):
            raise InputError(f"{path}:{number}: {len(fields)} fields, but the first row has {len(names)}; mend it")
        row = dict(zip(names, fields))
        image_id = image_stem(row["ID"].strip())
        if not image_id:
            raise InputError(f"{path}:{number}: has no ID; give the image's")
        if image_id in values:
            raise InputError(f"{path}:{number}: {image_id!r} is rated twice; keep one row an image")
        values[image_id] = {name: _rating(row[name], f"{path}:{number}: {name}") for name in CRITERIA if row[name]}
    if not any(values.values()):
        raise InputError(f"{path}: holds no ratings; give a table that the form has saved after rating")
    return Ratings(path.name, values)


def _rating(text: str, place: str) -> int:
    if text.strip() not in map(str, range(LOWEST, HIGHEST + 1)):
        raise InputError(f"{place}: {text!r} is no rating; it should be a whole number from {LOWEST} to {HIGHEST}")
    return int(text)


def summarize(raters: Sequence[Ratings]) -> dict[str, dict[str, Any]]:
    """What R raters say, by criterion. IDs that a spreadsheet has changed (7 for 007, X for x) are the first rater's.

    Returns:
        `images`, how many were rated by anyone; `mean` over images of the raters' mean, with a 95% bootstrap interval
        `low`, `high` over images (all None without any rating); `agreement`, the mean over pairs of raters of Cohen's
        kappa with quadratic weights, on the images that both have rated, and `pairs`, how many pairs that is: kappa is
        left out where two raters share no image, or both give all of them one and the same rating.
    """
    tables: list[dict[str, dict[str, int]]] = []
    for rater in raters:
        known = {image_id for table in tables for image_id in table}
        same = alike(rater.values.keys(), known)
        tables.append({same.get(image_id, image_id): own for image_id, own in rater.values.items()})
    return {
        name: _summary([{i: own[name] for i, own in table.items() if name in own} for table in tables])
        for name in CRITERIA
    }


def _summary(raters: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    images = list(dict.fromkeys(image for own in raters for image in own))
    kappas = [
        kappa
        for i, one in enumerate(raters)
        for other in raters[i + 1 :]
        if (kappa := _kappa([(one[image], other[image]) for image in one if image in other])) is not None
    ]
    means = [float(np.mean([own[image] for own in raters if image in own])) for image in images]
    low, high = intervals({"mean": mean_of(means)})["mean"] if means else (None, None)
    return {
        "images": len(images),
        "mean": float(np.mean(means)) if means else None,
        "low": low,
        "high": high,
        "agreement": float(np.mean(kappas)) if kappas else None,
        "pairs": len(kappas),
    }


def _kappa(pairs: Sequence[tuple[int, int]]) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968) of ratings of the same images."""
    if not pairs:
        return None
    one, other = np.array(pairs, float).T
    expected = ((one[:, None] - other[None, :]) ** 2).mean()
    return None if expected == 0 else float(1 - ((one - other) ** 2).mean() / expected)
