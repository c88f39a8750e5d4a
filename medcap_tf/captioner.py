"""A run folder loaded: images in, captions with their attention, word weights and concepts out.

Axes: B images, S pixels a side, h x w regions of C channels, T tokens, Q concepts.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medcap_tf.caption import Caption, ImageInput
from medcap_tf.config import Config
from medcap_tf.data.datastore import Datastore
from medcap_tf.errors import InputError
from medcap_tf.graphs import graph_function
from medcap_tf.image_captioner import ImageCaptioner
from medcap_tf.memory import naming_settings
from medcap_tf.models.calibration import Calibration, signals_of
from medcap_tf.models.captioning import CaptioningModel, Encoded, Reading
from medcap_tf.models.inverted_lists import Lists, load_lists
from medcap_tf.models.retrieval import RetrievalParameters, Retriever
from medcap_tf.models.weights import load_weights
from medcap_tf.run_folder import ConceptList, RunFolder
from medcap_tf.text import Vocabulary


class RunCaptioner(ImageCaptioner):
    """A trained run, ready to caption."""

    def __init__(
        self,
        config: Config,
        model: CaptioningModel,
        vocabulary: Vocabulary,
        concepts: ConceptList,
        datastore: Datastore | None = None,
        calibration: Calibration | None = None,
    ):
        """`datastore`: the training images of a model with a retriever."""
        concepts_from_image = "image" in concepts.thresholds
        super().__init__(config, vocabulary, concepts)
        self.datastore = datastore
        self.model = dataclasses.replace(model, concepts_from_image=concepts_from_image)
        self._concept_list, self.thresholds = concepts, concepts.thresholds
        self._calibrate_by(calibration)
        size = config.visual.image_size
        pixels, numbers = tf.TensorSpec([None, size, size, 3], tf.uint8), tf.TensorSpec([None], tf.int32)
        words = tf.TensorSpec([None, None], tf.int32)
        self._generate = graph_function(self._forward, input_signature=[pixels, words, numbers])
        self._pool = graph_function(lambda pixels: self.fast_model.encode(pixels).pooled, input_signature=[pixels])

    @cached_property
    def fast_model(self) -> CaptioningModel:
        """The same function with the encoder's weights fixed, faster: what captions are generated with."""
        with tf.init_scope():  # it may be first asked for while a graph is traced
            return self.model.with_folded_encoder()

    @classmethod
    def load(cls, run: Path, settings: dict[str, Any] | None = None) -> RunCaptioner:
        """Load a run folder; `settings` change its decoding options.

        Raises:
            InputError: not a finished run, files that do not belong together, or settings of other kinds.
        """
        folder = RunFolder(run)
        if fixed := [name for name in settings or {} if not name.startswith("decoding.")]:
            raise InputError(
                f"{run}: {fixed[0]} is fixed by the run; only decoding options, decoding.*, can be changed"
            )
        config = folder.read_config().replace(settings or {})
        if config.decoder.semantic_source == "reference":
            raise InputError(f"{run}: an oracle (decoder.semantic_source=reference) cannot caption without the answer")
        asked = {"decoding.neighbors", "decoding.neighbours"} & set(settings or {})
        if asked and config.decoding.neighbors and folder.read_retrieval() is None:
            raise InputError(f"{run}: similar images did not help its validation captions; give no --neighbors")
        return cls.from_run(folder, config)

    @classmethod
    def from_run(cls, run: RunFolder, config: Config) -> RunCaptioner:
        """Load a run folder under a configuration that is already at hand."""
        vocabulary, concepts = run.read_vocabulary(), run.read_concepts()
        # The weights come from the run, whatever the encoder started from.
        model = CaptioningModel.build(config, len(vocabulary), len(concepts.codes), with_weights=False)
        if not (run.best / "decoder.h5").is_file():
            raise InputError(f"{run.path}: no trained captioner in it ({run.best}/decoder.h5); train it with --resume")
        load_weights(model, run.best)
        return cls(config, model, vocabulary, concepts).with_retrieval_of(run, config)

    def with_retrieval_of(self, run: RunFolder, config: Config) -> RunCaptioner:
        """The same network under a configuration, with the similar images and calibration that the run chose."""
        alone = RunCaptioner(config, self.model, self.vocabulary, self._concept_list, calibration=_calibration(run))
        values = run.read_retrieval() if config.decoding.neighbors else None
        if values is None:
            return alone
        try:
            parameters = RetrievalParameters(**values)
        except TypeError as error:
            raise InputError(
                f"{run.retrieval}: cannot be read ({error}); finish the run again by train.py --resume"
            ) from error
        datastore = Datastore.load(run)
        return alone.with_retrieval(
            datastore, parameters, lists=load_lists(run.datastore_lists, len(datastore.records))
        )

    def with_retrieval(
        self,
        datastore: Datastore,
        parameters: RetrievalParameters,
        count: int | None = None,
        lists: Lists | None = None,
    ) -> RunCaptioner:
        """The same captioner with similar images; `count` of them, by default `decoding.neighbors`; `lists` of a
        datastore too large to be compared whole."""
        tokens, columns = datastore.encode(self.vocabulary, self.concepts, self.config.text.max_words)
        count = self.config.decoding.neighbors if count is None else count
        contents, known = datastore.contents(), len(self.concepts)
        retriever = Retriever(datastore.features, tokens, columns, known, contents, count, parameters, lists)
        model = dataclasses.replace(self.model, retriever=retriever)
        return RunCaptioner(self.config, model, self.vocabulary, self._concept_list, datastore, self._whole_calibration)

    def with_calibration(self, calibration: Calibration | None) -> RunCaptioner:
        """The same captioner, graphs included, with other probabilities and percentiles; None: without."""
        other = copy.copy(self)
        other._calibrate_by(calibration)
        return other

    def _calibrate_by(self, calibration: Calibration | None) -> None:
        self._whole_calibration = calibration
        self.calibration = calibration and calibration.fitting(self.model.retriever is not None)
        # The score from which on a concept is named, by the image (and its neighbors) or else by the words.
        threshold = self.thresholds.get("image", self.thresholds.get("words", 0.5))
        if self.model.retriever:
            threshold = self.model.retriever.parameters.concept_threshold
        calibrated = self.calibration and float(self.calibration.probabilities(tf.constant(threshold)))
        self.concept_threshold = threshold if calibrated is None else calibrated

    def caption(
        self,
        sources: Sequence[ImageInput],
        references: Sequence[str] | None = None,
        own: Sequence[int] | np.ndarray | None = None,
    ) -> Iterator[Caption]:
        """Caption images in their order; the next batch is decoded while the model works on one.

        Args:
            sources: paths of image files, or images; an unreadable one gets a `Caption` with an error.
            references: the answers, for an oracle alone.
            own: int [N], numbers of `Datastore.contents`: training images that are no neighbors of each; -1: none.
        """

        def answer(pixels: list[np.ndarray], rows: list[int]) -> list[Caption]:
            answers = [references[row] for row in rows] if references else []
            return self.caption_pixels(pixels, answers, [own[row] for row in rows] if own is not None else [])

        return self.in_batches(sources, answer)

    def caption_pixels(
        self, pixels: Sequence[np.ndarray], references: Sequence[str] = (), own: Sequence[int] = ()
    ) -> list[Caption]:
        """Caption prepared images, uint8 [S, S, 3] each, in one batch; `references` and `own` as for `caption`."""
        if not len(pixels):
            return []
        encoded = [self.vocabulary.encode(text) for text in references] or [[]] * len(pixels)
        words = np.zeros((len(pixels), max(1, max(map(len, encoded)))), np.int32)
        for row, ids in enumerate(encoded):
            words[row, : len(ids)] = ids
        numbers = np.array(own if len(own) else [-1] * len(pixels), np.int32)
        with naming_settings(f"{len(pixels)} images", [f"decoding.batch_size={self.config.decoding.batch_size}"]):
            # Calibrated outside of the graph, which is the same before and after validation has chosen.
            generated = self._calibrated(self._generate(np.stack(pixels), words, numbers))
            out = {name: value.numpy() for name, value in generated.items()}
        return self.to_captions(out)

    def pooled_features(self, pixels: np.ndarray) -> np.ndarray:
        """The mean region of each prepared image: uint8 [B, S, S, 3] -> float32 [B, C]."""
        return self._pool(pixels).numpy()

    def _forward(self, pixels: tf.Tensor, reference: tf.Tensor, own: tf.Tensor) -> dict[str, tf.Tensor]:
        model, options = self.fast_model, self.config.decoding
        encoded = model.encode(pixels, own)
        generated = model.generate(encoded, options, reference)
        out = {name: getattr(generated, name) for name in ("tokens", "length", "score")}
        out["pooled"] = encoded.pooled
        out["attention"] = tf.reshape(generated.attention, [-1, options.max_length, *model.grid])
        if model.has_evidence():
            scored = model.score(encoded, generated.tokens)
            assert scored.evidence is not None
            out.update(evidence=scored.evidence.maps, image_share=scored.image_share)
        reading = None if model.semantic is None else model.read(generated.tokens)
        if reading is not None:
            out.update(word_importance=reading.word_importance, word_scores=reading.concept_scores)
        return {**out, **self._signals(encoded, reading)}

    def save_graph(self, run: RunFolder) -> None:
        """Write beside the run's weights what captions images by them, as `serving.run_graph` reads it: a SavedModel
        whose signature `caption` answers what `caption_pixels` reads."""
        size = self.config.visual.image_size

        def caption(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            count = tf.shape(pixels)[:1]
            return self._calibrated(self._forward(pixels, tf.zeros([count[0], 1], tf.int32), tf.fill(count, -1)))

        module = tf.Module()
        module.weights = [weight for part in self.fast_model.parts().values() for weight in part.weights]
        module.retriever = self.fast_model.retriever
        module.threshold = tf.Variable(self.concept_threshold, trainable=False, name="concept_threshold")
        pixels = tf.TensorSpec([None, size, size, 3], tf.uint8, "pixels")
        signatures = {"caption": graph_function(caption, input_signature=[pixels])}
        with run.new_graph() as folder:
            tf.saved_model.save(module, str(folder), signatures=signatures)

    def judge(self, encoded: Encoded, reading: Reading | None) -> dict[str, tf.Tensor]:
        """How far generated captions can be trusted, as far as the run knows, in the graph.

        Args:
            encoded: the images.
            reading: of their captions' words; None in a network without concepts.

        Returns:
            `concept_scores` float32 [B, Q], `confidence` and `novelty` float32 [B], and what they are computed from
            (see `calibration.signals_of`).
        """
        return self._calibrated(self._signals(encoded, reading))

    def _signals(self, encoded: Encoded, reading: Reading | None) -> dict[str, tf.Tensor]:
        scores = None if reading is None else self.model.concept_scores(encoded, reading)
        words = None if reading is None else reading.concept_scores
        out = signals_of(encoded, scores, words, self.thresholds.get("words"))
        return out if scores is None else {**out, "concept_scores": scores}

    def _calibrated(self, out: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if self.calibration is None:
            return out
        scores = out.get("concept_scores")
        known = {
            "concept_scores": None if scores is None else self.calibration.probabilities(scores),
            "confidence": self.calibration.confidence_of(out),
            "novelty": self.calibration.novelty_of(out),
        }
        return {**out, **{name: value for name, value in known.items() if value is not None}}


def _calibration(run: RunFolder) -> Calibration | None:
    values = run.read_calibration()
    try:
        return None if values is None else Calibration.of(values)
    except InputError as error:
        raise InputError(f"{run.calibration}: {error}; finish the run again by train.py --resume") from error
