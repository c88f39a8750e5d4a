"""A split captioned: what every measure of the audit starts from.

Axes: S pixels a side of what the encoder sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from medcap_tf.caption import Caption
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data import images
from medcap_tf.data.records import Record


class CaptionedImage(NamedTuple):
    """One captioned image; only such as have words are audited."""

    record: Record
    caption: Caption
    pixels: np.ndarray  # uint8 [S, S, 3]


def caption_records(captioner: RunCaptioner, records: Sequence[Record]) -> list[CaptionedImage]:
    """The images that the model has words for."""
    with_image = [record for record in records if record.image_path]
    generated = captioner.caption([record.image_file for record in with_image])
    captions = tqdm(generated, total=len(with_image), desc="captions", unit="image", mininterval=1.0, leave=False)
    return [
        CaptionedImage(record, caption, captioner.prepare(images.read_image(caption.path)))
        for record, caption in zip(with_image, captions)
        if caption.words
    ]


def bar(captioned: Sequence[CaptionedImage], name: str) -> Iterable[CaptionedImage]:
    """The images, with a progress bar of this name."""
    return tqdm(captioned, desc=name, unit="image", mininterval=1.0, leave=False)
