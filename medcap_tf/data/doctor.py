"""The data doctor: what a data set holds, how long and how varied its captions are, and what is wrong with it."""

from __future__ import annotations

import io
import math
import os
import statistics
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from medcap_tf.data.cells import NOTHING
from medcap_tf.data.images import decode_image, read_bytes
from medcap_tf.data.lookalikes import BITS, difference_hash, lookalikes
from medcap_tf.data.records import Dataset, Problem, Record
from medcap_tf.data.symptoms import (
    concept_tail,
    differing_modes,
    disagreeing_manual,
    junk_captions,
    nameless_codes,
    overlong_captions,
)
from medcap_tf.errors import InputError
from medcap_tf.text import Normalizer

_BLANK_WORDS = {*NOTHING, "?", "tbd", "todo"} - {""}  # which a test split may have
_SHOWN = 3  # problems of a kind that `render` prints


def examine(
    dataset: Dataset,
    normalizer: Normalizer,
    min_counts: Sequence[int] = (1, 2, 4, 5, 10),
    check_images: bool = True,
) -> dict[str, Any]:
    """Measure a data set and collect its problems.

    Args:
        dataset: what `records.read_dataset` found.
        normalizer: turns captions into the words that a model would learn.
        min_counts: for which minimum counts to give the vocabulary's size.
        check_images: decode every image, to find the unreadable ones; takes milliseconds an image.

    Returns:
        Only what JSON can hold. `splits`: for each split `images`, `captions`, `concepts` (distinct codes) and further
        counts; lengths are in words, `p95` is the smallest length that 95% of the captions do not exceed;
        `repeated_captions` counts captions equal to an earlier one. `vocabulary`: minimum count -> training stems.
        `shared`: for each pair of splits the distinct captions and concepts in both, and `records`, those of the later
        split whose caption is in the earlier. `concept_tail`: as `symptoms.concept_tail` has it. `near_duplicates`: for
        each pair the images of the later split that look like one of the earlier (where images are read).
        `problems`: file (from the root on), row, problem.
    """
    normalized = {
        split: [[token.stem for token in normalizer.tokens(record.caption)] for record in records if record.caption]
        for split, records in dataset.splits.items()
    }
    problems = [
        *dataset.problems,
        *_wordless(dataset, normalized),
        *_blank_words(dataset),
        *_ids_in_two_splits(dataset),
        *junk_captions(dataset),
        *overlong_captions(dataset),
        *disagreeing_manual(dataset),
        *nameless_codes(dataset),
    ]
    seen = _look(dataset) if check_images else {}
    copies = {f"{a} and {b}": _near_duplicates(dataset, seen, a, b) for a, b in combinations(dataset.splits, 2)}
    problems += [own.problem for by_path in seen.values() for own in by_path.values() if own.problem]
    problems += [problem for own in copies.values() for problem in own]
    problems += differing_modes({s: {str(p): o.mode for p, o in own.items() if o.mode} for s, own in seen.items()})
    counts = Counter(stem for stems in normalized.get("train", []) for stem in stems)
    return {
        "splits": {split: _measure(records, normalized[split]) for split, records in dataset.splits.items()},
        "vocabulary": {str(least): sum(n >= least for n in counts.values()) for least in min_counts},
        "shared": {
            f"{a} and {b}": _shared(dataset.splits[a], dataset.splits[b]) for a, b in combinations(dataset.splits, 2)
        },
        "concept_tail": concept_tail(dataset.splits),
        **({"near_duplicates": {pair: len(own) for pair, own in copies.items()}} if check_images else {}),
        "problems": [{"file": _relative(p.file, dataset.root), "row": p.row, "problem": p.problem} for p in problems],
    }


def _measure(records: Sequence[Record], normalized: Sequence[Sequence[str]]) -> dict[str, Any]:
    captions = [record.caption for record in records if record.caption]
    raw = [_raw_words(caption) for caption in captions]
    assignments = sum(len(record.concepts) for record in records)
    return {
        "images": sum(record.image_path is not None for record in records),
        "captions": len(captions),
        "concepts": len({code for record in records for code in record.concepts}),
        "concept_assignments": assignments,
        "concepts_per_record": round(assignments / len(records), 2) if records else 0,
        "records_without_concepts": sum(not record.concepts for record in records),
        "repeated_captions": len(captions) - len(set(captions)),
        "raw_words": _words(raw),
        "normalised_words": _words(normalized),
    }


