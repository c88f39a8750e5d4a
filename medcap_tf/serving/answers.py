"""A row of a server's answer as a caption.

Axes: n words of the caption, T tokens, h x w regions, K concepts, M similar training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcap_tf.caption import Caption, ImageInput, name_of, shares_of
from medcap_tf.serving.upload import REFUSED
from medcap_tf.text import words_of


def to_caption(source: ImageInput, row: Mapping[str, Any], threshold: float) -> Caption:
    """The caption, or why there is none, from one row of the signature `explain`.

    Args:
        source: the path of the image file, or the image.
        row: `valid`; `caption`, `stems` bytes; `score`, `length`; `attention` float32 [T, h, w]; `word_importance` [T];
            `concept` bytes and `concept_score` [K]; of exports that tell: `concept_name` bytes [K]; `copied` float32
            [T], `similar` bytes and `similar_weight` float32 [M]; `evidence` float32 [T, g, g] and `image_share`
            float32 [T]; `confidence` and `novelty`.
        threshold: concepts below it are not named.
    """
    if not row["valid"]:
        return Caption(error=f"{name_of(source)}: {REFUSED}").of(source)
    length, stems = int(row["length"]), tuple(row["stems"].decode().split())
    codes = [code.decode() for code in row["concept"].tolist()]
    # An export of an earlier version tells no names, and nothing of similar images.
    names = [name.decode() for name in row["concept_name"].tolist()] if "concept_name" in row else []
    similar = zip(row["similar"].tolist(), row["similar_weight"].tolist()) if "similar" in row else ()
    similar_captions = tuple((text.decode(), weight) for text, weight in similar)
    caption = Caption(
        words=words_of(row["caption"].decode(), len(stems)),
        stems=stems,
        score=float(row["score"]),
        attention=row["attention"][:length],
        evidence=shares_of(row["evidence"][:length]) if "evidence" in row else None,
        image_share=row["image_share"][:length] if "image_share" in row else None,
        word_importance=row["word_importance"][:length] if len(row["concept"]) else None,
        retrieval_share=row["copied"][:length] if similar_captions else None,
        similar=similar_captions,
        concepts=tuple(pair for pair in zip(codes, row["concept_score"].tolist()) if pair[1] >= threshold),
        concept_names={code: name for code, name in zip(codes, names) if name},
        confidence=float(row["confidence"]) if "confidence" in row else None,
        novelty=float(row["novelty"]) if "novelty" in row else None,
    )
    return caption.of(source)
