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

from medcap_tf.explain.reasons import Reasons, WordReading, over_image, shared_words

MAP_COLOURS = "cividis"
MAP_COLOURS_OPENCV = cv2.COLORMAP_CIVIDIS
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
    lines = [f"{title}: {reasons.caption.text or '(the model wrote nothing)'}"]
    if reasons.reference:
        lines.append(f"reference: {reasons.reference}")
    heading = "\n".join(_wrap(line, 17 * columns) for line in lines)
    ratio = min(1.6, max(0.6, image.shape[0] / image.shape[1]))
    grid = _Grid(rows, columns, (_PANEL, _PANEL * ratio), gap=(0.08, 0.42), top=0.55 + 0.17 * (heading.count("\n") + 1))
    first, *panels = grid.panels(len(words) + 1)
    first.imshow(image)
    first.set_title("image", fontsize=9)
    top = max(float(maps.max()), 1e-9) * maps.shape[1] * maps.shape[2]
    shared = shared_words(words, reasons.reference)
    shown = None
    for panel, word, stem, known, regions in zip(panels, words, reasons.caption.stems, shared, maps):
        shown = overlay(panel, image, regions * regions.size, top)
        name = word if stem == word else f"{word}\n({stem})"
        panel.set_title(name, fontsize=9, color=RED if known else "black")
    grid.finish(shown, unit, heading)
    return grid.figure


class _Grid:
    """Panels at computed places: solving for a layout costs more time than drawing. Lengths are inches."""

    def __init__(self, rows: int, columns: int, panel: tuple[float, float], gap: tuple[float, float], top: float):
        self.columns, self.panel, self.gap, self.top = columns, panel, gap, top
        self.width = columns * (panel[0] + gap[0]) + 0.9
        self.height = rows * (panel[1] + gap[1]) - gap[1] + top + 0.1
        self.figure = Figure(figsize=(self.width, self.height))

    def panels(self, count: int) -> list[Any]:
        """The first `count` panels, row by row, without axes."""
        (wide, high), (across, down) = self.panel, self.gap
        found = []
        for place in range(count):
            row, column = divmod(place, self.columns)
            left, bottom = 0.05 + column * (wide + across), self.height - self.top - (row + 1) * high - row * down
            found.append(self.figure.add_axes(self._share(left, bottom, wide, high)))
            found[-1].set_axis_off()
        return found

    def finish(self, shown: Any, unit: str, heading: str) -> None:
        """The heading, and a colour bar to the right of all panels where something is `shown`."""
        if shown is not None:
            left, high = self.columns * (self.panel[0] + self.gap[0]) + 0.1, self.height - self.top - 0.1
            bar = self._share(left, 0.1 + 0.1 * high, 0.14, 0.8 * high)
            self.figure.colorbar(shown, cax=self.figure.add_axes(bar)).set_label(unit, fontsize=8)
            self.figure.axes[-1].tick_params(labelsize=8)
        self.figure.text(0.5, 1 - 0.08 / self.height, heading, ha="center", va="top", fontsize=10)

    def _share(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.width, bottom / self.height, width / self.width, height / self.height


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
    chosen = strongest(maps, shown)
    rows = math.ceil(len(chosen) / 8)
    side = (1.15, 1.15 * maps.shape[0] / maps.shape[1])
    grid = _Grid(rows, 8, side, gap=(0.06, 0.22), top=0.6)
    top, low = float(maps[..., chosen].max()), float(maps[..., chosen].min())
    picture = None
    for panel, channel in zip(grid.panels(len(chosen)), chosen):
        picture = panel.imshow(maps[..., channel], cmap=MAP_COLOURS, vmin=low, vmax=top)
        panel.set_title(f"{channel}", fontsize=7, pad=2)
    height, width, channels = maps.shape
    size = f"{name}: {height} x {width} x {channels}; {active_share(maps):.0%} of the channels active"
    grid.finish(picture, "activation", f"{size}; the {len(chosen)} strongest")
    return grid.figure


def strongest(maps: np.ndarray, count: int) -> np.ndarray:
    """The channels of [h, w, C] with the highest mean absolute activation, strongest first: int64 [count or C]."""
    return np.argsort(-np.abs(maps).mean((0, 1)))[:count]


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
