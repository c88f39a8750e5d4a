"""What an evaluation leaves: the tables of predictions, `scores.json`, and the same scores for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcap_tf.caption import Caption
from medcap_tf.data.records import Record
from medcap_tf.files import write_text

METHODS = ("model", "oracle", "thresholds_by_label", "neighbors", "nearest_image", "popular_words")


def file_suffix(split: str, test_split: str) -> str:
    """What stands in a run folder after the names of a split's files: nothing for the run's own test split."""
    return "" if split == test_split else f"_{split}"


def write_predictions(folder: Path, records: Sequence[Record], captions: Sequence[Caption], suffix: str = "") -> None:
    """`predictions.csv` (ID,Caption) and `concepts.csv` (ID,CUIs)."""
    ids = [record.image_id for record in records]
    _write_table(folder / f"predictions{suffix}.csv", "Caption", zip(ids, (caption.text for caption in captions)))
    codes = (";".join(code for code, _ in caption.concepts) for caption in captions)
    _write_table(folder / f"concepts{suffix}.csv", "CUIs", zip(ids, codes))


def write_scores(folder: Path, scores: dict[str, Any], suffix: str = "") -> None:
    """`scores.json`, written atomically."""
    write_text(folder / f"scores{suffix}.json", json.dumps(scores, indent=2) + "\n")


def _write_table(path: Path, column: str, rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ID", column])
    writer.writerows(rows)
    write_text(path, text.getvalue())


def format_scores(scores: dict[str, Any]) -> str:
    """`scores.json` as a table for people: a row a metric, a column a method, with 95% intervals where there are."""
    methods = [name for name in METHODS if name in scores]
    width = max(22, *(len(metric) + 1 for metric in scores[methods[0]]))
    lines = [f"{scores['split']}: {scores['images']} images".ljust(width) + "".join(m.rjust(26) for m in methods)]
    for metric in scores[methods[0]]:
        ends = [scores.get("intervals", {}).get(method, {}).get(metric) for method in methods]
        cells = [_cell(scores[method], metric, end) for method, end in zip(methods, ends)]
        lines.append(metric.ljust(width) + "".join(cell.rjust(26) for cell in cells))
    if "own_entries_left_out" in scores:
        count = scores["own_entries_left_out"]
        lines.append(f"{count} of these images are in the run's datastore: none was given its own entry as a neighbor")
    if "attention" in scores:
        differs = ", ".join(f"{value:.3f} {name.replace('_', ' ')}" for name, value in scores["attention"].items())
        lines.append(f"attention differs by {differs} (total variation, 0 to 1)")
    if "calibration" in scores:
        lines.append(_calibration_line(scores["calibration"]))
    lines += [f"note: {line}" for line in _note_lines(scores.get("notes", {}))]
    return "\n".join(line.rstrip() for line in lines)


def _calibration_line(values: Mapping[str, float | None]) -> str:
    known = (f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items() if value is not None)
    return "calibration: " + ", ".join(known)


def _cell(own: Mapping[str, float | None], metric: str, ends: Sequence[float] | None) -> str:
    value = own.get(metric)
    if value is None:
        return ("not computed" if metric in own else "-") + " " * 15
    return f"{value:.4f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else " " * 15)


def _note_lines(notes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line a note, with the scores and the methods that share it."""
    sharing: dict[str, list[tuple[str, str]]] = {}
    for method, own in notes.items():
        for score, note in own.items():
            sharing.setdefault(note, []).append((score, method))
    lines = []
    for note, pairs in sharing.items():
        names, methods = (", ".join(dict.fromkeys(column)) for column in zip(*pairs))
        lines.append(f"{names} ({methods}): {note}")
    return lines
