"""ResNet50 as a reader of images: a grid of regions, named activations, and a head that names concepts.

Axes: B images, S pixels a side, h x w grid of regions, C channels, K concepts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import tensorflow as tf

from medcap_tf.config import VisualConfig
from medcap_tf.errors import InputError
from medcap_tf.models.concept_head import concept_centers, concept_shares

PYRAMID_UNITS = 256
_STAGES = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
_SHOWN = ("conv1_relu", "conv2_block3_out", "conv3_block4_out")
_WEIGHTS_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"


@keras.saving.register_keras_serializable("medcap_tf")
class ImageNetNormalization(keras.layers.Layer):
    """RGB float [B, S, S, 3] in 0..255 -> BGR, minus ImageNet's mean of each channel, as ResNet50's weights expect."""

    MEAN_BGR = (103.939, 116.779, 123.68)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """Reverse the channels and center them."""
        return tf.nn.bias_add(image[..., ::-1], tf.constant([-mean for mean in self.MEAN_BGR], image.dtype))


def build_visual_encoder(config: VisualConfig, with_weights: bool = True, precision: str = "float32") -> keras.Model:
    """ResNet50 (He et al. 2016) cut at `config.layer`, and with `config.grid` a finer grid beside its regions.

    The finer grid joins the cut with the stages before it, top-down: 1 x 1 convolutions, bilinear upsampling, sums (a
    feature pyramid, Lin et al. 2017, section 3).

    Args:
        config: what is built.
        with_weights: False leaves the weights random, for a model that will be given those of a run.
        precision: Keras' dtype policy of the network's layers.

    Returns:
        A flat functional model: `image` float32 [B, S, S, 3], RGB in 0..255, -> regions [B, h, w, C], with a grid also
        fine regions [B, g, g, PYRAMID_UNITS] (float32 or the compute type of the precision policy). Its first layer is
        `normalization`. Any inner layer's output is had by `activations(encoder, names)`.

    Raises:
        InputError: weights that cannot be had or do not fit, or no such layer.
    """
    size = config.image_size
    image = keras.Input((size, size, 3), name="image")
    normalized = ImageNetNormalization(name="normalization", dtype="float32")(image)
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=normalized)
    regions = _layer(network, config.layer).output
    outputs = [regions, _feature_pyramid(network, config.layer, config.grid)] if config.grid else regions
    encoder = keras.Model(network.inputs, outputs, name="visual_encoder")
    if precision != "float32":
        encoder = _with_precision(encoder, precision)
    _follow_batches_faster(encoder, everywhere=config.weights == "none")
    if with_weights and config.weights != "none":
        load_weights(encoder, _weights_file(config))
    return encoder


def _feature_pyramid(network: keras.Model, cut: str, grid: int) -> Any:
    """[B, grid, grid, PYRAMID_UNITS] of a cut and as many stages before it as reach the grid."""

    def project(name: str) -> Any:
        x = keras.layers.Conv2D(PYRAMID_UNITS, 1, use_bias=False, name=f"pyramid_{name}")(
            network.get_layer(name).output
        )
        return keras.layers.BatchNormalization(name=f"pyramid_{name}_bn")(x)

    names = [layer.name for layer in network.layers]
    finer = [stage for stage in reversed(_STAGES) if names.index(stage) < names.index(cut)]
    joined = project(cut)
    for stage in finer:
        if joined.shape[1] >= grid:
            break
        fine = project(stage)
        coarse = keras.layers.Resizing(*fine.shape[1:3], name=f"pyramid_up_to_{stage}")(joined)
        joined = keras.layers.Add(name=f"pyramid_sum_{stage}")([coarse, fine])
    joined = keras.layers.ReLU(name="pyramid_relu")(joined)
    return joined if joined.shape[1] == grid else keras.layers.Resizing(grid, grid, name="pyramid_grid")(joined)


def cut_of(encoder: keras.Model) -> str:
    """The name of the layer whose output the regions are."""
    return encoder.output_names[0]


def shown_layers(encoder: keras.Model) -> list[str]:
    """The layers to show where nobody names others: early ones, whose maps are fine; those beyond the cut left out."""
    present = {layer.name for layer in encoder.layers}
    return [name for name in _SHOWN if name in present]


def region_shape(encoder: keras.Model) -> tuple[int, int, int]:
    """h, w, C."""
    return tuple(encoder.outputs[0].shape[1:])


def activations(encoder: keras.Model, layers: list[str]) -> keras.Model:
    """`image` -> a dictionary of the named layers' outputs, each [B, h, w, C]; raises InputError on unknown names."""
    return keras.Model(encoder.inputs, {name: _layer(encoder, name).output for name in layers})


