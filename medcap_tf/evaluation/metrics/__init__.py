"""Scores of captions and concepts on plain lists, how sure they are, and whether two differ."""

from medcap_tf.evaluation.metrics.captions import (
    CiderD,
    caption_parts,
    caption_scores,
    caption_statistics,
    cut_caption,
    imageclef_2021_bleu,
    official_tokens,
)
from medcap_tf.evaluation.metrics.concepts import (
    concept_f1,
    concept_map,
    concept_map_note,
    concept_parts,
    concept_scores,
    frequency_parts,
)
from medcap_tf.evaluation.metrics.editions import (
    EDITIONS,
    MANUAL_CODES,
    edition_caption_parts,
    edition_concept_parts,
    missing_concepts,
    missing_parts,
    parts_named,
    score_name,
    text_of_2023,
)
from medcap_tf.evaluation.metrics.findings import ConceptNames, finding_parts
from medcap_tf.evaluation.metrics.resampling import Difference, compare, intervals, notes_on_intervals, notes_on_tests
from medcap_tf.evaluation.metrics.sufficient_statistics import FEW_IMAGES, SufficientStatistics, notes_on

__all__ = [
    "EDITIONS",
    "FEW_IMAGES",
    "MANUAL_CODES",
    "CiderD",
    "ConceptNames",
    "SufficientStatistics",
    "Difference",
    "caption_parts",
    "caption_scores",
    "caption_statistics",
    "cut_caption",
    "compare",
    "concept_f1",
    "concept_map",
    "concept_map_note",
    "concept_parts",
    "concept_scores",
    "edition_caption_parts",
    "edition_concept_parts",
    "finding_parts",
    "frequency_parts",
    "imageclef_2021_bleu",
    "intervals",
    "missing_concepts",
    "missing_parts",
    "notes_on",
    "notes_on_intervals",
    "notes_on_tests",
    "official_tokens",
    "parts_named",
    "score_name",
    "text_of_2023",
]
