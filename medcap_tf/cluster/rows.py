"""Captions as rows of a table: the columns of a bulk job.

Axes: n words of the caption, h x w regions.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from medcap_tf.caption import Caption

COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("caption", pa.string()),
        ("stems", pa.string()),
        ("score", pa.float32()),  # mean log-probability a token, nats
        ("concepts", pa.list_(pa.string())),  # codes, best first
        ("concept_scores", pa.list_(pa.float32())),  # of these
        ("confidence", pa.float32()),  # the tokens' mean probability, geometric: exp(score)
        ("error", pa.string()),  # null where there is a caption
    ]
)
TEXT_COLUMNS = ("path", "caption", "score", "concepts", "confidence", "error")  # of the CSV
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
        "confidence": math.exp(caption.score),
    }


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
