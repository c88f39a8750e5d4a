"""Folding changes no output: not the regions, not any layer that is asked for by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from medcap_tf.config import VisualConfig
from medcap_tf.errors import InputError
from medcap_tf.models.fold import fold_encoder, layers_of
from medcap_tf.models.visual import build_visual_encoder

# Before, at and after a normalization; a shortcut's; the input's padding.
NAMES = [
    "conv1_pad",
    "conv1_conv",
    "conv1_bn",
    "conv1_relu",
    "conv2_block1_0_conv",
    "conv2_block1_1_bn",
    "conv2_block3_out",
]


@pytest.fixture(scope="module")
def encoder():
    model = build_visual_encoder(VisualConfig(weights="none", image_size=32, layer="conv2_block3_out"))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            ranges = [(0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.2, 2.0)]
            layer.set_weights([rng.uniform(*span, w.shape) for span, w in zip(ranges, layer.get_weights())])
    return model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("constant", [False, True])
def test_folded_regions_are_the_encoders(encoder, pixels, constant):
    wanted = encoder(pixels).numpy()
    folded = fold_encoder(encoder, constant=constant)
    assert wanted.max() > 1
    np.testing.assert_allclose(folded(pixels), wanted, rtol=1e-3, atol=1e-3)
    assert not folded.trainable_weights
    assert bool(folded.weights) is not constant
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)


def test_every_named_layer_keeps_its_output(encoder, pixels):
    shown = layers_of(fold_encoder(encoder, keep=NAMES), NAMES)(pixels)
    wanted = keras.Model(encoder.inputs, {name: encoder.get_layer(name).output for name in NAMES})(pixels)
    assert list(shown) == NAMES
    for name in NAMES:
        np.testing.assert_allclose(shown[name], wanted[name], rtol=1e-3, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_computes_in_it(encoder, pixels, precision):
    found = fold_encoder(encoder, precision)(pixels)
    assert found.dtype == precision
    wanted = encoder(pixels).numpy()
    assert np.abs(found.numpy().astype(np.float32) - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["conv9", "image", "tf.__operators__.getitem", "conv5_block3_out"])
def test_a_layer_that_cannot_be_shown_is_named(encoder, name):
    with pytest.raises(InputError, match=f"--layers: '{name}'.*conv2_block3_out"):
        layers_of(encoder, [name])
