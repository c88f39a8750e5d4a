"""The waist: a run folder loaded; images in, captions with their attention, word weights and concepts out.

Axes: B images, K beams, h x w = P regions of C channels, T tokens, M meaning, L places of the semantic memory.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from medcap_tf import images
from medcap_tf.caption import Caption
from medcap_tf.config import Config, DecodingConfig
from medcap_tf.config import load as load_config
from medcap_tf.decoding import Sentences, beam_search
from medcap_tf.errors import InputError
from medcap_tf.library import Library
from medcap_tf.models.decoder import DecoderModels, build_decoder
from medcap_tf.models.fold import fold_encoder
from medcap_tf.models.semantic import SemanticModels, build_semantic
from medcap_tf.models.visual import activations, build_concept_head, build_visual_encoder, concept_view
from medcap_tf.neighbours import (
    Neighbours,
    Retriever,
    Strength,
    first_match,
    follow,
    vote,
    votes_along,
    with_concepts,
)
from medcap_tf.records import Record
from medcap_tf.text import END, PAD, START, UNK, Vocabulary


class Models(NamedTuple):
    """A captioner's networks; without concepts in the data there is neither head nor semantic encoder."""

    encoder: keras.Model
    head: keras.Model | None
    semantic: SemanticModels | None
    decoder: DecoderModels

    def parts(self) -> dict[str, keras.Model]:
        """The models that hold all weights, by the name of their file in a run."""
        found = {"encoder": self.encoder, "concept_head": self.head, "decoder": self.decoder.teacher}
        found["semantic"] = self.semantic and self.semantic.classifier
        return {name: model for name, model in found.items() if model is not None}


def build_models(
    config: Config,
    vocabulary: int,
    concepts: int,
    *,
    precision: str = "float32",
    encoder_precision: str = "float32",
    with_weights: bool = True,
) -> Models:
    """Build every network under its Keras precision policy; `with_weights`: the encoder starts from `visual.weights`.

    Raises:
        InputError: `decoder.semantic_source` needs concepts and there are none.
    """
    source = config.decoder.semantic_source
    if source != "none" and not concepts:
        raise InputError(
            f"decoder.semantic_source={source} needs concepts to learn from, and the data has none frequent enough; "
            "add a table of concepts, lower data.min_concept_count, or --set decoder.semantic_source=none"
        )
    before = keras.mixed_precision.global_policy()
    try:
        keras.mixed_precision.set_global_policy(encoder_precision)
        encoder = build_visual_encoder(config.visual, with_weights)
        keras.mixed_precision.set_global_policy(precision)
        region_shape = encoder.output_shape[1:]
        head = build_concept_head(config.visual, region_shape, concepts) if concepts else None
        semantic = build_semantic(config.semantic, vocabulary, concepts) if concepts else None
        meaning = config.semantic.units if source != "none" else 0
        told = head if config.decoder.image_concepts and config.visual.names_concepts else None
        decoder = build_decoder(config.decoder, vocabulary, region_shape, meaning, told)
        return Models(encoder, head, semantic, decoder)
    finally:
        keras.mixed_precision.set_global_policy(before)


def meanings(semantic: SemanticModels, words: tf.Tensor, source: str) -> tf.Tensor:
    """What the decoder is told at each step of teacher forcing.

    Args:
        semantic: the semantic encoder.
        words: int32 [B, T], the caption's words without `<start>`, padded.
        source: `prefix`: at step t the meaning of words 0..t-1, zeros at t = 0; `reference`: at every step the meaning
            of the whole caption, the oracle's peek.

    Returns:
        float [B, T + 1, M]: the steps of T words and `<end>`.
    """
    # The GRU cannot read no word at all, as at the first step of a caption of one.
    count = tf.shape(words)[1]
    some = tf.pad(words, [[0, 0], [0, tf.cast(count == 0, tf.int32)]])
    read = semantic.reader(some)["meaning"][:, :count]
    if source == "prefix":
        return tf.pad(read, [[0, 0], [1, 0], [0, 0]])
    last = tf.maximum(tf.math.count_nonzero(words, axis=1, dtype=tf.int32) - 1, 0)
    return tf.repeat(tf.gather(read, last, batch_dims=1)[:, None], tf.shape(words)[1] + 1, axis=1)