class Seen(NamedTuple):
    """What the encoder and the head give of images."""

    regions: tf.Tensor  # float [B, h, w, C]
    concept_logits: tf.Tensor | None = None  # float32 [B, K], where there is a trained head
    concept_centers: tf.Tensor | None = None  # float32 [B, K, 2] of `concept_centers`, with a finer grid
    fine: tf.Tensor | None = None  # float [B, g, g, F], of an encoder with a finer grid; None of cached images


def see(encoder: keras.Model, head: keras.Model | None, pixels: tf.Tensor, training: bool = False) -> Seen:
    """Both on images, RGB [B, S, S, 3] in 0..255, of any type."""
    return seen_of(encoder(tf.cast(pixels, tf.float32), training=training), head, training)


def seen_of(outputs: Any, head: keras.Model | None, training: bool = False) -> Seen:
    """The head on what the encoder gave: regions, or regions and fine regions."""
    logits = None if head is None else head(outputs, training=training)
    regions, fine = outputs if isinstance(outputs, (list, tuple)) else (outputs, None)
    centers = None if head is None or fine is None else concept_centers(concept_shares(head, regions, fine))
    return Seen(regions, logits, centers, fine)


def pack(seen: Seen) -> tf.Tensor:
    """Regions, and logits and centers of concepts, as float [B, D], for a cache."""
    parts = [x for x in (seen.regions, seen.concept_logits, seen.concept_centers) if x is not None]
    rows = tf.shape(seen.regions)[0]
    return tf.concat([tf.reshape(tf.cast(part, seen.regions.dtype), [rows, -1]) for part in parts], 1)


def packed_size(encoder: keras.Model, head: keras.Model | None) -> int:
    """D, how many numbers `pack` keeps of an image."""
    return sum(math.prod(shape) for shape in _packed_shapes(encoder, head))


def unpack(packed: tf.Tensor, encoder: keras.Model, head: keras.Model | None) -> Seen:
    """What `pack` kept, float [B, D]."""
    shapes = _packed_shapes(encoder, head)
    parts = tf.split(tf.cast(packed, tf.float32), [math.prod(shape) for shape in shapes], 1)
    return Seen(*(tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes)))


def _packed_shapes(encoder: keras.Model, head: keras.Model | None) -> list[tuple[int, ...]]:
    """Of an image's regions, and of its concepts' logits and centers where there are some."""
    shapes: list[tuple[int, ...]] = [region_shape(encoder)]
    if head is not None:
        concepts = head.output_shape[-1]
        shapes += [(concepts,), (concepts, 2)] if len(encoder.outputs) > 1 else [(concepts,)]
    return shapes


def set_trainable(encoder: keras.Model, trainable: str, pyramid: bool = False) -> None:
    """`all` layers, the `last_stage` before the cut (all blocks of conv5, say), or `none`; the `pyramid` beside."""
    stage = cut_of(encoder).split("_")[0]
    for layer in encoder.layers:
        if layer.name.startswith("pyramid_"):
            layer.trainable = pyramid and trainable != "none"
        else:
            layer.trainable = trainable == "all" or (trainable == "last_stage" and layer.name.startswith(stage + "_"))


