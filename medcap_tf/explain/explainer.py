"""Explains what a run captions: its network asked for maps, words and layers, an image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.data import images
from medcap_tf.errors import InputError
from medcap_tf.explain.erasure import elsewhere, paint_over
from medcap_tf.explain.explanation import Explanation, WordReading, shown_size
from medcap_tf.explain.regions import region_mask
from medcap_tf.explain.sheet import Claim, Erased

# What explains exports and servers' answers, which need no TensorFlow, can import this module too.
if TYPE_CHECKING:
    from medcap_tf.captioner import RunCaptioner

CONCEPTS_SHOWN, SIMILAR_SHOWN = 6, 3
METHOD_CONCEPTS = 3  # an image's strongest, for tf-explain's slower methods


class Explainer:
    """Explains a run's captions; everything that costs time to build is built once."""

    def __init__(
        self,
        captioner: RunCaptioner,
        layers: Sequence[str] = (),
        methods: Sequence[str] = (),
        training_data: Path | None = None,
    ):
        """Build.

        Args:
            captioner: a loaded run.
            layers: names of ResNet50's layers to keep.
            methods: tf-explain's methods to draw for the strongest concepts of each image.
            training_data: the data set that the run was trained on, to show the similar images in it; None: their
                captions alone are shown.

        Raises:
            InputError: no such layer; methods for a run whose images name no concepts; data that cannot be read.
        """
        from medcap_tf.explain.attribution import Attributor, LayerReader
        from medcap_tf.explain.likeness import LikenessReader
        from medcap_tf.explain.methods import ConceptMethods

        self._captioner = captioner
        self._attributor, self._layers = Attributor(captioner), LayerReader(captioner, layers)
        self._methods = ConceptMethods(captioner, methods) if methods else None
        self._likenesses = LikenessReader(captioner, training_data)

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
        similar = self._likenesses.read(pixels, caption.tokens, SIMILAR_SHOWN)
        return Explanation(
            caption,
            shown_size(image),
            caption.attention,
            caption.evidence,
            caption.image_share,
            words.grad_cam if words else caption.attention,
            self._read(caption.tokens, caption.words) if words else None,
            words.retrieval_share if words and self._captioner.datastore else None,
            tuple((one.record.image_id, one.record.caption, one.weight) for one in similar),
            reference,
            self._read_reference(reference),
            self._by_code(caption.concept_scores),
            self._layers.read(pixels),
            self._methods.draw(pixels, caption.concepts[:METHOD_CONCEPTS]) if self._methods else {},
            tuple(one.likeness for one in similar),
        )

    def erase(self, explanation: Explanation, claims: Sequence[Claim]) -> list[Erased | None]:
        """What the words of each claim lose where its regions are painted over, and an equal area elsewhere, which is
        drawn at random, the same for the same image; None for a claim without regions."""
        caption, rng = explanation.caption, np.random.default_rng(0)
        pixels = self._captioner.prepare(images.to_array(caption.path if caption.image is None else caption.image))
        erased: list[Erased | None] = []
        for claim in claims:
            mask = region_mask(claim.grid, (len(pixels), len(pixels)))
            if not mask.any():
                erased.append(None)
                continue
            outside = elsewhere(pixels, mask, rng)
            areas = [mask] if outside is None else [mask, outside]
            variants = np.stack([pixels, *(paint_over(pixels, area) for area in areas)])
            log_probs = self._attributor.word_log_probs(variants, caption.tokens)[:, claim.start : claim.end].mean(1)
            losses = (log_probs[0] - log_probs[1:]).tolist()
            erased.append(Erased(losses[0], losses[1] if len(losses) > 1 else None))
        return erased

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


def layer_by(captioner: RunCaptioner, name: str) -> str:
    """A layer's Keras name from its name or its running number ("20"); raises InputError on neither, or on one whose
    output is no grid."""
    layers = captioner.model.encoder.layers
    names = [layer.name for layer in layers]
    if name.isdecimal() and int(name) < len(names):
        name = names[int(name)]
    if name not in names:
        raise InputError(f"no layer {name!r}; give a name such as conv2_block3_out, or a number below {len(names)}")
    if len(layers[names.index(name)].output_shape) != 4:
        raise InputError(f"layer {name!r} gives no feature maps but {layers[names.index(name)].output_shape}")
    return name
