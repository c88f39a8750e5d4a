"""Scores of captions and concepts on plain lists, how sure they are, and whether two differ."""

from medcap_tf.metrics.additive import Additive
from medcap_tf.metrics.captions import (
    caption_parts,
    caption_scores,
    caption_statistics,
    imageclef_2021_bleu,
    official_tokens,
)
from medcap_tf.metrics.concepts import concept_f1, concept_map, concept_parts, concept_scores
from medcap_tf.metrics.resampling import Difference, compare, intervals

__all__ = [
    "Additive",
    "Difference",
    "caption_parts",
    "caption_scores",
    "caption_statistics",
    "compare",
    "concept_f1",
    "concept_map",
    "concept_parts",
    "concept_scores",
    "imageclef_2021_bleu",
    "intervals",
    "official_tokens",
]
