"""Why an image has its caption, as arrays; drawing comes later.

Axes: n words of the caption, h x w regions, K concepts shown, H x W pixels of the image as it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from medcap_tf.caption import Caption, no_maps
from medcap_tf.data import images
from medcap_tf.errors import InputError
from medcap_tf.text import Normalizer

# A page of captions that came from a server holds no TensorFlow.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medcap_tf.captioner import RunCaptioner

CONCEPTS_SHOWN = 6
LONGEST_SIDE = 1280  # pixels of the image as it is shown: more than a figure's panel has in print
SIMILAR_SHOWN, MIN_RETRIEVAL_WEIGHT = 3, 0.005  # a training image of less weight is not worth a line
METHOD_CONCEPTS = 3  # an image's strongest, for tf-explain's slower methods


@dataclass(frozen=True)
class WordReading:
    """How the semantic classifier reads a caption."""

    words: tuple[str, ...]
    importance: np.ndarray  # float32 [n], sums to 1
    concepts: tuple[tuple[str, float], ...]  # code and score, best first
    contributions: np.ndarray  # float32 [K, n], what each word gives to each concept, in logits
    scores: dict[str, float] = field(default_factory=dict)  # of all codes the run knows, by these words alone


@dataclass(frozen=True)
class Explanation:
    """One image, its caption, and why; `caption.error` says why there is nothing else."""

    caption: Caption
    image: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))  # [H, W, 3], up to LONGEST_SIDE
    attention: np.ndarray = field(default_factory=no_maps)  # float32 [n, h, w], sums to 1 for each word
    grad_cam: np.ndarray | None = None  # float32 [n, h, w], sums to 1 for each word, or 0; None without the model
    reading: WordReading | None = None
    retrieval_share: np.ndarray | None = None  # float32 [n] in 0..1, of each word, from similar training images
    similar: tuple[tuple[str, str, float], ...] = ()  # of those images ID, caption and weight, the heaviest first
    reference: str = ""
    reference_reading: WordReading | None = None
    concept_scores: dict[str, float] = field(default_factory=dict)  # the model's own, of all codes the run knows
    layers: dict[str, np.ndarray] = field(default_factory=dict)  # float32 [h', w', C'] by layer name
    methods: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # concept -> tf-explain method -> picture

    def plot(self, dpi: int = 110) -> Figure:
        """The figure of where the model looked for each word; a notebook shows it.

        Raises:
            InputError: there is no caption.
        """
        from medcap_tf.explain.figures import words_figure

        if self.caption.error or not self.image.size:
            raise InputError(self.caption.error or "there is no image to draw over")
        unit = "attention, in shares of an even spread"
        return words_figure(self, self.attention, "where it looked", unit, dpi)

    def report(self, folder: Path | str) -> Path:
        """Write the page that shows everything, for a browser: `folder/report.html`; returns its path."""
        from medcap_tf.explain.report import write_report

        Path(folder).mkdir(parents=True, exist_ok=True)
        return write_report(Path(folder) / "report.html", [self], self.caption.text or "No caption")

    def _repr_html_(self) -> str:
        """For a notebook: the report's page inside a frame."""
        from medcap_tf.explain.report import framed

        return framed(self)