def teacher_forced(
    models: Models, regions: tf.Tensor, inputs: tf.Tensor, source: str, training: bool
) -> dict[str, tf.Tensor]:
    """`logits` float32 [B, T, V] of each next word, given the words before it, and `attention` float32 [B, T, P].

    Args:
        models: the networks.
        regions: float [B, h, w, C].
        inputs: int32 [B, T], `<start>` and words, padded.
        source: `decoder.semantic_source`.
        training: whether dropout is on.
    """
    meaning = [] if source == "none" else [meanings(models.semantic, inputs[:, 1:], source)]
    return models.decoder.teacher([regions, inputs, *meaning], training=training)


def write_captions(
    models: Models,
    regions: tf.Tensor,
    config: DecodingConfig,
    source: str,
    reference: tf.Tensor | None = None,
    near: Neighbours | None = None,
) -> Sentences:
    """Search for the captions of regions [B, h, w, C], in the graph.

    Args:
        models: the networks.
        regions: the visual encoder's output.
        config: the search's options.
        source: `decoder.semantic_source` of the run.
        reference: int32 [B, T], the reference captions' words; for the oracle alone.
        near: training images whose captions have a say in each next word.
    """
    begin = models.decoder.begin(regions)
    batch, width = tf.shape(regions)[0], config.beam_width
    state = {name: tf.repeat(begin[name][:, None], width, axis=1) for name in "hc"}
    if near is not None:
        state["match"] = first_match(near, width)
    told: tf.Tensor | None = None
    if source == "prefix":
        state.update(_empty_memory(models.semantic, batch, width, config.max_length))
    elif source == "reference":
        if reference is None:
            raise InputError("decoder.semantic_source=reference is an oracle: it needs the reference captions")
        told = tf.repeat(meanings(models.semantic, reference, source)[:, :1], width, axis=1)

    def step(t: tf.Tensor, words: tf.Tensor, state: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, Any]:
        memory: dict[str, tf.Tensor] = {}
        meaning = [told] if told is not None else []
        if source == "prefix":
            read, memory = _read_word(models.semantic, t, words, state)
            meaning = [read]
        out = models.decoder.step([begin["keys"], begin["values"], words, state["h"], state["c"], *meaning])
        new = {"h": out["h"], "c": out["c"], **memory}
        if near is None:
            return out["logits"], out["attention"], new
        new["match"] = follow(state["match"], words, near)
        votes = vote(new["match"], near, out["logits"].shape[-1])
        return mixed(out["logits"], votes), out["attention"], new

    return beam_search(
        step,
        state,
        batch=batch,
        places=regions.shape[1] * regions.shape[2],
        beam_width=width,
        max_length=config.max_length,
        start=START,
        end=END,
        forbidden=(PAD, START, UNK),
        pad=PAD,
        length_penalty=config.length_penalty,
    )


def mixed(logits: tf.Tensor, votes: tf.Tensor) -> tf.Tensor:
    """The decoder's words and the neighbours' together: log-probabilities float32 [..., V].

    A mixture as in kNN language models (Khandelwal et al. 2020, equation 3), whose weight is what the votes sum to.

    Args:
        logits: float32 [..., V], the decoder's.
        votes: float32 [..., V], what `neighbours.vote` gives.
    """
    # Rounding may bring the sum of the votes a little above 1.
    own = tf.maximum(1 - tf.reduce_sum(votes, -1, keepdims=True), 0)
    return tf.math.log(own * tf.nn.softmax(logits) + votes + 1e-20)


