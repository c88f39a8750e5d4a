"""Reasons drawn as figures, readable by colour-blind people and in print.

Maps are drawn in cividis over the grey image: it runs from dark blue to yellow in even steps of lightness, also for
eyes that miss red or green (Nuñez et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from medcap_tf.explain.reasons import Reasons, WordReading, over_image
from medcap_tf.text import Normalizer

MAP_COLOURS = "cividis"
RED = "#C00000"
_PANEL = 1.9  # inches


def words_figure(reasons: Reasons, maps: np.ndarray, title: str, unit: str) -> Figure:
    """The image, then a panel a word with its map over it (the paper's figures 4 and 5).

    A panel is titled with the word as people write it, its stem beneath where that differs; red: the reference caption
    holds the word too.

    Args:
        reasons: of one captioned image.
        maps: float32 [n, h, w], each word's map, as `reasons.attention` or `reasons.grad_cam`.
        title: what the maps are.
        unit: what the colours mean, for the colour bar.
    """
    words, image = reasons.caption.words, reasons.image
    columns = min(6, len(words) + 1)
    rows = math.ceil((len(words) + 1) / columns)
    height = _PANEL * min(1.6, max(0.6, image.shape[0] / image.shape[1]))
    figure = Figure(figsize=(_PANEL * columns + 0.9, (height + 0.45) * rows + 1.0), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    panels[0].imshow(image)
    panels[0].set_title("image", fontsize=9)
    known = set(Normalizer().stems(reasons.reference))
    top = max(float(maps.max()), 1e-9) * maps.shape[1] * maps.shape[2]
    shown = None
    for panel, word, stem, grid in zip(panels[1:], words, reasons.caption.stems, maps):
        shown = overlay(panel, image, grid * grid.size, top)
        name = word if stem == word else f"{word}\n({stem})"
        panel.set_title(name, fontsize=9, color=RED if set(Normalizer().stems(word)) & known else "black")
    if shown is not None:
        figure.colorbar(shown, ax=list(panels), shrink=0.8, label=unit)
    lines = [f"{title}: {reasons.caption.text or '(the model wrote nothing)'}"]
    if reasons.reference:
        lines.append(f"reference: {reasons.reference}")
    figure.suptitle("\n".join(_wrap(line, 17 * columns) for line in lines), fontsize=10)
    return figure


def overlay(panel: Any, image: np.ndarray, grid: np.ndarray, top: float) -> Any:
    """Draw a map of regions [h, w], 0..`top`, over the grey image; what the map leaves at 0 stays grey."""
    heat = over_image(grid, image.shape[:2])
    panel.imshow(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cmap="gray", vmin=0, vmax=255)
    strength = np.clip(heat / top, 0, 1)
    return panel.imshow(heat, cmap=MAP_COLOURS, vmin=0, vmax=top, alpha=0.15 + 0.6 * strength)


def strip_figure(readings: Sequence[tuple[str, WordReading]]) -> Figure:
    """Captions as strips of words, darker is heavier (the paper's figure 3), and beneath each strip what every word
    gives to each predicted concept: purple for, orange against.

    Args:
        readings: a title with each reading, such as ("generated", reading).
    """
    heights = [1.2 + 0.5 * len(reading.concepts) for _, reading in readings]
    longest = max(len(reading.words) for _, reading in readings)
    figure = Figure(figsize=(2.6 + 0.95 * longest, sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(readings), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, reading) in zip(panels, readings):
        _draw_strip(figure, panel, title, reading)
    return figure


def _draw_strip(figure: Figure, panel: Any, title: str, reading: WordReading) -> None:
    words, rows = len(reading.words), len(reading.concepts) + 1
    top = max(float(reading.importance.max()), 1e-9)
    bound = max(float(np.abs(reading.contributions).max(initial=0)), 1e-9)
    # The darkest word stays light enough for black letters.
    panel.imshow(
        reading.importance[None] / top,
        cmap="Greys",
        vmin=0,
        vmax=1.8,
        extent=(-0.5, words - 0.5, 0.5, -0.5),
        aspect="auto",
    )
    if rows > 1:
        given = panel.imshow(
            reading.contributions, cmap="PuOr", vmin=-bound, vmax=bound,
            extent=(-0.5, words - 0.5, rows - 0.5, 0.5), aspect="auto",
        )  # fmt: skip
        figure.colorbar(given, ax=panel, label="logits given", shrink=0.8)
    for x, (word, weight) in enumerate(zip(reading.words, reading.importance)):
        panel.text(x, 0, f"{word}\n{weight:.2f}", ha="center", va="center", fontsize=8)
    names = [f"{code}  {score:.2f}" for code, score in reading.concepts]
    panel.set_xlim(-0.5, words - 0.5)
    panel.set_ylim(rows - 0.5, -0.5)
    panel.set_yticks(range(rows), ["attention", *names], fontsize=8)
    panel.set_xticks([])
    panel.set_title(title, fontsize=10, loc="left")


def layer_figure(name: str, maps: np.ndarray, shown: int = 16) -> Figure:
    """The strongest channels of a layer in a grid, strongest first (the paper's figure 2).

    Args:
        name: the layer's name.
        maps: float32 [h, w, C].
        shown: how many channels.
    """
    strength = np.abs(maps).mean((0, 1))
    chosen = np.argsort(-strength)[:shown]
    columns = 8
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(1.2 * columns + 0.8, 1.35 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    top, low = float(maps[..., chosen].max()), float(maps[..., chosen].min())
    picture = None
    for panel in panels:
        panel.set_axis_off()
    for panel, channel in zip(panels, chosen):
        picture = panel.imshow(maps[..., channel], cmap=MAP_COLOURS, vmin=low, vmax=top)
        panel.set_title(f"{channel}", fontsize=7)
    figure.colorbar(picture, ax=list(panels), label="activation")
    height, width, channels = maps.shape
    active = active_share(maps)
    figure.suptitle(
        f"{name}: {height} x {width} x {channels}; {active:.0%} of the channels active; the {len(chosen)} strongest",
        fontsize=10,
    )
    return figure


def active_share(maps: np.ndarray) -> float:
    """The share of channels of [h, w, C] that are above 0 anywhere."""
    return float((maps > 0).any((0, 1)).mean())


def save(figure: Figure, path: Path, dpi: int, pdf: bool = False) -> None:
    """Write a PNG, and a PDF of the same name where asked for."""
    figure.savefig(path, dpi=dpi)
    if pdf:
        figure.savefig(path.with_suffix(".pdf"))


def _wrap(text: str, width: int) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