def _raw_words(caption: str) -> list[str]:
    """Lower-cased, parted at white space, without the punctuation around them."""
    words = (word.strip(string.punctuation) for word in caption.lower().split())
    return [word for word in words if word]


def _words(captions: Sequence[Sequence[str]]) -> dict[str, Any]:
    lengths = sorted(map(len, captions)) or [0]
    return {
        "tokens": sum(lengths),
        "distinct": len({word for words in captions for word in words}),
        "length": {
            "min": lengths[0],
            "mean": round(statistics.fmean(lengths), 2),
            "median": statistics.median(lengths),
            "p95": lengths[math.ceil(0.95 * len(lengths)) - 1],
            "max": lengths[-1],
        },
    }


def _shared(earlier: Sequence[Record], later: Sequence[Record]) -> dict[str, int]:
    captions = {record.caption for record in earlier if record.caption}
    concepts = {code for record in earlier for code in record.concepts}
    return {
        "captions": len(captions & {record.caption for record in later}),
        "records": sum(record.caption in captions for record in later),
        "concepts": len(concepts & {code for record in later for code in record.concepts}),
    }


def _wordless(dataset: Dataset, normalized: dict[str, list[list[str]]]) -> Iterable[Problem]:
    for split, records in dataset.splits.items():
        captioned = [record for record in records if record.caption]
        for record, stems in zip(captioned, normalized[split]):
            if not stems:
                text = f"no words left: of {record.image_id!r}, whose caption is {record.caption[:60]!r}"
                yield Problem(dataset.tables.get(split, split), record.row, text)


def _blank_words(dataset: Dataset) -> Iterable[Problem]:
    for split, records in dataset.splits.items():
        for record in records:
            if record.caption.lower() in _BLANK_WORDS:
                text = f"caption like a blank: {record.caption!r} of {record.image_id!r} is learned as it stands"
                yield Problem(dataset.tables.get(split, split), record.row, text)


def _ids_in_two_splits(dataset: Dataset) -> Iterable[Problem]:
    home: dict[str, str] = {}
    for split, records in dataset.splits.items():
        for record in records:
            first = home.setdefault(record.image_id, split)
            if first != split:
                text = f"ID in two splits: {record.image_id!r} is in {first}, too"
                yield Problem(dataset.tables.get(split, split), record.row, text)


class _Seen(NamedTuple):
    """What one look at an image file shows."""

    problem: Problem | None = None
    hash: np.ndarray | None = None  # bool [256], see `difference_hash`
    mode: str = ""  # as Pillow calls it; of files that Pillow does not read, nothing


def _look(dataset: Dataset) -> dict[str, dict[Path, _Seen]]:
    """Read every image once: split -> path -> what it shows."""
    paths = {s: [r.image_path for r in records if r.image_path is not None] for s, records in dataset.splits.items()}
    every = list(dict.fromkeys(path for own in paths.values() for path in own))
    # Decoding leaves Python's lock, so threads do.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = pool.map(_look_at, every)
        seen = dict(zip(every, tqdm(looks, desc="images", total=len(every), unit="image") if every else looks))
    return {split: {path: seen[path] for path in own} for split, own in paths.items()}


def _look_at(path: Path) -> _Seen:
    try:
        data = read_bytes(path)
        return _Seen(None, difference_hash(decode_image(data, str(path))), _mode_of(data))
    except InputError as error:
        text = str(error).removeprefix(f"{path}: ")
        return _Seen(Problem(str(path), 0, f"unreadable image: {text}"))


