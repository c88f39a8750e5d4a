"""The waist: a run folder loaded; images in, captions with their attention, word weights and concepts out.

Axes: B images, h x w regions of C channels, n words of one sentence, K concepts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from medcap_tf import images
from medcap_tf.caption import Caption
from medcap_tf.config import Config
from medcap_tf.config import load as load_config
from medcap_tf.errors import InputError
from medcap_tf.files import read_json
from medcap_tf.library import Library
from medcap_tf.models.fold import fold_encoder
from medcap_tf.models.visual import activations, concept_view
from medcap_tf.neighbours import Neighbours, Retriever, Strength, votes_along
from medcap_tf.networks import Models, build_models, load_weights
from medcap_tf.records import Record
from medcap_tf.text import Vocabulary
from medcap_tf.writing import copied_shares, inputs_of, mixed, read_captions, teacher_forced, write_captions


class Captioner:
    """A trained run, ready to caption."""

    def __init__(
        self,
        config: Config,
        models: Models,
        vocabulary: Vocabulary,
        concepts: Sequence[str],
        thresholds: dict[str, float],
        concept_names: dict[str, str] | None = None,
        retriever: Retriever | None = None,
    ):
        self.config, self.models, self.vocabulary, self.retriever = config, models, vocabulary, retriever
        self.concepts, self.thresholds = tuple(concepts), dict(thresholds)
        self.concept_names = dict(concept_names or {})  # of the codes that the training data named
        # Captions are written through a faster twin of the encoder; reasons, with their gradients, go through itself.
        self._encoder = fold_encoder(models.encoder)
        size = config.visual.image_size
        pixels, tokens = tf.TensorSpec([None, size, size, 3], tf.uint8), tf.TensorSpec([None], tf.int32)
        self._graph = tf.function(
            self._forward, input_signature=[pixels, tf.TensorSpec([None, None], tf.int32), tokens]
        )
        self._pool = tf.function(self._mean_region, input_signature=[pixels])
        # Signatures, so that sentences of all lengths share one graph: tracing takes seconds.
        self._log_probs = tf.function(self._sentence_log_probs, input_signature=[pixels, tokens])
        self._attend = tf.function(self._sentence_attention, input_signature=[pixels, tokens])
        self._grad_cam = tf.function(self._sentence_grad_cam, input_signature=[pixels, tokens])
        self._copied = tf.function(self._sentence_copied, input_signature=[pixels, tokens])
        self._word_gradients = tf.function(self._concept_gradients, input_signature=[tokens, tokens])

    @classmethod
    def load(cls, run: Path, settings: dict[str, Any] | None = None) -> Captioner:
        """Load a run folder; `settings` change its decoding options.

        Raises:
            InputError: not a finished run, or files that do not belong together.
        """
        run = Path(run)
        if not (run / "config.json").is_file():
            raise InputError(f"{run}: no run folder (no config.json in it); give the folder that train.py wrote to")
        config = load_config(run / "config.json").replace(settings or {})
        if config.decoder.semantic_source == "reference":
            raise InputError(f"{run}: an oracle (decoder.semantic_source=reference) cannot caption without the answer")
        if (settings or {}).get("decoding.neighbours") and Strength.load(run) is None:
            raise InputError(f"{run}: similar images did not help its validation captions; give no --neighbours")
        return cls.from_run(run, config)

    @classmethod
    def from_run(cls, run: Path, config: Config) -> Captioner:
        """Load a run folder under a configuration that is already at hand."""
        vocabulary = Vocabulary.from_json(read_json(run / "vocabulary.json"))
        concepts = read_json(run / "concepts.json")
        # The weights come from the run, whatever the encoder started from.
        models = build_models(config, len(vocabulary), len(concepts["codes"]), with_weights=False)
        if not (run / "checkpoints" / "best" / "decoder.h5").is_file():
            raise InputError(f"{run}: no trained captioner in it (checkpoints/best/decoder.h5); train it with --resume")
        load_weights(models, run / "checkpoints" / "best")
        codes, retriever = concepts["codes"], None
        count = config.decoding.neighbours
        strength = Strength.load(run) if count else None
        if strength:
            retriever = Retriever(Library.load(run), vocabulary, codes, (count, config.text.max_words), strength)
        # Runs of earlier versions hold no names.
        names = concepts.get("names", {})
        return cls(config, models, vocabulary, codes, concepts["thresholds"], names, retriever)

    def caption(
        self, paths: Sequence[Path], references: Sequence[str] | None = None, own: Sequence[int] | None = None
    ) -> Iterator[Caption]:
        """Caption image files in their order; the next batch is decoded while the models work on one.

        Args:
            paths: image files; an unreadable one gets a `Caption` with an error.
            references: the answers, for an oracle alone.
            own: int [N], numbers of `Library.contents`: training images that are no neighbours of each; -1: none.
        """
        for start, pixels in self._read_ahead(paths):
            names = paths[start : start + len(pixels)]
            answers = references[start : start + len(pixels)] if references else [""] * len(pixels)
            good = [row for row, item in enumerate(pixels) if isinstance(item, np.ndarray)]
            sharp = [pixels[row] for row in good]
            numbers = own[start : start + len(pixels)] if own is not None else [-1] * len(pixels)
            found = iter(self.caption_pixels(sharp, [answers[row] for row in good], [numbers[row] for row in good]))
            for path, item in zip(names, pixels):
                if isinstance(item, InputError):
                    yield Caption(Path(path), error=str(item))
                else:
                    yield dataclasses.replace(next(found), path=Path(path))

    def _read_ahead(self, paths: Sequence[Path]) -> Iterator[tuple[int, list]]:
        batch = self.config.decoding.batch_size
        with ThreadPoolExecutor() as pool:
            following = [pool.submit(self._read, path) for path in paths[:batch]]
            for start in range(0, len(paths), batch):
                current = following
                following = [pool.submit(self._read, path) for path in paths[start + batch : start + 2 * batch]]
                yield start, [future.result() for future in current]

    def _read(self, path: Path) -> np.ndarray | InputError:
        try:
            return self.prepare(images.read_image(path))
        except InputError as error:
            return error

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
        out = {name: value.numpy() for name, value in self._graph(np.stack(pixels), words, numbers).items()}
        return [self._to_caption({name: value[row] for name, value in out.items()}) for row in range(len(pixels))]

    def pooled_features(self, pixels: np.ndarray) -> np.ndarray:
        """The mean region of each prepared image: uint8 [B, S, S, 3] -> float32 [B, C]."""
        return self._pool(pixels).numpy()

    def _mean_region(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(self._encoder(tf.cast(pixels, tf.float32), training=False), axis=[1, 2])

    @property
    def names_from_image(self) -> bool:
        """Whether the concepts are those seen in the image, or those of the words that were written."""
        return "image" in self.thresholds

    @property
    def concept_threshold(self) -> float:
        """The score from which on a concept is named, by the image (and its neighbours) or else by the words."""
        if self.retriever:
            return self.retriever.strength.concept_threshold
        return self.thresholds.get("image", self.thresholds.get("words", 0.5))

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image of any size, uint8 [H, W, 3], as the encoder sees it: uint8 [S, S, 3]."""
        return images.prepare(image, self.config.visual.image_size, self.config.data.equalize)

    def word_log_probs(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Log-probability, in nats, of one sentence's words under each of several images.

        Args:
            pixels: uint8 [B, S, S, 3].
            tokens: int32 [n], the sentence.

        Returns:
            float32 [B, n].
        """
        return self._log_probs(pixels, tokens).numpy()

    def attend(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Where the decoder looks for each word of one given sentence.

        Args:
            pixels: uint8 [S, S, 3].
            tokens: int32 [n], the sentence.

        Returns:
            float32 [n, h, w], each map with sum 1.
        """
        weights = self._attend(pixels[None], tokens).numpy()[0]
        return weights.reshape(len(tokens), *self.models.encoder.output_shape[1:3])

    def grad_cam(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) of each word's log-probability over the regions.

        Args:
            pixels: uint8 [S, S, 3].
            tokens: int32 [n], the sentence.

        Returns:
            float32 [n, h, w], each map with sum 1; zeros where no region speaks for the word.
        """
        maps = self._grad_cam(pixels[None], tokens).numpy()
        return maps / np.maximum(maps.sum((1, 2), keepdims=True), 1e-12)

    def copied(self, pixels: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """How much of each word's probability came from the captions of similar training images, not the decoder.

        Args:
            pixels: uint8 [S, S, 3].
            tokens: int32 [n], the sentence.

        Returns:
            float32 [n] in 0..1; zeros in a run without neighbours.
        """
        return self._copied(pixels[None], tokens).numpy()[0]

    def similar(self, pixels: np.ndarray, count: int) -> list[tuple[Record, float]]:
        """The training images with most say beside the decoder, and the weight of each in 0..1.

        Args:
            pixels: uint8 [S, S, 3].
            count: how many, at most; none in a run without neighbours.
        """
        if self.retriever is None:
            return []
        near = self.retriever.find(self._pool(pixels[None]))
        pairs = zip(near.rows.numpy()[0][:count].tolist(), near.weight.numpy()[0].tolist())
        return [(self.retriever.record(row), weight) for row, weight in pairs]

    def concept_words(self, tokens: np.ndarray, codes: Sequence[str]) -> np.ndarray:
        """What each word gives to each concept of the semantic classifier: gradient of the concept's logit with
        respect to the word's embedding, times the embedding; float32 [len(codes), n], in logits."""
        rows = np.array([self.concepts.index(code) for code in codes], np.int32)
        return self._word_gradients(tokens, rows).numpy()

    def word_concepts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The semantic classifier on sentences int32 [B, n]: concept scores float32 [B, K] in 0..1, and word importance
        float32 [B, n]."""
        found = self.models.semantic.classifier(tokens)  # type: ignore[union-attr]
        return tf.sigmoid(found["concept_logits"]).numpy(), found["word_importance"].numpy()

    def activations(self, pixels: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """The named layers' outputs for uint8 [B, S, S, 3], each float32 [B, h, w, C]."""
        found = activations(self.models.encoder, list(layers))(tf.cast(pixels, tf.float32))
        return {name: value.numpy() for name, value in found.items()}

    def concept_view(self) -> keras.Model:
        """The encoder with its concept head, image float32 [B, S, S, 3] -> concepts float32 [B, K] in 0..1; raises
        InputError where the run has trained no head."""
        if "image" not in self.thresholds:
            raise InputError("this run has no trained concept head: train with visual.concept_epochs above 0")
        return concept_view(self.models.encoder, self.models.head)

    def _sentence_log_probs(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        return self._spoken(self.models.encoder(tf.cast(pixels, tf.float32), training=False), tokens)

    def _sentence_attention(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        return self._told(self.models.encoder(tf.cast(pixels, tf.float32), training=False), tokens)["attention"]

    def _told(self, regions: tf.Tensor, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = inputs_of(_under_each(regions, tokens))
        return teacher_forced(self.models, regions, inputs, self.config.decoder.semantic_source, training=False)

    def _spoken(self, regions: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """float32 [B, n]: the words' log-probabilities over regions [B, h, w, C]."""
        logits = self._told(regions, tokens)["logits"]
        near, said = self.near(regions), _under_each(regions, tokens)
        if near is not None:
            logits = mixed(logits, votes_along(near, inputs_of(said), logits.shape[-1]))
        return tf.gather(tf.nn.log_softmax(logits), said, batch_dims=2)

    def near(self, regions: tf.Tensor, own: tf.Tensor | None = None) -> Neighbours | None:
        """The training images that have a say beside regions [B, h, w, C]; None in a run where none has."""
        return self.retriever.find(tf.reduce_mean(regions, axis=[1, 2]), own) if self.retriever else None

    def _sentence_copied(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        regions = self.models.encoder(tf.cast(pixels, tf.float32), training=False)
        source = self.config.decoder.semantic_source
        return copied_shares(self.models, regions, tokens[None], source, self.near(regions))

    def _sentence_grad_cam(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        # One copy of the regions for each word: one backward pass then gives each word its own gradient.
        words = tf.shape(tokens)[0]
        regions = tf.repeat(self.models.encoder(tf.cast(pixels, tf.float32), training=False), words, axis=0)
        with tf.GradientTape() as tape:
            tape.watch(regions)
            spoken = tf.linalg.diag_part(self._spoken(regions, tokens))
        gradient = tape.gradient(spoken, regions)
        weights = tf.reduce_mean(gradient, axis=[1, 2], keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * regions, -1))

    def _concept_gradients(self, tokens: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        words = tf.tile(tokens[None], [tf.shape(rows)[0], 1])
        embedded = self.models.semantic.embed(words)  # type: ignore[union-attr]
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            logits = self.models.semantic.from_embedded([words, embedded])["concept_logits"]  # type: ignore[union-attr]
            chosen = tf.gather(logits, rows, batch_dims=1)
        return tf.reduce_sum(tape.gradient(chosen, embedded) * embedded, -1)

    def _forward(self, pixels: tf.Tensor, reference: tf.Tensor, own: tf.Tensor) -> dict[str, tf.Tensor]:
        regions = self._encoder(tf.cast(pixels, tf.float32), training=False)
        source = self.config.decoder.semantic_source
        near = self.near(regions, own)
        found = write_captions(self.models, regions, self.config.decoding, source, reference, near)
        shape = [-1, self.config.decoding.max_length, regions.shape[1], regions.shape[2]]
        out = {"tokens": found.tokens, "length": found.length, "score": found.score}
        out["pooled"] = tf.reduce_mean(regions, axis=[1, 2])
        out["attention"] = tf.reshape(found.attention, shape)
        if self.models.semantic is not None:
            out.update(read_captions(self.models, regions, found.tokens, self.names_from_image, near))
        return out

    def _to_caption(self, row: dict[str, Any]) -> Caption:
        stems, length = self.vocabulary.decode(row["tokens"]), int(row["length"])
        concepts: list[tuple[str, float]] = []
        if "concept_score" in row:
            named = np.flatnonzero(row["concept_score"] >= self.concept_threshold)
            concepts = [(self.concepts[i], float(row["concept_score"][i])) for i in named]
        return Caption(
            Path(),
            pooled=row["pooled"],
            words=tuple(self.vocabulary.readable(stems)),
            stems=tuple(stems),
            tokens=row["tokens"][:length],
            score=float(row["score"]),
            attention=row["attention"][:length],
            word_importance=row["word_importance"][:length] if "word_importance" in row else None,
            concepts=tuple(sorted(concepts, key=lambda pair: -pair[1])),
            concept_scores=row.get("concept_score"),
        )


def _under_each(regions: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """One sentence int32 [n] for each image of regions [B, h, w, C]: int32 [B, n]."""
    return tf.tile(tokens[None], [tf.shape(regions)[0], 1])
