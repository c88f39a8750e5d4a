"""tf-explain's methods on the visual concept view: which pixels spoke for a concept, as other tools show it.

Axes: S pixels a side of the square that the encoder sees.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from medcap_tf.captioner import RunCaptioner
from medcap_tf.errors import InputError
from medcap_tf.models.concept_head import concept_view
from medcap_tf.models.visual import cut_of

METHODS = (
    "grad_cam",
    "occlusion_sensitivity",
    "integrated_gradients",
    "smoothgrad",
    "vanilla_gradients",
    "gradients_inputs",
    "activations",
)


class ConceptMethods:
    """tf-explain's methods on a run's encoder and concept head."""

    def __init__(self, captioner: RunCaptioner, methods: Sequence[str]):
        """Build the view that tf-explain takes apart.

        Args:
            captioner: a loaded run.
            methods: among `METHODS`.

        Raises:
            InputError: the run has trained no concept head.
        """
        if "image" not in captioner.thresholds:
            raise InputError("this run has no trained concept head: train with visual.concept_epochs above 0")
        self._codes, self._names, self._methods = captioner.concepts, captioner.concept_names, methods
        self._layer = cut_of(captioner.model.encoder)
        self._view = concept_view(captioner.model.encoder, captioner.model.head)
        # tf-explain takes gradients small beside 1 / S for none: these are of a pixel's whole range, not 1/255 of it.
        self._steep = keras.Model(self._view.inputs, keras.layers.Rescaling(255.0)(self._view.output))

    def draw(self, pixels: np.ndarray, concepts: Sequence[tuple[str, float]]) -> dict[str, dict[str, np.ndarray]]:
        """What tf-explain draws for some concepts of one image.

        Args:
            pixels: uint8 [S, S, 3]. Square by construction, which tf-explain's occlusion needs.
            concepts: codes and scores.

        Returns:
            By title (name and score) and method, uint8 [S, S, 3] (activations: a grid of the layer's channels, of
            another size).
        """
        with _quiet_and_eager():
            return {
                f"{self._names.get(code, code)}  {score:.2f}": self._draw(pixels, self._codes.index(code))
                for code, score in concepts
            }

    def _draw(self, pixels: np.ndarray, concept: int) -> dict[str, np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tf_explain.core.activations import ExtractActivations
            from tf_explain.core.grad_cam import GradCAM
            from tf_explain.core.gradients_inputs import GradientsInputs
            from tf_explain.core.integrated_gradients import IntegratedGradients
            from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
            from tf_explain.core.smoothgrad import SmoothGrad
            from tf_explain.core.vanilla_gradients import VanillaGradients

        view, steep, layer = self._view, self._steep, self._layer
        shown, exact = (pixels[None], None), (pixels[None].astype(np.float32), None)
        draw = {
            "grad_cam": lambda: GradCAM().explain(shown, view, concept, layer),
            "occlusion_sensitivity": lambda: OcclusionSensitivity().explain(shown, view, concept, pixels.shape[0] // 8),
            "integrated_gradients": lambda: IntegratedGradients().explain(exact, steep, concept, n_steps=20),
            # tf-explain's noise is in the unit of the pixels: a tenth of their range, as the method's authors advise.
            "smoothgrad": lambda: SmoothGrad().explain(exact, steep, concept, num_samples=10, noise=25.5),
            "vanilla_gradients": lambda: VanillaGradients().explain(exact, view, concept),
            "gradients_inputs": lambda: GradientsInputs().explain(exact, view, concept),
            "activations": lambda: ExtractActivations().explain(shown, view, [layer]),
        }
        return {name: _colors(draw[name]()) for name in self._methods}


@contextlib.contextmanager
def _quiet_and_eager() -> Iterator[None]:
    """tf-explain traces a new graph of the whole network for every call, which costs many times the call itself; it
    prints Keras' progress bar; and a map of one value, as an image of one color gives, makes it divide by zero."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        tf.config.run_functions_eagerly(before)


def _colors(picture: Any) -> np.ndarray:
    values = np.asarray(picture)
    if values.ndim == 3:
        return values.astype(np.uint8)
    scaled = np.nan_to_num(values - values.min()) / max(float(np.ptp(values)), 1e-9)
    return np.repeat((255 * scaled).astype(np.uint8)[..., None], 3, axis=-1)


def methods_figure(concepts: dict[str, dict[str, np.ndarray]], shape: Sequence[int], dpi: int) -> Figure:
    """A row a concept, a column a method, at the original image's aspect ratio.

    Args:
        concepts: of `ConceptMethods.draw`.
        shape: H, W of the original image.
        dpi: pixels an inch.
    """
    columns = list(next(iter(concepts.values())))
    height = 1.9 * min(2.5, max(0.4, shape[0] / shape[1]))
    size = (2.0 * len(columns) + 0.6, (height + 0.3) * len(concepts) + 0.4)
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    panels = figure.subplots(len(concepts), len(columns), squeeze=False)
    for row, (title, pictures) in zip(panels, concepts.items()):
        row[0].set_ylabel(textwrap.fill(title, int(16 * height)), fontsize=8)
        for panel, (name, picture) in zip(row, pictures.items()):
            # The encoder saw the image squashed to a square; a grid of channels is not a picture of it.
            stretched = picture if name == "activations" else cv2.resize(picture, (shape[1], shape[0]))
            panel.imshow(stretched)
            panel.set_xticks([])
            panel.set_yticks([])
    for panel, name in zip(panels[0], columns):
        panel.set_title(name.replace("_", " "), fontsize=9)
    return figure
