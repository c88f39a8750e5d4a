"""What a captioner says of one image, whoever says it: a run, an export, a server. Free of TensorFlow.

Axes: n words, h x w regions, g x g places of a finer grid, Q concepts, C channels, H x W pixels.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np

from medcap_tf.errors import InputError


@dataclass(frozen=True)
class EncodedImage:
    """An image file that lies elsewhere than in a folder of this machine: in an object store, in a row of a table."""

    name: str  # what messages call it
    read: Callable[[], bytes]  # its content; raises InputError where it cannot be had


NOVEL_FROM = 99.0
"""The percentile of novelty from which on an image is called unlike the training images: about one of a hundred of the
validation images is."""

UNLIKE = "unlike the training images"

OF_CONFIDENCE = ("weakest", "undecided")
"""The signals that a caption's confidence is computed from."""

OF_NOVELTY = ("distance", "energy")
"""The signals that an image's novelty is read from: the first that the run has."""

CLOSED_UP = ((r" ([.,;:!?)\]}%'])", r"\1"), (r"([(\[{]) ", r"\1"))
"""Marks that stand close to a word, for Python's and RE2's regular expressions: what is found, and what is written."""

# A path of an image file, or an image: uint8 [H, W, 3] RGB, [H, W] gray, PIL's, or a file from elsewhere.
ImageInput = Union[str, Path, np.ndarray, EncodedImage, Any]


def name_of(source: ImageInput) -> str:
    """What messages call an image."""
    if isinstance(source, EncodedImage):
        return source.name
    return str(source) if isinstance(source, (str, Path)) else "image"


def no_maps() -> np.ndarray:
    """The maps of no words: float32 [0, 1, 1]."""
    return np.zeros((0, 1, 1), np.float32)


def shares_of(maps: np.ndarray) -> np.ndarray:
    """Of maps float32 [n, h, w] what is above zero, made to sum to 1 where there is any."""
    positive = np.maximum(maps, 0)
    return positive / np.maximum(positive.sum((1, 2), keepdims=True), 1e-12)


def as_text(words: Iterable[str]) -> str:
    """Words and marks as one line: "a mass ( arrow ) ." is written "a mass (arrow)."."""
    text = " ".join(words)
    for between, closed in CLOSED_UP:
        text = re.sub(between, closed, text)
    return text


@dataclass(frozen=True)
class Caption:
    """What the captioner has to say of one image; `error` says why where it could not be read."""

    path: Path = Path()  # of the file; empty for an image that came as an array
    words: tuple[str, ...] = ()  # as people write them
    stems: tuple[str, ...] = ()  # as the model generates them
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  # int32 [n], the stems' ids; of a run
    score: float = 0.0  # mean log-probability a token, nats
    attention: np.ndarray = field(default_factory=no_maps)  # float32 [n, h, w], each word's map sums to 1
    evidence: np.ndarray | None = None  # float32 [n, g, g], where what spoke for each word lies, sums to 1, or 0
    image_share: np.ndarray | None = None  # float32 [n] in 0..1, what the image gave; with `evidence`
    word_importance: np.ndarray | None = None  # float32 [n], sums to 1; None without concepts
    retrieval_share: np.ndarray | None = None  # float32 [n] in 0..1, what similar images gave; None: unknown, or none
    similar: tuple[tuple[str, float], ...] = ()  # captions of similar images with their weights, where known
    concepts: tuple[tuple[str, float], ...] = ()  # codes predicted from the image (or the words), best first
    concept_names: Mapping[str, str] = field(default_factory=dict)  # what the data called codes, where it did
    concept_scores: np.ndarray | None = None  # float32 [Q] in 0..1, of all codes the run knows, named or not
    word_scores: np.ndarray | None = None  # float32 [Q] in 0..1, the same by the caption's words alone; of a run
    pooled: np.ndarray | None = None  # float32 [C], mean region
    confidence: float | None = None  # in 0..1, that no concept is named which the image does not have; None: unknown
    novelty: float | None = None  # 0..100, percentile of unlikeness to the training images; None: unknown
    abstained: str = ""  # why there are no words although the image could be read; empty where there is no such reason
    signals: Mapping[str, float] = field(default_factory=dict)  # what the two are computed from; of a run
    error: str = ""
    image: np.ndarray | None = None  # uint8 [H, W, 3], where it came as an array
    image_id: str = ""  # the record's, folders and all; empty where nobody has given one

    @property
    def word_maps(self) -> np.ndarray:
        """The maps that say most of each word, float32 [n, ., .]: evidence where there is some, else attention."""
        return self.attention if self.evidence is None else self.evidence

    def is_novel(self, novel_from: float = NOVEL_FROM) -> bool:
        """Whether the image is unlike the training images: from this percentile on."""
        return self.novelty is not None and self.novelty >= novel_from

    def unless_novel(self, novel_from: float = NOVEL_FROM) -> Caption:
        """The same caption; of an image that is unlike the training images nothing but why there is none.

        Raises:
            InputError: nobody knows how unlike it is.
        """
        if self.error:
            return self
        if self.novelty is None:
            raise InputError(
                "the model knows no novelty of images, so it cannot abstain: it was trained or exported by an earlier "
                "version, or on fewer than 20 validation images; finish the run again by train.py --resume"
            )
        if not self.is_novel(novel_from):
            return self
        reason = f"{UNLIKE}: novelty {self.novelty:.1f} of 100, captions are given below {novel_from:g}"
        kept = {name: getattr(self, name) for name in ("path", "image", "image_id", "pooled", "novelty", "signals")}
        return Caption(abstained=reason, **kept)

    def concept_label(self, code: str) -> str:
        """What the data called a concept, or else its code."""
        return self.concept_names.get(code, code)

    @property
    def text(self) -> str:
        """The caption as one line."""
        return as_text(self.words)

    def of(self, source: ImageInput) -> Caption:
        """The same caption with the image that it is of."""
        if isinstance(source, (str, Path, EncodedImage)):
            return dataclasses.replace(self, path=Path(name_of(source)))
        return dataclasses.replace(self, image=None if self.error else source)

    def _repr_html_(self) -> str:
        """For a notebook: the caption, its concepts and their scores."""
        if self.error:
            return f"<p><b>error:</b> {html.escape(self.error)}</p>"
        concepts = ", ".join(f"{html.escape(self.concept_label(code))} {score:.2f}" for code, score in self.concepts)
        trust = "" if self.confidence is None else f"; confidence {self.confidence:.2f}"
        unlike = f"<br><b>{UNLIKE}</b>" if self.is_novel() else ""
        words = html.escape(self.text or self.abstained) or "(no words)"
        return f"<p>{words}<br><small>concepts: {concepts or 'none'}{trust}</small>{unlike}</p>"

    @property
    def key(self) -> str:
        """What references know the image by: its ID, or else its path; a file's name alone is many images'."""
        return self.image_id or str(self.path)