def read_captions(
    models: Models, regions: tf.Tensor, tokens: tf.Tensor, from_image: bool, near: Neighbours | None = None
) -> dict[str, tf.Tensor]:
    """What a run with concepts has to say of captions that were written.

    Args:
        models: the networks, with a semantic encoder.
        regions: float [B, h, w, C].
        tokens: int32 [B, T], padded.
        from_image: whether the image names the concepts, or the words do.
        near: training images whose concepts have a say too.

    Returns:
        `word_importance` float32 [B, T] and `concept_score` float32 [B, K] in 0..1.
    """
    read = models.semantic.classifier(tokens)
    logits = models.head(regions) if from_image else read["concept_logits"]
    score = tf.sigmoid(logits)
    return {
        "word_importance": read["word_importance"],
        "concept_score": score if near is None else with_concepts(score, near),
    }


def copied_shares(
    models: Models, regions: tf.Tensor, tokens: tf.Tensor, source: str, near: Neighbours | None
) -> tf.Tensor:
    """How much of each word's probability the captions of similar training images gave, not the decoder.

    Args:
        models: the networks.
        regions: float [B, h, w, C].
        tokens: int32 [B, T], the written words, padded.
        source: `decoder.semantic_source`.
        near: the similar images, if any have a say.

    Returns:
        float32 [B, T] in 0..1, zeros at padding.
    """
    if near is None:
        return tf.zeros_like(tokens, tf.float32)
    shape, whole = tokens.shape, tf.shape(tokens)[1]
    longest = tf.maximum(1, tf.reduce_max(tf.math.count_nonzero(tokens, 1, dtype=tf.int32)))
    tokens = tokens[:, :longest]
    inputs = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], 1)
    logits = teacher_forced(models, regions, inputs, source, training=False)["logits"]
    votes = votes_along(near, inputs, logits.shape[-1])
    given = tf.gather(votes, tokens, batch_dims=2)
    spoken = tf.exp(tf.gather(mixed(logits, votes), tokens, batch_dims=2))
    shares = tf.where(tokens == PAD, 0.0, tf.minimum(given / spoken, 1.0))
    return tf.ensure_shape(tf.pad(shares, [[0, 0], [0, whole - longest]]), shape)


def _empty_memory(semantic: Any, batch: tf.Tensor, width: int, length: int) -> dict[str, tf.Tensor]:
    shapes = {name: semantic.step.input_shape[name][1:] for name in ("gru", "keys", "states")}
    kind = semantic.step.compute_dtype
    return {
        "gru": tf.zeros([batch, width, *shapes["gru"]], kind),
        "keys": tf.zeros([batch, width, length, shapes["keys"][-1]], kind),
        "states": tf.zeros([batch, width, length, shapes["states"][-1]], kind),
    }


