"""A served model as a captioner: the same calls and answers as a run's, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medcap_tf.caption import Caption
from medcap_tf.errors import InputError
from medcap_tf.serving.answers import to_caption
from medcap_tf.serving.client import Client, in_batches
from medcap_tf.serving.upload import try_read


class RemoteCaptioner:
    """One model on a server, ready to caption."""

    def __init__(self, client: Client, threshold: float):
        """`threshold`: concepts below it are not named; an answer does not carry the export's own."""
        self._client, self._threshold = client, threshold

    def caption(self, paths: Sequence[Path]) -> Iterator[Caption]:
        """Caption image files in their order, a request each; where a file cannot be read or the server gives no
        answer, the `Caption` holds the error."""
        for path in paths:
            try:
                (row,) = in_batches(self._client, "explain", [try_read(path)], 1)
            except InputError as error:
                row = error
            yield (
                Caption(path, error=str(row)) if isinstance(row, InputError) else to_caption(path, row, self._threshold)
            )
