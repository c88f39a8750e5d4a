"""ResNet50: where it is cut, what trains, and weights that do not fit."""

from __future__ import annotations

import dataclasses

import h5py
import keras
import numpy as np
import pytest

from medcap_tf.config import VisualConfig
from medcap_tf.errors import InputError
from medcap_tf.models import visual
from medcap_tf.models.concept_head import build_concept_head, concept_view

CONFIG = VisualConfig(image_size=64, weights="none", layer="conv3_block4_out")


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(1)
    return visual.build_visual_encoder(CONFIG)


def test_regions_and_activations(encoder):
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    assert encoder(image).shape == (1, 8, 8, 512)
    named = visual.activations(encoder, ["conv1_relu", "conv2_block3_out"])(image)
    assert {name: tuple(x.shape) for name, x in named.items()} == {
        "conv1_relu": (1, 32, 32, 64),
        "conv2_block3_out": (1, 16, 16, 256),
    }


def test_normalization_is_resnets_own(encoder):
    image = np.zeros((1, 64, 64, 3), np.float32)
    image[..., 0], image[..., 2] = 255, 10  # red and blue
    first = keras.Model(encoder.inputs, encoder.get_layer("conv1_pad").input)(image)
    np.testing.assert_allclose(first[0, 0, 0], [10 - 103.939, 0 - 116.779, 255 - 123.68], rtol=1e-5)


def test_what_trains(encoder):
    visual.set_trainable(encoder, "none")
    assert not encoder.trainable_weights
    visual.set_trainable(encoder, "last_stage")
    assert {w.name.split("_")[0] for w in encoder.trainable_weights} == {"conv3"}
    visual.set_trainable(encoder, "all")
    assert "conv1" in {w.name.split("_")[0] for w in encoder.trainable_weights}


def test_the_concept_view_is_flat_and_the_same_network(encoder):
    head = build_concept_head(CONFIG, encoder, 4)
    view = concept_view(encoder, head)
    image = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = 1 / (1 + np.exp(-head(encoder(image)).numpy()))
    np.testing.assert_allclose(view(image), expected, atol=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in view.layers)


def test_weights_go_to_a_file_and_back(encoder, tmp_path):
    path = tmp_path / "mine.h5"
    encoder.save_weights(path)
    keras.utils.set_random_seed(2)
    again = visual.build_visual_encoder(dataclasses.replace(CONFIG, weights=str(path)))
    for one, other in zip(encoder.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_file_of_the_whole_network_serves_a_cut_one(tmp_path):
    whole = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    path = tmp_path / "whole.h5"
    whole.save_weights(path)
    cut = visual.build_visual_encoder(dataclasses.replace(CONFIG, weights=str(path)))
    name = "conv3_block1_1_conv"
    np.testing.assert_array_equal(cut.get_layer(name).get_weights()[0], whole.get_layer(name).get_weights()[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_text("not weights"), "no HDF5 file"),
        (lambda path: h5py.File(path, "w").close(), "layer conv1_conv should hold .*no such layer"),
        (
            lambda path: keras.Sequential(
                [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv1_conv")]
            ).save_weights(path),
            r"layer conv1_conv should hold weights of shapes \[\(7, 7, 3, 64\).*found \[\(3, 3, 3, 4\)",
        ),
    ],
)
def test_wrong_weights_say_what_is_wrong(make, message, tmp_path):
    path = tmp_path / "wrong.h5"
    make(path)
    with pytest.raises(InputError, match=message):
        visual.build_visual_encoder(dataclasses.replace(CONFIG, weights=str(path)))


@pytest.mark.parametrize(("layer", "message"), [("conv9", "no layer 'conv9'.*conv5_block3_out")])
def test_wrong_layers_say_what_there_is(layer, message):
    with pytest.raises(InputError, match=message):
        visual.build_visual_encoder(dataclasses.replace(CONFIG, layer=layer))


def test_weights_that_cannot_be_downloaded_say_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(keras.utils, "get_file", refuse)
    with pytest.raises(InputError, match=r"no network.*resnet50_weights.*\.keras/models.*visual\.weights=PATH"):
        visual.build_visual_encoder(dataclasses.replace(CONFIG, weights="imagenet"))


def test_a_finer_grid_is_that_of_the_settings_and_starts_from_weights_of_the_plain_network(tmp_path):
    plain = visual.build_visual_encoder(CONFIG)
    plain.save_weights(tmp_path / "plain.h5")
    config = dataclasses.replace(CONFIG, grid=6, weights=str(tmp_path / "plain.h5"))
    encoder = visual.build_visual_encoder(config)
    regions, fine = encoder(np.zeros((1, CONFIG.image_size, CONFIG.image_size, 3), np.float32))
    assert regions.shape[1:] == visual.region_shape(plain) == visual.region_shape(encoder)
    assert fine.shape[1:] == (6, 6, visual.PYRAMID_UNITS)
    assert visual.cut_of(encoder) == CONFIG.layer
    for name in ("conv1_conv", CONFIG.layer.replace("_out", "_1_conv")):
        np.testing.assert_array_equal(encoder.get_layer(name).get_weights()[0], plain.get_layer(name).get_weights()[0])


def test_a_head_on_another_grid_is_refused(tmp_path):
    config = dataclasses.replace(CONFIG, grid=6)
    encoder = visual.build_visual_encoder(config)
    encoder.save_weights(tmp_path / "encoder.h5")
    visual.check_pyramid(encoder, tmp_path / "encoder.h5")
    with pytest.raises(InputError, match=r"set visual.grid and visual.image_size as in that run"):
        visual.check_pyramid(visual.build_visual_encoder(CONFIG), tmp_path / "encoder.h5")
