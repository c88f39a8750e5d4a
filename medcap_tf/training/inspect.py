"""tf-explain's callbacks, driven from the loop: what the encoder's layers hold and where its concepts come from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Callable

import cv2
import keras
import numpy as np

from medcap_tf.config import VisualConfig
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.models.concept_head import build_concept_head, concept_view
from medcap_tf.models.visual import build_visual_encoder, cut_of

_ACTIVATIONS = ("conv1_relu", "conv2_block3_out")


def tf_explain_callback(
    model: CaptioningModel, config: VisualConfig, pixels: np.ndarray, logs: Path, every: int, stage: str
) -> Callable[[int, dict[str, float]], None]:
    """What to call at the end of an epoch: `(epoch from 1, scores)`.

    Every `every` epochs, tf-explain's Grad-CAM (of each image's strongest concept) and activations of an early and
    a later layer go to TensorBoard, under `logs/tf_explain`, and to PNG files of the epoch's number.

    Args:
        model: the network; the encoder with its concept head is what tf-explain sees.
        config: what the encoder was built from.
        pixels: uint8 [n, S, S, 3].
        logs: the run's log folder.
        every: epochs between pictures.
        stage: what is being trained, for the files' names.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tf_explain.callbacks.activations_visualization import ActivationsVisualizationCallback
        from tf_explain.callbacks.grad_cam import GradCAMCallback
        from tf_explain.core.activations import ExtractActivations
        from tf_explain.core.grad_cam import GradCAM

    # A twin in float32, whatever precision trains: tf-explain's Grad-CAM fails under mixed precision.
    encoder, trained = build_visual_encoder(config, with_weights=False), model.head
    assert trained is not None  # the caller asks for pictures of concepts where the data has some
    head = build_concept_head(config, encoder, trained.output_shape[-1])
    view = concept_view(encoder, head)
    folder, data, layer = logs / "tf_explain", (pixels, None), cut_of(encoder)
    layers = [*_ACTIVATIONS, layer]
    grad_cam = GradCAMCallback(data, 0, layer, output_dir=folder / "grad_cam")
    activations = [ActivationsVisualizationCallback(data, [name], output_dir=folder / name) for name in layers]
    callbacks = keras.callbacks.CallbackList([grad_cam, *activations], add_history=False, add_progbar=False)
    callbacks.set_model(view)
    callbacks.on_train_begin()

    def at_epoch_end(epoch: int, scores: dict[str, float]) -> None:
        if epoch % every:
            return
        encoder.set_weights(model.encoder.get_weights())
        head.set_weights(trained.get_weights())
        grad_cam.class_index = int(np.argmax(view(pixels.astype(np.float32)).numpy().max(0)))
        callbacks.on_epoch_end(epoch, scores)
        pictures = {"grad_cam": GradCAM().explain(data, view, grad_cam.class_index, layer)}
        pictures.update({name: ExtractActivations().explain(data, view, [name]) for name in layers})
        for name, picture in pictures.items():
            if picture.ndim == 3:
                picture = picture[..., ::-1]  # OpenCV writes BGR
            else:
                picture = (255 * picture / max(picture.max(), 1e-9)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{stage}_epoch_{epoch:03d}_{name}.png"), picture)

    return at_epoch_end
