"""Captions as rows of a table: the columns of a bulk job.

Axes: n words of the caption, h x w regions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from medcap_tf.caption import Caption
from medcap_tf.explain.regions import find_regions

COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("caption", pa.string()),
        ("stems", pa.string()),
        ("score", pa.float32()),  # mean log-probability a token, nats
        ("concepts", pa.list_(pa.string())),  # codes, best first
        ("concept_scores", pa.list_(pa.float32())),  # of these
        ("confidence", pa.float32()),  # that no concept is named wrongly; null of models that do not know
        ("novelty", pa.float32()),  # percentile among the validation images; null likewise
        ("error", pa.string()),  # null where there is a caption
    ]
)
_GRID = pa.list_(pa.list_(pa.float32()))  # n maps of h * w values, row by row
EXPLAINED = pa.schema(
    [
        *COLUMNS,
        ("words", pa.list_(pa.string())),  # the caption's n words
        ("grid", pa.list_(pa.int32())),  # h, w
        ("attention", _GRID),  # where the model looked for each word; each sums to 1
        ("evidence", _GRID),  # what the image gave each word; null of models that do not say
        ("boxes", pa.list_(_GRID)),  # each word's regions: left, top, right, bottom in shares of the image
    ]
)
TEXT_COLUMNS = ("path", "caption", "score", "concepts", "confidence", "novelty", "error")  # of the CSV
_SHOWN = 20  # reasons of failures


def to_row(name: str, caption: Caption) -> dict[str, Any]:
    """The row of one image; where it could not be read, `error` alone is filled beside its path."""
    if caption.error:
        return {"path": name, "error": caption.error}
    return {
        "path": name,
        "caption": caption.text,
        "stems": " ".join(caption.stems),
        "score": caption.score,
        "concepts": [code for code, _ in caption.concepts],
        "concept_scores": [score for _, score in caption.concepts],
        "confidence": caption.confidence,
        "novelty": caption.novelty,
    }


def explained(caption: Caption) -> dict[str, Any]:
    """The columns that `EXPLAINED` has beyond the others; nothing of an image that could not be read."""
    if caption.error:
        return {}
    attention, evidence = caption.attention, getattr(caption, "evidence", None)
    regions = [find_regions(grid) for grid in (attention if evidence is None else evidence)]
    return {
        "words": list(caption.words),
        "grid": list(attention.shape[1:]),
        "attention": _flat(attention),
        "evidence": None if evidence is None else _flat(evidence),
        "boxes": [[list(region.box) for region in own] for own in regions],
    }


def _flat(maps: np.ndarray) -> list[np.ndarray]:
    return list(np.asarray(maps, np.float32).reshape(len(maps), -1)) if len(maps) else []


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, facts: Mapping[str, Any]) -> pa.Table:
    """Rows as a table, with what is worth knowing of all of them in its footer."""
    summary = {**facts, "images": len(rows), "failures": dict(failures(rows))}
    footer = {b"medcap": json.dumps(summary, ensure_ascii=False).encode()}
    return pa.Table.from_pylist(list(rows), schema=schema.with_metadata(footer))


def facts_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What `to_table` wrote into the footer."""
    return json.loads((metadata or {}).get(b"medcap", b"{}"))


def failures(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many rows failed for each reason, which is the message without the image's name."""
    return Counter(_reason(row["path"], row["error"]) for row in rows if row.get("error"))


def _reason(name: str, error: str) -> str:
    return error.replace(f"{name}: ", "").replace(name, "...")


def most_common(reasons: Counter[str]) -> dict[str, int]:
    """The commonest reasons, the others summed up."""
    shown = dict(reasons.most_common(_SHOWN))
    rest = reasons.total() - sum(shown.values())
    return {**shown, **({"others": rest} if rest else {})}