class Explainer:
    """Explains a run's captions; everything that costs time to build is built once."""

    def __init__(self, captioner: RunCaptioner, layers: Sequence[str] = (), methods: Sequence[str] = ()):
        """Build.

        Args:
            captioner: a loaded run.
            layers: names of ResNet50's layers to keep.
            methods: tf-explain's methods to draw for the strongest concepts of each image.

        Raises:
            InputError: no such layer; methods for a run whose images name no concepts.
        """
        from medcap_tf.explain.attribution import Attributor, LayerReader
        from medcap_tf.explain.methods import ConceptMethods

        self._captioner = captioner
        self._attributor, self._layers = Attributor(captioner), LayerReader(captioner, layers)
        self._methods = ConceptMethods(captioner, methods) if methods else None

    def explain(self, caption: Caption, reference: str = "") -> Explanation:
        """Say why.

        Args:
            caption: of this explainer's captioner; one with an error gives an `Explanation` with that error.
            reference: the reference caption, where known.
        """
        if caption.error:
            return Explanation(caption)
        image = images.to_array(caption.path if caption.image is None else caption.image)
        pixels = self._captioner.prepare(image)
        words = self._attributor.words(pixels, caption.tokens) if len(caption.words) else None
        return Explanation(
            caption,
            _shown(image),
            caption.attention,
            words.grad_cam if words else caption.attention,
            self._read(caption.tokens, caption.words) if words else None,
            words.retrieval_share if words and self._captioner.datastore else None,
            self._similar(pixels),
            reference,
            self._read_reference(reference),
            self._by_code(caption.concept_scores),
            self._layers.read(pixels),
            self._methods.draw(pixels, caption.concepts[:METHOD_CONCEPTS]) if self._methods else {},
        )

    def _similar(self, pixels: np.ndarray) -> tuple[tuple[str, str, float], ...]:
        similar = self._captioner.similar(pixels, SIMILAR_SHOWN)
        rows = ((record.image_id, record.caption, weight) for record, weight in similar)
        return tuple(row for row in rows if row[2] >= MIN_RETRIEVAL_WEIGHT)

    def _read_reference(self, reference: str) -> WordReading | None:
        vocabulary = self._captioner.vocabulary
        tokens = np.array(vocabulary.encode(reference), np.int32)
        words = [token.surface for token in vocabulary.normalizer.tokens(reference)]
        return self._read(tokens, words) if len(words) else None

    def _read(self, tokens: np.ndarray, words: Sequence[str]) -> WordReading | None:
        captioner = self._captioner
        if captioner.model.semantic is None:
            return None
        scores, importance = self._attributor.predict_concepts(tokens[None])
        threshold = captioner.thresholds.get("words", 0.5)
        best = [i for i in np.argsort(-scores[0])[:CONCEPTS_SHOWN] if scores[0, i] >= threshold]
        codes = [captioner.concepts[i] for i in best]
        contributions = np.zeros((0, len(tokens)), np.float32)
        if codes:
            contributions = self._attributor.concept_contributions(tokens, codes)
        named = tuple((code, float(scores[0, i])) for code, i in zip(codes, best))
        return WordReading(tuple(words), importance[0], named, contributions, self._by_code(scores[0]))

    def _by_code(self, scores: np.ndarray | None) -> dict[str, float]:
        """Scores float32 [K] of all codes the run knows, under their codes."""
        return {} if scores is None else dict(zip(self._captioner.concepts, scores.astype(float).tolist()))


def from_caption(caption: Caption, image: np.ndarray) -> Explanation:
    """What a caption says by itself, as a server answers it: attention, the words' weights and what of them similar
    images gave; no gradients, no layers.

    Args:
        caption: of a readable image, with or without words.
        image: uint8 [H, W, 3], what was captioned.
    """
    weights, words, reading = caption.word_importance, caption.words, None
    if weights is not None and words:
        reading = WordReading(words, weights, (), np.zeros((0, len(words)), np.float32))
    similar = tuple(("", text, weight) for text, weight in caption.similar if weight >= MIN_RETRIEVAL_WEIGHT)
    share = caption.retrieval_share
    return Explanation(
        caption, _shown(image), caption.attention, reading=reading, retrieval_share=share, similar=similar
    )


def _shown(image: np.ndarray) -> np.ndarray:
    """An image as people are shown it; the file's own pixels may be very many."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


def shared_words(words: Sequence[str], caption: str) -> list[bool]:
    """For each word, whether the caption holds it too, in any form with the same stem."""
    normalizer = Normalizer()
    known = set(normalizer.stems(caption))
    return [not known.isdisjoint(normalizer.stems(word)) for word in words]


def over_image(grid: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A map of regions [h, w] over the original image, float32 [H, W], smooth and never below 0.

    The encoder saw the image squashed to a square, so stretching the square grid back to H x W undoes it. Cubic
    interpolation between the regions' centers, as OpenCV aligns them; it overshoots a little, which is cut.
    """
    height, width = shape
    return np.maximum(cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC), 0)


def layer_by(captioner: RunCaptioner, name: str) -> str:
    """A layer's Keras name from its name or its running number ("20"); raises InputError on neither, or on one whose
    output is no grid."""
    layers = captioner.model.encoder.layers
    names = [layer.name for layer in layers]
    if name.isdigit() and int(name) < len(names):
        name = names[int(name)]
    if name not in names:
        raise InputError(f"no layer {name!r}; give a name such as conv2_block3_out, or a number below {len(names)}")
    if len(layers[names.index(name)].output_shape) != 4:
        raise InputError(f"layer {name!r} gives no feature maps but {layers[names.index(name)].output_shape}")
    return name