def load_weights(encoder: keras.Model, path: Path) -> None:
    """Fill the encoder from an .h5 in Keras' layout; layers after the cut may be missing in the file.

    Raises:
        InputError: no such file, not HDF5, or a layer that is missing or of another shape, by name.
    """
    if not path.is_file():
        raise InputError(f"visual.weights: no file {path}; give imagenet, none, the path of an .h5, or a run folder")
    try:
        saved = _saved_shapes(path)
    except (OSError, KeyError) as error:
        raise InputError(f"visual.weights: {path} is no HDF5 file of Keras weights ({error})") from error
    for layer in encoder.layers:
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if layer.name.startswith("pyramid_") and layer.name not in saved:
            continue  # learned here
        if wanted and saved.get(layer.name) != wanted:
            raise InputError(
                f"visual.weights: {path}: layer {layer.name} should hold weights of shapes {wanted}, found "
                f"{saved.get(layer.name, 'no such layer')}; it should be ResNet50 without its top in Keras' layout, "
                f"such as {_WEIGHTS_FILE}"
            )
    encoder.load_weights(str(path), by_name=True)


def check_pyramid(encoder: keras.Model, path: Path) -> None:
    """Raise InputError where an encoder's finer grid is not joined from the layers that a file holds weights of."""
    present = [layer.name for layer in encoder.layers if layer.weights]
    own, saved = (
        sorted(name for name in names if name.startswith("pyramid_") and not name.endswith("_bn"))
        for names in (present, [name for name, shapes in _saved_shapes(path).items() if shapes])
    )
    if own != saved:
        raise InputError(
            f"visual.weights: {path} joins its finer grid from {saved or 'nothing'}, these settings from "
            f"{own or 'nothing'}: its concept head would read other features; set visual.grid and visual.image_size as "
            "in that run, or visual.concept_epochs above 0"
        )


def _layer(network: keras.Model, name: str) -> keras.layers.Layer:
    try:
        layer = network.get_layer(name)
    except ValueError:
        blocks = ", ".join(layer.name for layer in network.layers if layer.name.endswith("block3_out"))
        raise InputError(f"visual.layer: ResNet50 has no layer {name!r}; there are {blocks}, ...") from None
    if len(layer.output_shape) != 4:
        raise InputError(f"visual.layer: {name!r} gives no grid of regions but {layer.output_shape}")
    return layer


def _with_precision(network: keras.Model, precision: str) -> keras.Model:
    """keras.applications takes no dtype, so its layers are built again with one."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        own = isinstance(layer, (keras.layers.InputLayer, ImageNetNormalization))
        settings = layer.get_config()
        return type(layer).from_config(settings if own else {**settings, "dtype": precision})

    return keras.models.clone_model(network, clone_function=clone)


def _follow_batches_faster(network: keras.Model, everywhere: bool) -> None:
    # Keras' momentum of 0.99 wants thousands of steps before the moving averages mean anything; training from random
    # weights on a few thousand images takes hundreds.
    for layer in network.layers:
        random = everywhere or layer.name.startswith("pyramid_")
        if random and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9


def _weights_file(config: VisualConfig) -> Path:
    if config.weights == "imagenet":
        return _imagenet_file()
    return Path(config.weights, "checkpoints/best/encoder.h5") if config.weights_of_run else Path(config.weights)


def _imagenet_file() -> Path:
    """Keras' download of the ImageNet weights, or the reason why not and the way around."""
    home = Path("~/.keras/models").expanduser()
    local = home / _WEIGHTS_FILE
    if local.is_file():
        return local
    try:
        return Path(
            keras.utils.get_file(
                _WEIGHTS_FILE,
                f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{_WEIGHTS_FILE}",
                cache_subdir="models",
                file_hash="4d473c1dd8becc155b73f8504c6f6626",
            )
        )
    except Exception as error:
        raise InputError(
            f"visual.weights=imagenet: the weights could not be downloaded ({error}). Fetch {_WEIGHTS_FILE} "
            f"elsewhere, put it into {home}/, or name its path: --set visual.weights=PATH. Without it: "
            "--set visual.weights=none visual.concept_epochs=12 trains from random weights."
        ) from error


def _saved_shapes(path: Path) -> dict[str, list[tuple[int, ...]]]:
    """Layer name -> its weights' shapes, as an .h5 in Keras' layout lists them."""
    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        return {
            name: [tuple(layer[str(_text(weight))].shape) for weight in layer.attrs["weight_names"]]
            for name, layer in group.items()
            if "weight_names" in layer.attrs
        }


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
