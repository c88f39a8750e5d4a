"""Which records have which concepts. Of thousands of concepts a record has a handful, so only those are kept.

Axes: N records, K concepts, E concepts of all records together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcap_tf.data.records import Record


@dataclass(frozen=True)
class ConceptMatrix:
    """A matrix [N, K] of zeros and ones by the columns of its ones, row after row."""

    columns: np.ndarray  # int32 [E], ascending in each row
    ends: np.ndarray  # int64 [N + 1]; row i has columns[ends[i] : ends[i + 1]]
    width: int  # K

    @classmethod
    def of(cls, records: Sequence[Record], concepts: Sequence[str]) -> ConceptMatrix:
        """Of records, by the K codes; a record's other concepts are left out."""
        index = {concept: i for i, concept in enumerate(concepts)}
        rows = [sorted({index[concept] for concept in record.concepts if concept in index}) for record in records]
        columns = np.fromiter((column for row in rows for column in row), np.int32)
        return cls(columns, np.cumsum([0, *map(len, rows)]), len(concepts))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def counts(self) -> np.ndarray:
        """How many concepts each record has: int64 [N]."""
        return np.diff(self.ends)

    def rows(self) -> np.ndarray:
        """The row of each of `columns`: int64 [E]."""
        return np.repeat(np.arange(len(self)), self.counts())

    def frequencies(self) -> np.ndarray:
        """The share of records that have each concept: float32 [K]."""
        counts = np.bincount(self.columns, minlength=self.width).astype(np.float32)
        return counts / np.float32(len(self))

    def take(self, rows: np.ndarray) -> ConceptMatrix:
        """Some of the rows, int64 [n], in this order."""
        counts = self.counts()[rows]
        ends = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(ends[-1]) + np.repeat(self.ends[:-1][rows] - ends[:-1], counts)
        return ConceptMatrix(self.columns[places], ends, self.width)

    def dense(self) -> np.ndarray:
        """float32 [N, K]; for the few rows of a batch."""
        matrix = np.zeros((len(self), self.width), np.float32)
        matrix[self.rows(), self.columns] = 1
        return matrix

    def padded(self) -> np.ndarray:
        """int32 [N, most concepts of a record]: each row's columns, then -1."""
        counts = self.counts()
        padded = np.full((len(self), max(1, counts.max(initial=0))), -1, np.int32)
        padded[np.arange(padded.shape[1]) < counts[:, None]] = self.columns
        return padded
