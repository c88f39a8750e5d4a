"""Scores by subgroup: for which images is the captioner good, and for which is it not.

Subgroups are the images with a concept (codes such as PLANE_AXIAL are sorted by what stands before the `_`), with a
reference of some length, and with a reference that the training captions hold or do not hold.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from medcap_tf.data.records import Record
from medcap_tf.evaluation.metrics import FEW_IMAGES, SufficientStatistics, intervals, notes_on, official_tokens
from medcap_tf.files import whole_file, write_text

MIN_IMAGES = FEW_IMAGES
MOST_SUBGROUPS = 10  # of concepts of a kind, those with most images
METRICS = ("bleu_4", "rouge_l", "cider", "meteor", "imageclef_2021_bleu", "concept_f1")
SHOWN, SHOWN_AS = "rouge_l", "ROUGE-L"  # in the figure: a mean over images, so that small subgroups have it too
ALL, CONCEPTS, LENGTH, TRAINING = "all", "concept", "words in the reference", "reference caption"

# Okabe and Ito's colors: told apart by color-blind readers, and by lightness in print.
_BAR, _WHISKER, _LINE = "#56B4E9", "#000000", "#D55E00"


class Subgroup(NamedTuple):
    """Some images of a split."""

    kind: str
    group: str  # its title, and a column of the table
    name: str  # for readers: a concept's name
    rows: np.ndarray  # int64 [n], which images


def find_subgroups(
    records: Sequence[Record], training: Iterable[str], concept_names: Mapping[str, str] | None = None
) -> list[Subgroup]:
    """All images, then every subgroup of at least 10, kind by kind.

    Args:
        records: of the split that is scored.
        training: the captions that were learned from; a reference is among them if some caption has its tokens.
        concept_names: code -> name, where known.
    """
    tokens = [tuple(official_tokens(record.caption)) for record in records]
    known = {tuple(official_tokens(caption)) for caption in set(training)}
    subgroups = _by_concept(records, concept_names or {})
    subgroups += _by_length([len(words) for words in tokens])
    for name, seen in (("among the training captions", True), ("not among them", False)):
        subgroups.append(_subgroup(TRAINING, name, [i for i, words in enumerate(tokens) if (words in known) == seen]))
    everything = _subgroup(ALL, "all images", range(len(records)))
    return [everything, *(subgroup for subgroup in subgroups if len(subgroup.rows) >= MIN_IMAGES)]


def _subgroup(kind: str, group: str, rows: Iterable[int], name: str = "") -> Subgroup:
    return Subgroup(kind, group, name or group, np.array(list(rows), np.int64))


def _by_concept(records: Sequence[Record], names: Mapping[str, str]) -> list[Subgroup]:
    rows: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        for code in set(record.concepts):
            rows[code].append(i)
    taken: Counter[str] = Counter()
    subgroups = []
    for code in sorted(rows, key=lambda code: (-len(rows[code]), code)):
        kind = code.partition("_")[0].lower() if "_" in code else CONCEPTS
        taken[kind] += 1
        if taken[kind] <= MOST_SUBGROUPS:
            subgroups.append(_subgroup(kind, code, rows[code], names.get(code, code)))
    return sorted(subgroups, key=lambda subgroup: subgroup.kind)


def _by_length(lengths: Sequence[int]) -> list[Subgroup]:
    """Thirds of the references by length, as equal as whole numbers of words allow."""
    edges = np.unique(np.quantile(lengths, [1 / 3, 2 / 3], method="inverted_cdf"))
    third = np.searchsorted(edges, lengths)
    subgroups = []
    for part in range(len(edges) + 1):
        rows = np.flatnonzero(third == part)
        if len(rows):
            words = sorted({int(np.take(lengths, rows).min()), int(np.take(lengths, rows).max())})
            subgroups.append(_subgroup(LENGTH, " to ".join(map(str, words)), rows))
    return subgroups


def score_subgroups(subgroups: Sequence[Subgroup], parts: Mapping[str, SufficientStatistics]) -> list[dict[str, Any]]:
    """A row a subgroup: kind, group, name, images, each metric with its 95% interval (None where it has no value), and
    notes on the metrics that cannot mean anything there."""
    rows = []
    for subgroup in subgroups:
        own = {metric: parts[metric].of(subgroup.rows) for metric in METRICS if metric in parts}
        row: dict[str, Any] = {**subgroup._asdict(), "images": len(subgroup.rows)}
        del row["rows"]
        for metric, (low, high) in intervals(own).items():
            values = {metric: own[metric].score(), f"{metric}_low": low, f"{metric}_high": high}
            row.update({name: None if math.isnan(value) else value for name, value in values.items()})
        rows.append({**row, "notes": "; ".join(f"{metric}: {note}" for metric, note in notes_on(own).items())})
    return rows


def write_subgroups(folder: Path, rows: Sequence[Mapping[str, Any]], suffix: str = "") -> None:
    """`groups.csv` and `groups.png` of what `score_subgroups` returns; `suffix` stands after `groups`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    write_text(folder / f"groups{suffix}.csv", text.getvalue())
    with whole_file(folder / f"groups{suffix}.png") as file:
        subgroups_figure(rows).savefig(file, dpi=150, format="png")


def subgroups_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """ROUGE-L of each subgroup with its interval, one panel a kind; the dashed line is the score of all images."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != ALL)) or [ALL]
    panels = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    heights = list(map(len, panels.values()))
    # Inches: a quarter a bar, and room for each title and the axis.
    figure = Figure(figsize=(7.2, 0.25 * sum(heights) + 0.32 * len(kinds) + 0.5), layout="constrained")
    axes = figure.subplots(len(kinds), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    overall = next(row for row in rows if row["kind"] == ALL)
    for panel, (kind, bars) in zip(axes, panels.items()):
        _bars(panel, bars)
        panel.axvline(overall[SHOWN], color=_LINE, linewidth=1, linestyle="--")
        panel.set_title(kind, fontsize=9, loc="left", fontweight="bold")
    axes[-1].set_xlabel(f"{SHOWN_AS} with 95% interval; dashed: all {overall['images']} images", fontsize=9)
    axes[-1].set_xlim(left=0)
    return figure


def _bars(panel: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    scores = np.array([row[SHOWN] for row in rows])
    ends = np.array([[row[f"{SHOWN}_low"], row[f"{SHOWN}_high"]] for row in rows])
    # A percentile interval need not hold the score itself.
    reach = np.maximum([scores - ends[:, 0], ends[:, 1] - scores], 0).tolist()
    places = np.arange(len(rows))
    panel.barh(places, scores, xerr=reach, color=_BAR, ecolor=_WHISKER, capsize=2.5, height=0.72, error_kw={"lw": 1})
    panel.set_yticks(places, [f"{row['name'][:40]}  ({row['images']})" for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
