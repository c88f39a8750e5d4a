"""The five signatures of an export, over a captioner's networks.

Axes: B images, S pixels a side, h x w regions, T tokens, K concepts shown, C channels shown, M similar training images
shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.decoding import DecodingResult
from medcap_tf.errors import InputError
from medcap_tf.graphs import graph_function
from medcap_tf.models.captioning import Encoded
from medcap_tf.models.fold import fold_encoder, layers_of
from medcap_tf.models.visual import shown_layers
from medcap_tf.serving.pixels import read_images
from medcap_tf.serving.words import WordTables, joined, sentence
from medcap_tf.text import END, PAD, START

CONCEPTS_SHOWN = 10
CHANNELS_SHOWN = 16
SIMILAR_SHOWN = 3

Outputs = dict[str, tf.Tensor]


class ServedCaptioner(tf.Module):
    """Everything from the bytes of a file to the reasons for its caption, in the graph."""

    def __init__(
        self,
        captioner: RunCaptioner,
        folder: Path,
        captions: Iterable[str] = (),
        layers: Sequence[str] | None = None,
        precision: str = "float32",
    ):
        """Build.

        Args:
            captioner: a loaded run, with its decoding options.
            folder: where the tables' files go, for as long as the module is not saved.
            captions: texts whose words the `text` signature is to know beside the vocabulary's own.
            layers: what `activations` shows; None: `visual.shown_layers`.
            precision: the type that the encoder's convolutions compute in.

        Raises:
            InputError: a run that cannot be served, or no such layer.
        """
        super().__init__()
        if captioner.config.data.equalize:
            raise InputError(
                "data.equalize=true: histogram equalization has no counterpart among TensorFlow's own operations, so "
                "this run cannot be served; train one with --set data.equalize=false"
            )
        self.captioner, self.model = captioner, captioner.model
        self.retriever = captioner.model.retriever  # tracked: its variables are saved
        encoder = captioner.model.encoder
        self.layers = tuple(shown_layers(encoder) if layers is None else layers)
        self.tables = WordTables(captioner.vocabulary, captions, folder)
        # The variables alone are saved: Keras would add a trace of every layer.
        self.weights = [
            weight for name, part in captioner.model.parts().items() if name != "encoder" for weight in part.weights
        ]
        # For whoever loads the export as a captioner; no signature reads these.
        named = list(captioner.concept_names.items())
        names, threshold = tf.constant(named, tf.string, [len(named), 2]), captioner.concept_threshold
        self.concept_names = tf.Variable(names, trainable=False, name="concept_names")
        self.concept_threshold = tf.Variable(threshold, trainable=False, dtype=tf.float32, name="concept_threshold")
        pixels = tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32)
        # One traced function each, so that the constants are stored once, however many signatures call it.
        folded = fold_encoder(encoder, precision, constant=True)
        self._see = graph_function(lambda x: _run(folded, x), input_signature=[pixels])
        shown = fold_encoder(layers_of(encoder, self.layers), precision, keep=self.layers, constant=True)
        shown = layers_of(shown, self.layers)
        self._maps = graph_function(lambda x: _run(shown, x), input_signature=[pixels])

    def signatures(self) -> dict[str, Any]:
        """The functions to save, by the names that a server calls them."""
        size = self.captioner.config.visual.image_size
        files = tf.TensorSpec([None], tf.string, "image_bytes")
        image = tf.TensorSpec([None, size, size, 3], tf.float32, "image")
        captions = tf.TensorSpec([None], tf.string, "caption")
        specs = {
            "serving_default": (self._caption_files, files),
            "image": (self._caption_pixels, image),
            "explain": (self._explain, files),
            "activations": (self._activations, files),
            "text": (self._read_text, captions),
        }
        return {name: graph_function(call, input_signature=[spec]) for name, (call, spec) in specs.items()}

    def _caption_files(self, image_bytes: tf.Tensor) -> Outputs:
        """string [B] -> caption, stems string [B], score float32 [B], length int32 [B], valid bool [B]; of a run with
        calibration, confidence float32 [B] in 0..1 and novelty float32 [B] in 0..100, as far as it knows them."""
        pixels, valid = self._read(image_bytes)
        return self._caption(self._encode(pixels), valid)

    def _caption_pixels(self, image: tf.Tensor) -> Outputs:
        """float32 [B, S, S, 3], RGB in 0..255, -> the same; a row with other values is not valid."""
        valid = tf.reduce_all((image >= 0) & (image <= 255), [1, 2, 3])
        pixels = tf.where(valid[:, None, None, None], image, 0.0)
        return self._caption(self._encode(pixels), valid)

    def _explain(self, image_bytes: tf.Tensor) -> Outputs:
        """string [B] -> the same, tokens string [B, T], attention float32 [B, T, h, w], word_importance float32
        [B, T], concept and concept_name string and concept_score float32 [B, K], best first; copied float32 [B, T],
        similar string and similar_weight float32 [B, M], the nearest first; of a run whose words have evidence,
        evidence float32 [B, T, g, g], what each place added to the word's logit, and image_share float32 [B, T]."""
        pixels, valid = self._read(image_bytes)
        encoded = self._encode(pixels)
        generated = self._generate(encoded)
        judged = self._judge(encoded, generated.tokens)
        maps = tf.reshape(generated.attention, [-1, generated.tokens.shape[1], *self.model.grid])
        return {
            **self._answer(generated, judged, valid),
            "tokens": _only(valid, self.tables.decode(generated.tokens, readable=False)),
            "attention": _only(valid, maps),
            **self._concepts(generated.tokens, judged, valid),
            **self._similar(encoded, valid),
            **self._sources(generated, encoded, valid),
        }

    def _activations(self, image_bytes: tf.Tensor) -> Outputs:
        """string [B] -> valid, and for each layer float32 [B, h, w, C], each image's strongest channels first."""
        pixels, valid = self._read(image_bytes)
        maps = self._maps(pixels)
        return {"valid": valid, **{name: _only(valid, _strongest(x)) for name, x in maps.items()}}

    def _read_text(self, caption: tf.Tensor) -> Outputs:
        """string [B] -> tokens string [B, T], word_importance float32 [B, T], concept, concept_name and concept_score
        [B, K]."""
        tokens = self.tables.encode(caption, self.captioner.config.text.max_words)
        valid = tf.ones_like(tokens[:, 0], tf.bool)
        read = {} if self.model.semantic is None else self.model.read(tokens)._asdict()
        return {"tokens": self.tables.decode(tokens, readable=False), **self._concepts(tokens, read, valid)}

    def _read(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return read_images(image_bytes, self.captioner.config.visual.image_size)

    def _encode(self, pixels: tf.Tensor) -> Encoded:
        return self.model.encode_seen(self.model.seen_of(self._see(pixels)))

    def _generate(self, encoded: Encoded) -> DecodingResult:
        return self.model.generate(encoded, self.captioner.config.decoding)

    def _caption(self, encoded: Encoded, valid: tf.Tensor) -> Outputs:
        generated = self._generate(encoded)
        # Without calibration nothing that reading the words would tell is answered.
        judged = self._judge(encoded, generated.tokens) if self.captioner.calibration else {}
        return self._answer(generated, judged, valid)

    def _judge(self, encoded: Encoded, tokens: tf.Tensor) -> Outputs:
        """`word_importance` float32 [B, T] and what `RunCaptioner.judge` says, as far as the run knows."""
        if self.model.semantic is None:
            return self.captioner.judge(encoded, None)
        reading = self.model.read(tokens)
        return {"word_importance": reading.word_importance, **self.captioner.judge(encoded, reading)}

    def _answer(self, generated: DecodingResult, judged: Outputs, valid: tf.Tensor) -> Outputs:
        answer: Outputs = {
            "caption": sentence(self.tables.decode(generated.tokens, readable=True)),
            "stems": joined(self.tables.decode(generated.tokens, readable=False)),
            "score": generated.score,
            "length": generated.length,
            **{name: judged[name] for name in ("confidence", "novelty") if name in judged},
        }
        return {**{name: _only(valid, value) for name, value in answer.items()}, "valid": valid}

    def _concepts(self, tokens: tf.Tensor, known: Outputs, valid: tf.Tensor) -> Outputs:
        """Of `word_importance` and `concept_scores`, where they are known, what is shown."""
        importance = known.get("word_importance", tf.zeros_like(tokens, tf.float32))
        scores = known.get("concept_scores", tf.zeros([tf.size(valid), 0]))
        codes = self.captioner.concepts
        best, place = tf.math.top_k(scores, min(CONCEPTS_SHOWN, len(codes)))
        names = [self.captioner.concept_names.get(code, "") for code in codes]
        code, name = (tf.gather(tf.constant(texts, tf.string, [len(codes)]), place) for texts in (codes, names))
        shown = {"word_importance": importance, "concept": code, "concept_name": name, "concept_score": best}
        return {name: _only(valid, value) for name, value in shown.items()}

    def _sources(self, generated: DecodingResult, encoded: Encoded, valid: tf.Tensor) -> Outputs:
        """Where each word came from: similar images, and places of this one."""
        if encoded.neighbors is None and not self.model.has_evidence():
            return {"copied": tf.zeros_like(generated.tokens, tf.float32)}
        scored = self.model.score(encoded, generated.tokens)
        shown = {"copied": scored.retrieval_share}
        if scored.evidence is not None:
            shown.update(evidence=scored.evidence.maps, image_share=scored.image_share)
        return {name: _only(valid, value) for name, value in shown.items()}

    def _similar(self, encoded: Encoded, valid: tf.Tensor) -> Outputs:
        neighbors = encoded.neighbors
        shown = {
            "similar": tf.fill([tf.size(valid), 0], ""),
            "similar_weight": tf.zeros([tf.size(valid), 0]),
        }
        if neighbors is not None:
            tokens = neighbors.tokens[:, :SIMILAR_SHOWN]
            words = self.tables.decode(tf.where((tokens == START) | (tokens == END), PAD, tokens), readable=True)
            shown = {"similar": sentence(words), "similar_weight": neighbors.weight[:, :SIMILAR_SHOWN]}
        return {name: _only(valid, value) for name, value in shown.items()}


def _run(model: keras.Model, pixels: tf.Tensor) -> Any:
    """The model's outputs as float32."""
    # oneDNN's fused convolutions fail on a batch of none: it gets a row, which is taken away again.
    rows = tf.shape(pixels)[0]
    some = tf.pad(pixels, [[0, tf.cast(rows == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
    return tf.nest.map_structure(lambda x: tf.cast(x[:rows], tf.float32), model(some, training=False))


def _only(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """values [B, ...] with zeros or empty strings in rows that are not valid."""
    rows = tf.reshape(valid, [-1, *[1] * (len(values.shape) - 1)])
    return tf.where(rows, values, tf.zeros([], values.dtype) if values.dtype != tf.string else "")


def _strongest(maps: tf.Tensor) -> tf.Tensor:
    """float32 [B, h, w, all] -> [B, h, w, C]: the channels of each image with the largest mean magnitude, in order."""
    strength = tf.reduce_mean(tf.abs(maps), [1, 2])
    _, channel = tf.math.top_k(strength, min(CHANNELS_SHOWN, maps.shape[-1]))
    strongest = tf.gather(tf.transpose(maps, [0, 3, 1, 2]), channel, batch_dims=1)
    return tf.transpose(strongest, [0, 2, 3, 1])
