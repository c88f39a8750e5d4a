"""BERTScore (Zhang et al. 2020), on any encoder that transformers loads from a folder.

The package bert-score does the same, but calls what transformers 5 no longer has, and fails on empty captions there;
where it runs, the values agree (the tests compare them).

T is the number of a text's tokens, special ones included, C the encoder's channels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Of deberta-xlarge-mnli: the layer whose words agree best with human judgments (the authors' table).
LAYER = 40


class _Embedded(NamedTuple):
    vectors: Any  # float32 [T, C], each of length 1
    ids: list[int]  # [T]


class BertScorer:
    """F1 between two texts, not rescaled by a baseline.

    Args:
        place: a folder with model and tokenizer, as `save_pretrained` writes them.
        idf_texts: words weigh by their inverse document frequency in these; None: all weigh the same.

    Raises:
        OSError, ValueError: the folder holds no model that transformers can load.
        ImportError: torch or transformers is not installed.
    """

    def __init__(self, place: Path, idf_texts: Sequence[str] | None = None):
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
        self._model = AutoModel.from_pretrained(str(place), local_files_only=True).eval()
        self._layer = min(LAYER, self._model.config.num_hidden_layers)
        self._special = {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}
        self._idf = None if idf_texts is None else self._document_frequencies(idf_texts)

    def f1(self, reference: str, candidate: str) -> float:
        """In -1..1, in practice 0..1; 0 where a text has no word."""
        one, other = self._embed(reference), self._embed(candidate)
        if min(len(one.ids), len(other.ids)) <= len(self._special):
            return 0.0
        similarity = other.vectors @ one.vectors.T
        precision = self._weighted(similarity.max(1).values, other.ids)
        recall = self._weighted(similarity.max(0).values, one.ids)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def _encode(self, text: str) -> list[int]:
        # transformers says 1e30 where a tokenizer names no longest text.
        longest = min(self._tokenizer.model_max_length, 512)
        return list(self._tokenizer.encode(text.strip(), truncation=True, max_length=longest))

    def _embed(self, text: str) -> _Embedded:
        import torch

        ids = self._encode(text)
        with torch.inference_mode():
            hidden = self._model(torch.tensor([ids]), output_hidden_states=True).hidden_states[self._layer][0]
        return _Embedded(hidden / hidden.norm(dim=-1, keepdim=True), ids)

    def _document_frequencies(self, texts: Sequence[str]) -> dict[int, float]:
        counts = Counter(token for text in texts for token in set(self._encode(text)))
        self._unseen = math.log(len(texts) + 1)
        return {token: math.log((len(texts) + 1) / (count + 1)) for token, count in counts.items()}

    def _weight(self, token: int) -> float:
        if self._idf is None:
            return float(token not in self._special)
        return self._idf.get(token, self._unseen)

    def _weighted(self, best: Any, ids: Sequence[int]) -> float:
        weights = [self._weight(token) for token in ids]
        total = math.fsum(weights)
        return math.fsum(w * v for w, v in zip(weights, best.tolist())) / total if total else 0.0
