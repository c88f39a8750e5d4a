"""What each epoch of each stage came to, kept beside the run: `history.csv` and TensorBoard."""

from __future__ import annotations

import csv
import io
from typing import Any

import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.files import write_text
from medcap_tf.run_folder import RunFolder


class History:
    """`history.csv` and its TensorBoard twin: a row for each epoch of each stage."""

    def __init__(self, run: RunFolder):
        self.path = run.history
        self.rows = self.read(run)
        self._board = tf.summary.create_file_writer(str(run.logs))

    @staticmethod
    def read(run: RunFolder) -> list[dict[str, Any]]:
        """The rows so far; raises InputError where the file is damaged."""
        path = run.history
        if not path.exists():
            return []
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if all(row["stage"] and int(row["epoch"]) for row in rows):
                return rows
            fault = "a row without stage or epoch"
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            fault = str(error)
        raise InputError(f"{path}: cannot be read ({fault}); bring it back, or remove it and lose the curves so far")

    def forget(self, stage: str, epoch: int) -> None:
        """Drop the rows of epochs that are about to be trained again."""
        self.rows = [r for r in self.rows if r["stage"] != stage or int(r["epoch"]) < epoch]

    def add(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Append a row and write the file atomically."""
        self.rows.append({"stage": stage, "epoch": epoch, **{name: f"{value:.6g}" for name, value in values.items()}})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
        with self._board.as_default(step=epoch):
            for name, value in values.items():
                tf.summary.scalar(f"{stage}/{name}", value)
        self._board.flush()
