"""The files that `explain` leaves for each image: figures, and the numbers they were drawn from."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np

from medcap_tf.explain.figures import layer_figure, save, strip_figure, words_figure
from medcap_tf.explain.methods import methods_figure
from medcap_tf.explain.reasons import Reasons


def write_pictures(reasons: Reasons, folder: Path, dpi: int = 110, pdf: bool = False) -> list[Path]:
    """Draw one image's reasons.

    Args:
        reasons: what to draw; an image with an error, or a caption without words, has fewer files.
        folder: where to; it exists.
        dpi: pixels an inch: 110 for a screen, 300 for print.
        pdf: a PDF of each figure too.

    Returns:
        The files: `NAME.attention.png`, `NAME.grad_cam.png`, `NAME.words.png`, `NAME.layer.LAYER.png`,
        `NAME.methods.png`, and `NAME.maps.npz` (attention and grad_cam, float32 [n, h, w]) and `NAME.attention.csv`
        (regions x words).
    """
    if reasons.caption.error:
        return []
    name, figures = file_name(reasons.caption.path), {}
    if reasons.caption.words:
        unit = "attention, in shares of an even spread"
        figures["attention"] = words_figure(reasons, reasons.attention, "where it looked", unit)
        unit = "Grad-CAM, in shares of an even spread"
        figures["grad_cam"] = words_figure(reasons, reasons.grad_cam, "what spoke for each word", unit)
    readings = [("generated", reasons.reading), ("reference", reasons.reference_reading)]
    if any(reading for _, reading in readings):
        figures["words"] = strip_figure([(title, reading) for title, reading in readings if reading])
    for layer, maps in reasons.layers.items():
        figures[f"layer.{layer}"] = layer_figure(layer, maps)
    if reasons.methods:
        figures["methods"] = methods_figure(reasons.methods, reasons.image.shape[:2])
    written = []
    for kind, figure in figures.items():
        written.append(folder / f"{name}.{kind}.png")
        save(figure, written[-1], dpi, pdf)
    return [*written, *_write_numbers(reasons, folder, name)]


def file_name(path: Path) -> str:
    """The image's name without suffix, and a few digits of its path's hash: two folders may hold the same name."""
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"


def _write_numbers(reasons: Reasons, folder: Path, name: str) -> list[Path]:
    if not reasons.caption.words:
        return []
    arrays, table = folder / f"{name}.maps.npz", folder / f"{name}.attention.csv"
    np.savez_compressed(
        arrays, words=np.array(reasons.caption.words), attention=reasons.attention, grad_cam=reasons.grad_cam
    )
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "column", *reasons.caption.words])
        for (row, column), weights in zip(
            np.ndindex(reasons.attention.shape[1:]), reasons.attention.reshape(len(reasons.attention), -1).T
        ):
            writer.writerow([row, column, *(f"{weight:.6f}" for weight in weights)])
    return [arrays, table]
