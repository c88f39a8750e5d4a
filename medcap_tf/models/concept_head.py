"""The head that names an image's concepts, and where in the image each comes from.

Axes: B images, h x w grid of regions, C channels, g x g places of a finer grid, F of their channels, K concepts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from medcap_tf.config import VisualConfig
from medcap_tf.models.dropout import ResumableDropout

PEAK_SHARE = 0.06  # of a grid's places, which a small finding covers a part of


@keras.saving.register_keras_serializable("medcap_tf")
class ConceptPooling(keras.layers.Layer):
    """Concepts by evidence: a logit is what the mean region says, as for a modality, plus the mean of the highest
    PEAK_SHARE of the concept's own map, as for a nodule.

    The parts add up to the logit exactly, so the map is the concept's evidence. A mean over all places would reward
    evidence that is spread evenly.
    """

    def __init__(self, concepts: int, dropout: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.concepts, self.dropout = concepts, dropout
        self.drop_whole = ResumableDropout(dropout, seed=11, name="concept_dropout", dtype="float32")
        self.drop_places = ResumableDropout(dropout, seed=12, name="fine_dropout", dtype="float32")
        # From zero: places come first, and the whole image learns what they leave.
        self.whole = keras.layers.Dense(
            concepts, use_bias=False, kernel_initializer="zeros", name="whole", dtype="float32"
        )
        # Most concepts are absent from most images, and each place starts as sure of that as all of them.
        absent = keras.initializers.Constant(-2.0)
        self.places = keras.layers.Conv2D(concepts, 1, bias_initializer=absent, name="places", dtype="float32")

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Regions float [B, h, w, C] and fine regions float [B, g, g, F] -> logits float32 [B, K]."""
        whole, places = self.parts(inputs, training)
        return whole + tf.reduce_sum(places, [1, 2])

    def parts(self, inputs: list[tf.Tensor], training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """What a logit is the sum of: the whole image's part float32 [B, K] and each place's float32 [B, g, g, K]."""
        regions, fine = (tf.cast(x, tf.float32) for x in inputs)
        whole = self.whole(self.drop_whole(tf.reduce_mean(regions, [1, 2]), training=training))
        maps = self.places(self.drop_places(fine, training=training))
        grid = maps.shape[1:3]
        flat = tf.reshape(maps, [-1, grid[0] * grid[1], self.concepts])
        peaks = tf.math.top_k(tf.transpose(flat, [0, 2, 1]), max(1, round(PEAK_SHARE * grid[0] * grid[1]))).values
        among = tf.cast(flat >= peaks[:, None, :, -1], tf.float32)
        return whole, tf.reshape(flat * among / tf.reduce_sum(among, 1, keepdims=True), [-1, *grid, self.concepts])

    def get_config(self) -> dict[str, Any]:
        """What Keras needs to build the layer again."""
        return {**super().get_config(), "concepts": self.concepts, "dropout": self.dropout}


def build_concept_head(config: VisualConfig, encoder: keras.Model, concepts: int) -> keras.Model:
    """The encoder's outputs -> `concept_logits` float32 [B, K].

    Of regions alone by global average pooling and one dense layer, with a finer grid by `ConceptPooling`.
    """
    inputs = [keras.Input(output.shape[1:], name=name) for output, name in zip(encoder.outputs, ("regions", "fine"))]
    if len(inputs) > 1:
        pool = ConceptPooling(concepts, config.concept_dropout, name="concept_logits", dtype="float32")
        return keras.Model(inputs, pool(inputs), name="concept_head")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling", dtype="float32")(inputs[0])
    pooled = ResumableDropout(config.concept_dropout, seed=11, name="concept_dropout", dtype="float32")(pooled)
    logits = keras.layers.Dense(concepts, name="concept_logits", dtype="float32")(pooled)
    return keras.Model(inputs[0], logits, name="concept_head")


class ConceptShares(NamedTuple):
    """Of what speaks for each concept, the shares of the whole image and of each place; together 1, or 0 where nothing
    does."""

    whole: tf.Tensor  # float32 [B, K]
    places: tf.Tensor  # float32 [B, g, g, K]


def concept_shares(head: keras.Model, regions: tf.Tensor, fine: tf.Tensor | None) -> ConceptShares:
    """Where an image's concepts come from: of the parts that add up to a logit, those above zero.

    Args:
        head: of `build_concept_head`.
        regions: float [B, h, w, C].
        fine: float [B, g, g, F], or None for a head of regions alone.
    """
    last = head.get_layer("concept_logits")
    if fine is not None:
        whole, places = last.parts([regions, fine])
    else:  # the mean of regions and a dense layer are a sum over regions (Zhou et al. 2016)
        places = tf.einsum("bhwc,ck->bhwk", tf.cast(regions, tf.float32), last.kernel)
        places, whole = places / (places.shape[1] * places.shape[2]), last.bias[None]
    whole, places = tf.nn.relu(whole), tf.nn.relu(places)
    total = tf.maximum(whole + tf.reduce_sum(places, [1, 2]), 1e-9)
    return ConceptShares(whole / total, places / total[:, None, None])


def concept_centers(shares: ConceptShares) -> tf.Tensor:
    """Where in the image each concept is: the center of its places, float32 [B, K, 2], to the right and down from -1 to
    1; 0, the middle, for what has no place."""
    height, width = shares.places.shape[1:3]
    right, down = (tf.constant((np.arange(size) + 0.5) * 2 / size - 1, tf.float32) for size in (width, height))
    moments = [tf.einsum("bhwk,w->bk", shares.places, right), tf.einsum("bhwk,h->bk", shares.places, down)]
    return tf.math.divide_no_nan(tf.stack(moments, -1), tf.reduce_sum(shares.places, [1, 2])[..., None])


def concept_view(encoder: keras.Model, head: keras.Model) -> keras.Model:
    """The encoder and its head as one flat model, `image` -> `concepts` float32 [B, K] in 0..1.

    Flat, one input, one output: the form that tf-explain can take apart.
    """
    x = encoder.output
    for layer in head.layers:
        x = x if isinstance(layer, keras.layers.InputLayer) else layer(x)
    return keras.Model(encoder.inputs, keras.layers.Activation("sigmoid", name="concepts", dtype="float32")(x))