def _mode_of(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return str(image.mode)
    except Exception:  # Pillow raises many kinds on what other libraries read
        return ""


def _near_duplicates(dataset: Dataset, seen: dict[str, dict[Path, _Seen]], earlier: str, later: str) -> list[Problem]:
    first, second = (list(seen.get(split, {}).items()) for split in (earlier, later))
    ids = {record.image_path: record.image_id for split in (earlier, later) for record in dataset.splits[split]}
    found = lookalikes([own.hash for _, own in first], [own.hash for _, own in second])
    text = "near duplicate: {!r} of {} looks like {!r} of {} ({} of {} bits differ)"
    return [
        Problem(str(second[j][0]), 0, text.format(ids[second[j][0]], later, ids[first[i][0]], earlier, bits, BITS))
        for j, i, bits in found
    ]


def _relative(file: str, root: Path) -> str:
    try:
        return Path(file).relative_to(root).as_posix()
    except ValueError:  # relative already
        return file


# The report for people

_ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("images", ("images",)),
    ("captions", ("captions",)),
    ("  equal to an earlier one", ("repeated_captions",)),
    ("concepts, distinct", ("concepts",)),
    ("  assignments", ("concept_assignments",)),
    ("  a record, mean", ("concepts_per_record",)),
    ("  records without any", ("records_without_concepts",)),
    *(
        row
        for title, key in (("raw", "raw_words"), ("normalized", "normalised_words"))
        for row in (
            (f"words, {title}", (key, "tokens")),
            ("  distinct", (key, "distinct")),
            *((f"  a caption, {name}", (key, "length", name)) for name in ("min", "mean", "median", "p95", "max")),
        )
    ),
)


def render(report: dict[str, Any]) -> str:
    """What `examine` returned, as text for people: a table, then the problems by kind, the first few of each."""
    splits = report["splits"]
    table = [["", *splits]]
    table += [[title, *(_look_up(values, keys) for values in splits.values())] for title, keys in _ROWS]
    parts = [_align(table)]
    if "train" in splits:
        pairs = report["vocabulary"].items()
        parts.append(
            _align([["stems in train at least", *(f"{n} x" for n, _ in pairs)], ["", *(f"{v:,}" for _, v in pairs)]])
        )
    if report["shared"]:
        head = ["shared by", "captions", "records", "concepts"]
        rows = [[pair, *(f"{counts[name]:,}" for name in head[1:])] for pair, counts in report["shared"].items()]
        parts.append(_align([head, *rows]) + "\n(records: of the later split, with a caption of the earlier)")
    parts += _render_tail(report["concept_tail"])
    if copies := {pair: count for pair, count in report.get("near_duplicates", {}).items() if count}:
        rows = [[pair, f"{count:,}"] for pair, count in copies.items()]
        parts.append(_align([["look alike", "images"], *rows]) + "\n(images: of the later split)")
    return "\n\n".join([*parts, _render_problems(report["problems"])])


def _render_tail(tail: dict[str, Any]) -> list[str]:
    if not tail:
        return []
    pairs = tail["at_most"].items()
    lines = [_align([["codes in train at most", *(f"{n} x" for n, _ in pairs)], ["", *(f"{v:,}" for _, v in pairs)]])]
    lines += [
        f"{split}: {count:,} codes that train has not, in {tail['unseen_assignments'][split]:,} labels"
        for split, count in tail["unseen"].items()
        if count
    ]
    return ["\n".join(lines)]


def _look_up(values: Any, keys: Sequence[str]) -> str:
    for key in keys:
        values = values[key]
    return f"{values:,}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _render_problems(problems: Sequence[dict[str, Any]]) -> str:
    if not problems:
        return "No problems."
    kinds: dict[str, list[dict[str, Any]]] = {}
    for problem in problems:
        kinds.setdefault(problem["problem"].partition(":")[0], []).append(problem)
    lines = [f"Problems: {len(problems):,}"]
    for kind, alike in sorted(kinds.items(), key=lambda item: -len(item[1])):
        lines.append(f"\n{kind} ({len(alike):,})")
        for problem in alike[:_SHOWN]:
            place = f"{problem['file']}, row {problem['row']}" if problem["row"] else problem["file"]
            lines.append(f"  {place}: {problem['problem'].partition(':')[2].strip()}")
        if len(alike) > _SHOWN:
            lines.append(f"  ... and {len(alike) - _SHOWN:,} more")
    return "\n".join(lines)
