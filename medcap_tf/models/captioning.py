"""The captioning network: the only place that encodes images, generates captions, scores given ones and reads texts.

Axes: B images, h x w = P regions of C channels, T tokens, K beams, M encoding of the words so far, V vocabulary,
Q concepts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from medcap_tf.config import Config, DecodingConfig
from medcap_tf.decoding import DecodingResult, beam_search
from medcap_tf.errors import InputError
from medcap_tf.graphs import as_written
from medcap_tf.models.concept_head import build_concept_head
from medcap_tf.models.decoder import Decoder, build_decoder
from medcap_tf.models.evidence import Evidence, word_evidence
from medcap_tf.models.evidence_decoder import build_evidence_decoder
from medcap_tf.models.fold import fold_encoder
from medcap_tf.models.retrieval import (
    Neighbors,
    Retriever,
    initial_matches,
    interpolate,
    interpolate_concepts,
    next_token_distribution,
    next_token_distributions,
    update_matches,
)
from medcap_tf.models.semantic import SemanticEncoder, build_semantic
from medcap_tf.models.visual import Seen, build_visual_encoder, region_shape, see, seen_of, unpack
from medcap_tf.text import END, NEVER_GENERATED, PAD, START


class Encoded(NamedTuple):
    """What the network knows of images before it generates a word."""

    seen: Seen
    pooled: tf.Tensor  # float [B, C], the mean region
    neighbors: Neighbors | None  # similar training images, in a network with a retriever

    @property
    def regions(self) -> tf.Tensor:
        """float [B, h, w, C]."""
        return self.seen.regions


class Scored(NamedTuple):
    """Given captions under given images; zeros at padding."""

    log_probs: tf.Tensor  # float32 [B, T], of each word after those before it, nats
    attention: tf.Tensor  # float32 [B, T, h, w], each word's map sums to 1
    retrieval_share: tf.Tensor  # float32 [B, T] in 0..1, of each word's probability; zeros without a retriever
    evidence: Evidence | None = None  # of a decoder whose words have evidence, where the images were seen whole

    @property
    def image_share(self) -> tf.Tensor:
        """float32 [B, T] in 0..1, of each word's probability what the image gave; similar images gave
        `retrieval_share`, and the words before it the rest. Needs `evidence`."""
        assert self.evidence is not None
        image = tf.nn.relu(tf.reduce_sum(self.evidence.maps, [2, 3]) + self.evidence.whole)
        return (1 - self.retrieval_share) * tf.math.divide_no_nan(image, image + tf.nn.relu(self.evidence.words))


class Reading(NamedTuple):
    """What texts say by themselves."""

    concept_scores: tf.Tensor  # float32 [B, Q] in 0..1
    word_importance: tf.Tensor  # float32 [B, T], sums to 1


@dataclass(frozen=True)
class CaptioningModel:
    """Both encoders, the decoder and the retriever; no head and no semantic encoder where the data has no concepts."""

    encoder: keras.Model
    head: keras.Model | None
    semantic: SemanticEncoder | None
    decoder: Decoder
    semantic_source: str  # what the decoder reads beside words: `prefix`, `none`, or `reference`, the oracle
    concepts_from_image: bool = True  # whether an image's concepts are those of the head or of its caption's words
    retriever: Retriever | None = None

    @classmethod
    @as_written
    def build(
        cls,
        config: Config,
        vocabulary: int,
        concepts: int,
        *,
        precision: str = "float32",
        encoder_precision: str = "float32",
        with_weights: bool = True,
    ) -> CaptioningModel:
        """Build every part, without a retriever.

        Args:
            config: a run's settings.
            vocabulary: V.
            concepts: Q; 0: no head and no semantic encoder.
            precision: Keras' dtype policy of all but the visual encoder.
            encoder_precision: of the visual encoder.
            with_weights: whether the encoder starts from `visual.weights`.

        Raises:
            InputError: `decoder.semantic_source` needs concepts and there are none.
        """
        source = config.decoder.semantic_source
        if source != "none" and not concepts:
            raise InputError(
                f"decoder.semantic_source={source} needs concepts to learn from, and the data has none frequent "
                "enough; add a table of concepts, lower data.min_concept_count, or --set decoder.semantic_source=none"
            )
        encoder = build_visual_encoder(config.visual, with_weights, encoder_precision)
        names_concepts = bool(concepts) and config.visual.names_concepts
        head = build_concept_head(config.visual, encoder, concepts) if names_concepts else None
        semantic = build_semantic(config.semantic, vocabulary, concepts, precision) if concepts else None
        reads_concepts = config.decoder.image_concepts and names_concepts
        build: Callable[..., Decoder] = build_decoder
        if config.decoder.output == "sum":
            build = functools.partial(build_evidence_decoder, with_centers=reads_concepts and config.visual.grid > 0)
        decoder = build(
            config.decoder,
            vocabulary,
            region_shape(encoder),
            encoding_size=config.semantic.units if source != "none" else 0,
            concepts=concepts if reads_concepts else 0,
            precision=precision,
        )
        return cls(encoder, head, semantic, decoder, source)

    def parts(self) -> dict[str, keras.Model]:
        """The Keras models that hold all weights, by name."""
        parts = {"encoder": self.encoder, "concept_head": self.head, "decoder": self.decoder.teacher}
        parts["semantic"] = self.semantic and self.semantic.classifier
        return {name: model for name, model in parts.items() if model is not None}

    @property
    def grid(self) -> tuple[int, int]:
        """h, w."""
        return region_shape(self.encoder)[:2]

    @property
    def _semantic(self) -> SemanticEncoder:
        assert self.semantic is not None  # `build` refuses a decoder that reads concepts where the data has none
        return self.semantic

    def with_folded_encoder(self, precision: str = "float32", constant: bool = False) -> CaptioningModel:
        """The same function with a faster encoder of fixed weights; arguments as of `fold.fold_encoder`."""
        folded = fold_encoder(self.encoder, precision, constant=constant)
        return dataclasses.replace(self, encoder=folded)

    def encode(self, pixels: tf.Tensor, own: tf.Tensor | None = None) -> Encoded:
        """Encode images for inference.

        Args:
            pixels: RGB [B, S, S, 3] in 0..255, of any type.
            own: int32 [B], which training images are no neighbors of each image, as for `Retriever.nearest`.
        """
        return self.encode_seen(self.see(pixels), own)

    def see(self, pixels: tf.Tensor, training: bool = False) -> Seen:
        """The encoder and the head on images, RGB [B, S, S, 3] in 0..255, of any type."""
        return see(self.encoder, self.head, pixels, training)

    def seen_of(self, outputs: Any) -> Seen:
        """The head on what the encoder gave of images."""
        return seen_of(outputs, self.head)

    def encode_seen(self, seen: Seen, own: tf.Tensor | None = None) -> Encoded:
        """`encode` for images that have been seen."""
        pooled = tf.reduce_mean(seen.regions, axis=[1, 2])
        return Encoded(seen, pooled, self.retriever.retrieve(pooled, own) if self.retriever else None)

    def unpack(self, packed: tf.Tensor) -> Seen:
        """What `visual.pack` kept, float [B, D]."""
        return unpack(packed, self.encoder, self.head)

    def _decoder_inputs(self, seen: Seen) -> list[tf.Tensor]:
        names = {spec.name for spec in self.decoder.begin.inputs}
        inputs = {"regions": seen.regions}
        # No gradient of the captions: the head has learned what it will.
        if "concept_scores" in names:
            inputs["concept_scores"] = tf.stop_gradient(tf.sigmoid(seen.concept_logits))
        if "concept_centers" in names:
            inputs["concept_centers"] = tf.stop_gradient(seen.concept_centers)
        return list(inputs.values())

    def generate(
        self,
        encoded: Encoded,
        options: DecodingConfig,
        reference: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> DecodingResult:
        """Search for the captions of encoded images.

        Args:
            encoded: of `encode`.
            options: of the search.
            reference: int32 [B, T], the reference captions' words; for the oracle alone.
            seed: int64 [2], of words that are drawn instead, as for `beam_search`.

        Raises:
            InputError: an oracle without references.
        """
        begin = self.decoder.begin(self._decoder_inputs(encoded.seen))
        batch, width = tf.shape(encoded.regions)[0], options.beam_width
        state: dict[str, Any] = {name: tf.repeat(begin[name][:, None], width, axis=1) for name in "hc"}
        if encoded.neighbors is not None:
            state["matches"] = initial_matches(encoded.neighbors, width)
        if self.semantic_source == "prefix":
            state["cache"] = self._semantic.initial_cache(batch, width, options.max_length)
        peek = self._peek(reference, width) if self.semantic_source == "reference" else None

        def step(t: tf.Tensor, words: tf.Tensor, state: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor, Any]:
            after: dict[str, Any] = {}
            encoding = [] if peek is None else [peek]
            if self.semantic_source == "prefix":
                read, after["cache"] = self._semantic.advance(t, words, state["cache"])
                encoding = [read]
            out = self.decoder.step([begin["keys"], begin["values"], words, state["h"], state["c"], *encoding])
            after.update(h=out["h"], c=out["c"])
            if encoded.neighbors is None:
                return out["logits"], out["attention"], after
            after["matches"] = update_matches(state["matches"], words, encoded.neighbors)
            retrieved = next_token_distribution(after["matches"], encoded.neighbors, out["logits"].shape[-1])
            return interpolate(out["logits"], retrieved), out["attention"], after

        return beam_search(
            step,
            state,
            batch=batch,
            num_regions=encoded.regions.shape[1] * encoded.regions.shape[2],
            beam_width=width,
            max_length=options.max_length,
            start=START,
            end=END,
            forbidden=NEVER_GENERATED,
            pad=PAD,
            length_penalty=options.length_penalty,
            no_repeat_ngram=options.no_repeat_ngram,
            seed=seed,
        )

    def teacher_forced(self, seen: Seen, inputs: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """The decoder's own predictions along given captions.

        Args:
            seen: the images.
            inputs: int32 [B, T], `<start>` and words, padded.
            training: whether dropout is on.

        Returns:
            `logits` float32 [B, T, V] of each next word, given the words before it, `attention` float32 [B, T, P], and
            of a decoder whose words have evidence, `places` float32 [B, T, R], `spoken` float [B, T, E],
            `values` float [B, R, E] and, where concepts are places, `which` int32 [B, N].
        """
        encoding = []
        if self.semantic_source != "none":
            whole = self.semantic_source == "reference"
            encoding = [self._semantic.prefix_encodings(inputs[:, 1:], whole)]
        return self.decoder.teacher([*self._decoder_inputs(seen), inputs, *encoding], training=training)

    def score(self, encoded: Encoded, tokens: tf.Tensor, targets: tf.Tensor | None = None) -> Scored:
        """Score given captions; a gradient reaches the regions.

        Args:
            encoded: of `encode`.
            tokens: int32 [B, T] of words, padded.
            targets: int32 [B, T], the words to score at each step in place of the captions' own, after the same words
                before it.
        """
        longest = tf.maximum(1, tf.reduce_max(tf.math.count_nonzero(tokens, 1, dtype=tf.int32)))
        words = tokens[:, :longest]
        inputs = shift_right(words)
        forced = self.teacher_forced(encoded.seen, inputs)
        scored = words if targets is None else targets[:, :longest]
        log_probs, share = self._token_log_probs(encoded, forced["logits"], inputs, scored)
        attention = tf.reshape(forced["attention"], [-1, longest, *encoded.regions.shape[1:3]])
        present = tf.cast(words != PAD, tf.float32)
        values = (log_probs * present, attention * present[:, :, None, None], share * present)
        evidence = None
        if self.has_evidence(encoded.seen):
            project = self.decoder.teacher.get_layer("word_logits")
            evidence = word_evidence(project, forced, scored, present, encoded.seen, self.head, self.finest_grid)
        padded = evidence and Evidence(*(_pad_to(x, tokens) for x in evidence))
        log_probs, attention, share = (_pad_to(x, tokens) for x in values)
        return Scored(log_probs, attention, share, padded)

    def has_evidence(self, seen: Seen | None = None) -> bool:
        """Whether words have evidence maps: of images seen by the encoder, or of these, which may come from a cache."""
        whole = seen is None or seen.fine is not None or len(self.encoder.outputs) == 1
        return "places" in self.decoder.teacher.output and whole

    @property
    def finest_grid(self) -> tuple[int, int]:
        """Height and width of the finest maps of words: those of the finer grid where there is one."""
        return tuple(self.encoder.outputs[-1].shape[1:3])

    def _token_log_probs(
        self, encoded: Encoded, logits: tf.Tensor, inputs: tf.Tensor, words: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probabilities and retrieval shares of words, float32 [B, T] each."""
        if encoded.neighbors is None:
            own = tf.gather(tf.nn.log_softmax(logits), words, batch_dims=2)
            return own, tf.zeros_like(own)
        retrieved = next_token_distributions(encoded.neighbors, inputs, logits.shape[-1])
        log_probs = tf.gather(tf.nn.log_softmax(interpolate(logits, retrieved)), words, batch_dims=2)
        share = tf.gather(retrieved, words, batch_dims=2) / tf.exp(log_probs)
        return log_probs, tf.minimum(share, 1.0)

    def read(self, tokens: tf.Tensor) -> Reading:
        """The semantic encoder on texts int32 [B, T], padded; the network has one."""
        out = self._semantic.classifier(tokens)
        return Reading(tf.sigmoid(out["concept_logits"]), out["word_importance"])

    def concept_scores(self, encoded: Encoded, reading: Reading) -> tf.Tensor:
        """Concepts of captioned images, float32 [B, Q] in 0..1: of the head or the caption's words, interpolated with
        those of similar images where there are any."""
        scores = reading.concept_scores
        if self.concepts_from_image:
            scores = tf.sigmoid(encoded.seen.concept_logits)
        return scores if encoded.neighbors is None else interpolate_concepts(scores, encoded.neighbors)

    def _peek(self, reference: tf.Tensor | None, width: int) -> tf.Tensor:
        if reference is None:
            raise InputError("decoder.semantic_source=reference is an oracle: it needs the reference captions")
        encoding = self._semantic.prefix_encodings(reference, whole=True)[:, :1]
        return tf.repeat(encoding, width, axis=1)


def shift_right(tokens: tf.Tensor) -> tf.Tensor:
    """Captions int32 [B, T] as the decoder is fed them, `<start>` and all words but the last: int32 [B, T]."""
    return tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], 1)


def _pad_to(values: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """[B, shorter, ...] -> [B, T, ...] with zeros, for tokens [B, T]."""
    missing = tf.shape(tokens)[1] - tf.shape(values)[1]
    padded = tf.pad(values, [[0, 0], [0, missing], *[[0, 0]] * (len(values.shape) - 2)])
    return tf.ensure_shape(padded, [*tokens.shape, *values.shape[2:]])