def _read_word(
    semantic: Any, t: tf.Tensor, words: tf.Tensor, state: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Meaning [B, K, M] of the words up to step t, and the memory after them. At t = 0 the word is `<start>`: nothing
    has been said, so the meaning is zero and the memory stays empty (place -1 is written nowhere)."""
    batch, width = tf.shape(words)[0], words.shape[1]
    inputs = {name: tf.reshape(state[name], [-1, *state[name].shape[2:]]) for name in ("gru", "keys", "states")}
    place = tf.fill([batch * width], t - 1)
    out = semantic.step({"word": tf.reshape(words, [-1]), "place": place, **inputs})
    out = {name: tf.reshape(value, [-1, width, *value.shape[1:]]) for name, value in out.items()}
    said = t > 0
    memory = {name: tf.where(said, out[name], state[name]) for name in inputs}
    return tf.where(said, out["meaning"], tf.zeros_like(out["meaning"])), memory


# Weights in a run folder


def save_weights(models: Models, folder: Path, names: Iterable[str] | None = None) -> None:
    """Write each part's weights to `folder/NAME.h5` (all parts, or those named), each by rename."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in models.parts() if names is None else names:
        beside = folder / f".{name}.h5"
        models.parts()[name].save_weights(beside)
        os.replace(beside, folder / f"{name}.h5")


def load_weights(models: Models, folder: Path, names: Iterable[str] | None = None) -> None:
    """Read what `save_weights` wrote; raises InputError where a file is missing or of another architecture."""
    for name in models.parts() if names is None else names:
        path = folder / f"{name}.h5"
        if not path.is_file():
            raise InputError(f"{path}: no such file; the run is not finished: train it with --resume")
        try:
            models.parts()[name].load_weights(path)
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: does not fit the run's config.json ({error})") from error


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
        self._graph = tf.function(self._forward, input_signature=[pixels, tf.TensorSpec([None, None], tf.int32)])
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

    def caption(self, paths: Sequence[Path], references: Sequence[str] | None = None) -> Iterator[Caption]:
        """Caption image files in their order; the next batch is decoded while the models work on one.

        Args:
            paths: image files; an unreadable one gets a `Caption` with an error.
            references: the answers, for an oracle alone.
        """
        for start, pixels in self._read_ahead(paths):
            names = paths[start : start + len(pixels)]
            answers = references[start : start + len(pixels)] if references else [""] * len(pixels)
            good = [row for row, item in enumerate(pixels) if isinstance(item, np.ndarray)]
            sharp = [pixels[row] for row in good]
            found = iter(self.caption_pixels(sharp, [answers[row] for row in good]))
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

    def caption_pixels(self, pixels: Sequence[np.ndarray], references: Sequence[str] = ()) -> list[Caption]:
        """Caption prepared images, uint8 [S, S, 3] each, in one batch; `references` as for `caption`."""
        if not len(pixels):
            return []
        encoded = [self.vocabulary.encode(text) for text in references] or [[]] * len(pixels)
        words = np.zeros((len(pixels), max(1, max(map(len, encoded)))), np.int32)
        for row, ids in enumerate(encoded):
            words[row, : len(ids)] = ids
        out = {name: value.numpy() for name, value in self._graph(np.stack(pixels), words).items()}
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
        inputs = _inputs_of(tokens, tf.shape(regions)[0])
        return teacher_forced(self.models, regions, inputs, self.config.decoder.semantic_source, training=False)

    def _spoken(self, regions: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """float32 [B, n]: the words' log-probabilities over regions [B, h, w, C]."""
        logits = self._told(regions, tokens)["logits"]
        near = self._near(regions)
        if near is not None:
            logits = mixed(logits, votes_along(near, _inputs_of(tokens, tf.shape(regions)[0]), logits.shape[-1]))
        log_probs = tf.nn.log_softmax(logits)
        return tf.gather(log_probs, tf.tile(tokens[None], [tf.shape(regions)[0], 1]), batch_dims=2)

    def _near(self, regions: tf.Tensor) -> Neighbours | None:
        return self.retriever.find(tf.reduce_mean(regions, axis=[1, 2])) if self.retriever else None

    def _sentence_copied(self, pixels: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        regions = self.models.encoder(tf.cast(pixels, tf.float32), training=False)
        source = self.config.decoder.semantic_source
        return copied_shares(self.models, regions, tokens[None], source, self._near(regions))

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

    def _forward(self, pixels: tf.Tensor, reference: tf.Tensor) -> dict[str, tf.Tensor]:
        regions = self._encoder(tf.cast(pixels, tf.float32), training=False)
        source = self.config.decoder.semantic_source
        near = self._near(regions)
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


def _inputs_of(tokens: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """One sentence int32 [n] as the decoder is fed it under each of `count` images: int32 [count, n]."""
    return tf.tile(tf.concat([[START], tokens[:-1]], 0)[None], [count, 1])


def read_json(path: Path) -> Any:
    """One of a run's files; raises InputError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); the run folder is incomplete: train it again") from error
