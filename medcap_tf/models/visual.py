"""ResNet50 as a reader of images: a grid of regions, named activations, and a head that names concepts.

Axes: B images, S pixels a side, h x w grid of regions, C channels, K concepts.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import tensorflow as tf

from medcap_tf.config import VisualConfig
from medcap_tf.errors import InputError
from medcap_tf.models.dropout import ResumableDropout

_WEIGHTS_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"


@keras.saving.register_keras_serializable("medcap_tf")
class ImageNetNormalization(keras.layers.Layer):
    """RGB float [B, S, S, 3] in 0..255 -> BGR, minus ImageNet's mean of each channel, as ResNet50's weights expect."""

    MEAN_BGR = (103.939, 116.779, 123.68)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """Reverse the channels and center them."""
        return tf.nn.bias_add(image[..., ::-1], tf.constant([-mean for mean in self.MEAN_BGR], image.dtype))


def build_visual_encoder(config: VisualConfig, with_weights: bool = True, precision: str = "float32") -> keras.Model:
    """ResNet50 (He et al. 2016) cut at `config.layer`.

    Args:
        config: what is built.
        with_weights: False leaves the weights random, for a model that will be given those of a run.
        precision: Keras' dtype policy of ResNet50's layers.

    Returns:
        A flat functional model: `image` float32 [B, S, S, 3], RGB in 0..255, -> regions [B, h, w, C] (float32 or the
        compute type of the precision policy). Its first layer is `normalization`. Any inner layer's output is had by
        `activations(encoder, names)`.

    Raises:
        InputError: weights that cannot be had or do not fit, or no such layer.
    """
    size = config.image_size
    image = keras.Input((size, size, 3), name="image")
    normalized = ImageNetNormalization(name="normalization", dtype="float32")(image)
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=normalized)
    encoder = keras.Model(network.inputs, _layer(network, config.layer).output, name="visual_encoder")
    if precision != "float32":
        encoder = _with_precision(encoder, precision)
    if config.weights == "none":
        _follow_batches_faster(encoder)
    elif with_weights:
        load_weights(encoder, _weights_file(config))
    return encoder


def activations(encoder: keras.Model, layers: list[str]) -> keras.Model:
    """`image` -> a dictionary of the named layers' outputs, each [B, h, w, C]; raises InputError on unknown names."""
    return keras.Model(encoder.inputs, {name: _layer(encoder, name).output for name in layers})


def build_concept_head(config: VisualConfig, region_shape: tuple[int, int, int], concepts: int) -> keras.Model:
    """Global average pooling and one dense layer: regions [B, h, w, C] -> `concept_logits` float32 [B, K]."""
    regions = keras.Input(region_shape, name="regions")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling", dtype="float32")(regions)
    pooled = ResumableDropout(config.concept_dropout, seed=11, name="concept_dropout", dtype="float32")(pooled)
    logits = keras.layers.Dense(concepts, name="concept_logits", dtype="float32")(pooled)
    return keras.Model(regions, logits, name="concept_head")


def concept_view(encoder: keras.Model, head: keras.Model) -> keras.Model:
    """The encoder and its head as one flat model, `image` -> `concepts` float32 [B, K] in 0..1.

    Flat, one input, one output: the form that tf-explain can take apart.
    """
    x = encoder.output
    for layer in head.layers[1:]:
        x = layer(x)
    return keras.Model(encoder.inputs, keras.layers.Activation("sigmoid", name="concepts", dtype="float32")(x))


def set_trainable(encoder: keras.Model, trainable: str) -> None:
    """`all` layers, the `last_stage` before the cut (all blocks of conv5, say), or `none`."""
    stage = encoder.layers[-1].name.split("_")[0]
    for layer in encoder.layers:
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
        if wanted and saved.get(layer.name) != wanted:
            raise InputError(
                f"visual.weights: {path}: layer {layer.name} should hold weights of shapes {wanted}, found "
                f"{saved.get(layer.name, 'no such layer')}; it should be ResNet50 without its top in Keras' layout, "
                f"such as {_WEIGHTS_FILE}"
            )
    encoder.load_weights(str(path), by_name=True)


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


def _follow_batches_faster(network: keras.Model) -> None:
    # Keras' momentum of 0.99 wants thousands of steps before the moving averages mean anything; training from random
    # weights on a few thousand images takes hundreds.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
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
