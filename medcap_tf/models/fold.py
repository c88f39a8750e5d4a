"""The visual encoder made for inference: batch normalization folded into the convolutions.

Axes: B images, h x w places, I input and O output channels, k x k taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.graphs import as_written
from medcap_tf.models.visual import ImageNetNormalization


class FoldedConvolution(keras.layers.Layer):
    """A convolution with a fixed kernel [k, k, I, O] and bias [O]: constants of the graph, or variables.

    oneDNN brings a constant kernel into its own layout once, a variable's at every call; but a graph with constants
    takes seconds longer to its first answer.
    """

    def __init__(
        self, weights: tuple[np.ndarray, np.ndarray], convolution: keras.layers.Conv2D, constant: bool, **kwargs: Any
    ):
        super().__init__(trainable=False, **kwargs)
        self.strides, self.padding = list(convolution.strides), convolution.padding.upper()
        kind = tf.as_dtype(self.compute_dtype).as_numpy_dtype
        fixed = [weight.astype(kind) for weight in weights]
        kernel, bias = fixed if constant else [tf.Variable(weight, trainable=False) for weight in fixed]
        self.kernel, self.bias = kernel, bias

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """float [B, h, w, I] -> float [B, h', w', O], in the layer's compute type."""
        return tf.nn.bias_add(tf.nn.conv2d(inputs, self.kernel, self.strides, self.padding), self.bias)


@as_written
def fold_encoder(
    encoder: keras.Model, precision: str = "float32", keep: Sequence[str] = (), constant: bool = False
) -> keras.Model:
    """The same function of the image with fixed weights: W' = W g / s, b' = (b - m) g / s + beta, s^2 = v + eps.

    Args:
        encoder: a functional model in which each normalization follows a convolution of its own.
        precision: `float32`, `bfloat16` or `float16`, the type that convolutions compute in.
        keep: layers whose outputs will be asked for; a convolution among them keeps its normalization apart, so that
            every named output stays what it was.
        constant: weights as constants of the graph: slower to start, then faster.

    Returns:
        A functional model with the same layer names.
    """
    normalizers = {
        layer.inbound_nodes[0].inbound_layers.name: layer
        for layer in encoder.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    folded = {name: layer for name, layer in normalizers.items() if name not in keep}
    policy = precision if precision == "float32" else f"mixed_{precision}"
    gone = {layer.name for layer in folded.values()}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.Conv2D):
            weights = _folded_weights(layer, folded.get(layer.name))
            return FoldedConvolution(weights, layer, constant, name=layer.name, dtype=policy)
        if layer.name in gone:
            return keras.layers.Activation("linear", name=layer.name, dtype=policy)
        settings = layer.get_config()
        # Pixels are normalized in the type they come in.
        return type(layer).from_config({**settings, "dtype": policy} if _is_network(layer) else settings)

    result = keras.models.clone_model(encoder, clone_function=clone)
    for name in set(normalizers) - set(folded):
        normalizer = normalizers[name]
        result.get_layer(normalizer.name).set_weights(normalizer.get_weights())
    return result


def layers_of(encoder: keras.Model, names: Sequence[str]) -> keras.Model:
    """`image` -> a dictionary of the named layers' outputs [B, h, w, C]; raises InputError on names that give none."""
    known = {layer.name: layer for layer in encoder.layers[1:] if len(layer.output_shape) == 4 and _is_network(layer)}
    for name in names:
        if name not in known:
            some = ", ".join(n for n in known if n.endswith(("_out", "_relu")))
            raise InputError(f"--layers: {name!r} is no layer of this run's encoder; there are {some}, ...")
    return keras.Model(encoder.inputs, {name: known[name].output for name in names})


def _is_network(layer: keras.layers.Layer) -> bool:
    return not isinstance(layer, (keras.layers.InputLayer, ImageNetNormalization))


def _folded_weights(layer: keras.layers.Conv2D, normalizer: Any) -> tuple[np.ndarray, np.ndarray]:
    kernel = layer.kernel.numpy()
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(kernel.shape[-1], np.float32)
    if normalizer is None:
        return kernel, bias
    deviation = np.sqrt(normalizer.moving_variance.numpy() + normalizer.epsilon)
    gain = normalizer.gamma.numpy() / deviation
    return kernel * gain, (bias - normalizer.moving_mean.numpy()) * gain + normalizer.beta.numpy()
