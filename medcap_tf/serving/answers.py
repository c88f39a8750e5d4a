"""A row of a server's answer as a caption's fields.

Axes: n words of the caption, T tokens, h x w regions, K concepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def caption_fields(row: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """What `captioner.Caption` holds, from one valid row of the signature `explain`.

    Args:
        row: `caption`, `stems` bytes; `score`, `length`; `attention` float32 [T, h, w]; `word_importance` [T];
            `concept` bytes and `concept_score` [K].
        threshold: concepts below it are not named.
    """
    length = int(row["length"])
    pairs = zip(row["concept"].tolist(), row["concept_score"].tolist())
    return {
        "words": tuple(row["caption"].decode().split()),
        "stems": tuple(row["stems"].decode().split()),
        "score": float(row["score"]),
        "attention": row["attention"][:length],
        "word_importance": row["word_importance"][:length] if len(row["concept"]) else None,
        "concepts": tuple((code.decode(), score) for code, score in pairs if score >= threshold),
    }
