"""Everything there is to say about one image's caption, as arrays; drawing comes later.

Axes: n words of the caption, h x w regions, K concepts shown, H x W pixels of the image as it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from medcap_tf import images
from medcap_tf.caption import Caption
from medcap_tf.errors import InputError
from medcap_tf.text import Normalizer

# A page of captions that came from a server holds no TensorFlow.
if TYPE_CHECKING:
    from medcap_tf.captioner import Captioner

CONCEPTS_SHOWN = 6
LONGEST_SIDE = 1280  # pixels of the image as it is shown: more than a figure's panel has in print
SIMILAR_SHOWN, LEAST_SAY = 3, 0.005  # a training image with less say is not worth a line
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
class Reasons:
    """One image, its caption, and why; `caption.error` says why there is nothing else."""

    caption: Caption
    image: np.ndarray | None = None  # uint8 [H, W, 3], no side longer than LONGEST_SIDE
    attention: np.ndarray | None = None  # float32 [n, h, w], sums to 1 for each word
    grad_cam: np.ndarray | None = None  # float32 [n, h, w], sums to 1 for each word, or 0; None without the model
    reading: WordReading | None = None
    copied: np.ndarray | None = None  # float32 [n] in 0..1, each word's share that similar training images gave
    similar: tuple[tuple[str, str, float], ...] = ()  # of those images ID, caption and weight, the heaviest first
    reference: str = ""
    reference_reading: WordReading | None = None
    concept_scores: dict[str, float] = field(default_factory=dict)  # the model's own, of all codes the run knows
    layers: dict[str, np.ndarray] = field(default_factory=dict)  # float32 [h', w', C'] by layer name
    methods: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # concept -> tf-explain method -> picture


def explain(
    captioner: Captioner,
    captions: Iterable[Caption],
    layers: Sequence[str] = (),
    references: dict[str, str] | None = None,
    methods: Sequence[str] = (),
) -> Iterator[Reasons]:
    """Say why, of one caption after another: memory holds one image at a time.

    Args:
        captioner: a loaded run.
        captions: as `captioner.caption` gives them; one with an error gives `Reasons` with that error.
        layers: names of ResNet50's layers to keep.
        references: reference captions by the captions' `key`, the image's ID or else its path, where known.
        methods: tf-explain's methods to draw for the strongest concepts of each image.
    """
    view = captioner.concept_view() if methods else None
    for caption in captions:
        if caption.error:
            yield Reasons(caption)
            continue
        image, pixels = _read_image(captioner, caption.path)
        reference = (references or {}).get(caption.key, "")
        found = {name: x[0] for name, x in captioner.activations(pixels[None], layers).items()} if layers else {}
        spoken = len(caption.words) > 0
        yield Reasons(
            caption,
            image,
            caption.attention,
            captioner.grad_cam(pixels, caption.tokens) if spoken else caption.attention,
            _read(captioner, caption.tokens, caption.words) if spoken else None,
            captioner.copied(pixels, caption.tokens) if spoken and captioner.retriever else None,
            _similar(captioner, pixels),
            reference,
            _read_reference(captioner, reference),
            by_code(captioner, caption.concept_scores),
            found,
            _methods(captioner, view, pixels, caption, methods) if view is not None else {},
        )


def told(caption: Caption, image: np.ndarray) -> Reasons:
    """What a caption says by itself, as a server answers it: attention, the words' weights and what of them was copied,
    no gradients, no layers.

    Args:
        caption: of a readable image, with or without words.
        image: uint8 [H, W, 3], what was captioned.
    """
    weights, words = caption.word_importance, caption.words
    known = weights is not None and len(words)
    reading = WordReading(words, weights, (), np.zeros((0, len(words)), np.float32)) if known else None
    similar = tuple(("", text, weight) for text, weight in caption.similar if weight >= LEAST_SAY)
    return Reasons(caption, image, caption.attention, reading=reading, copied=caption.copied, similar=similar)


def _read_image(captioner: Captioner, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image as people are shown it, and as the encoder sees it; the file's own pixels may be very many."""
    image = images.read_image(path)
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return shown, captioner.prepare(image)


def _similar(captioner: Captioner, pixels: np.ndarray) -> tuple[tuple[str, str, float], ...]:
    found = captioner.similar(pixels, SIMILAR_SHOWN)
    return tuple((record.image_id, record.caption, weight) for record, weight in found if weight >= LEAST_SAY)


def _methods(
    captioner: Captioner, view: Any, pixels: np.ndarray, caption: Caption, methods: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    from medcap_tf.explain.methods import method_pictures

    layer, names, pictures = captioner.models.encoder.layers[-1].name, captioner.concept_names, {}
    for code, score in caption.concepts[:METHOD_CONCEPTS]:
        title = f"{names.get(code, code)}  {score:.2f}"
        pictures[title] = method_pictures(view, pixels, captioner.concepts.index(code), layer, methods)
    return pictures


def _read_reference(captioner: Captioner, reference: str) -> WordReading | None:
    tokens = np.array(captioner.vocabulary.encode(reference), np.int32)
    words = [token.surface for token in captioner.vocabulary.normalizer.tokens(reference)]
    return _read(captioner, tokens, words) if len(words) else None


def _read(captioner: Captioner, tokens: np.ndarray, words: Sequence[str]) -> WordReading | None:
    if captioner.models.semantic is None:
        return None
    scores, importance = captioner.word_concepts(tokens[None])
    best = np.argsort(-scores[0])[:CONCEPTS_SHOWN]
    threshold = captioner.thresholds.get("words", 0.5)
    codes = [captioner.concepts[i] for i in best if scores[0, i] >= threshold]
    named = tuple((code, float(scores[0, captioner.concepts.index(code)])) for code in codes)
    contributions = captioner.concept_words(tokens, codes) if codes else np.zeros((0, len(tokens)), np.float32)
    return WordReading(tuple(words), importance[0], named, contributions, by_code(captioner, scores[0]))


def by_code(captioner: Captioner, scores: np.ndarray | None) -> dict[str, float]:
    """Scores float32 [K] of all codes the run knows, under their codes."""
    return {} if scores is None else dict(zip(captioner.concepts, scores.astype(float).tolist()))


def shared_words(words: Sequence[str], caption: str) -> list[bool]:
    """For each word, whether the caption holds it too, in any form with the same stem."""
    normalizer = Normalizer()
    known = set(normalizer.stems(caption))
    return [not known.isdisjoint(normalizer.stems(word)) for word in words]


def over_image(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map of regions [h, w] over the original image, float32 [H, W], smooth and never below 0.

    The encoder saw the image squashed to a square, so stretching the square grid back to H x W undoes it. Cubic
    interpolation between the regions' centres, as OpenCV aligns them; it overshoots a little, which is cut.
    """
    height, width = shape
    return np.maximum(cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC), 0)


def layer_by(captioner: Captioner, name: str) -> str:
    """A layer's Keras name from its name or its running number ("20"); raises InputError on neither, or on one whose
    output is no grid."""
    layers = captioner.models.encoder.layers
    names = [layer.name for layer in layers]
    if name.isdigit() and int(name) < len(names):
        name = names[int(name)]
    if name not in names:
        raise InputError(f"no layer {name!r}; give a name such as conv2_block3_out, or a number below {len(names)}")
    if len(layers[names.index(name)].output_shape) != 4:
        raise InputError(f"layer {name!r} gives no feature maps but {layers[names.index(name)].output_shape}")
    return name
