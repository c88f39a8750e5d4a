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
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
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
    words, image = reasons.caption.words, _for_panel(reasons.image)
    columns = min(6, len(words) + 1)
    rows = math.ceil((len(words) + 1) / columns)
    lines = [f"{title}: {reasons.caption.text or '(the model wrote nothing)'}"]
    if reasons.reference:
        lines.append(f"reference: {reasons.reference}")
    heading = "\n".join(_wrap(line, 17 * columns) for line in lines)
    ratio = min(1.6, max(0.6, image.shape[0] / image.shape[1]))
    grid = _Grid(rows, columns, (_PANEL, _PANEL * ratio), gap=(0.08, 0.42), top=0.55 + 0.17 * (heading.count("\n") + 1))
    grid.show(0, image)
    grid.title(0, "image", 9)
    top = max(float(maps.max()), 1e-9) * maps.shape[1] * maps.shape[2]
    shared = shared_words(words, reasons.reference)
    for place, (word, stem, known, regions) in enumerate(zip(words, reasons.caption.stems, shared, maps), start=1):
        grid.show(place, overlay(image, regions * regions.size, top))
        grid.title(place, word if stem == word else f"{word}\n({stem})", 9, RED if known else "black")
    grid.finish(ScalarMappable(Normalize(0, top), MAP_COLOURS), unit, heading)
    return grid.figure


class _Grid:
    """Panels at computed places on one pair of axes, whose unit is the inch: a layout to solve, or axes for each panel,
    would cost several times what drawing costs."""

    def __init__(self, rows: int, columns: int, panel: tuple[float, float], gap: tuple[float, float], top: float):
        self.columns, self.panel, self.gap, self.top = columns, panel, gap, top
        self.width = columns * (panel[0] + gap[0]) + 0.9
        self.height = rows * (panel[1] + gap[1]) - gap[1] + top + 0.1
        self.figure = Figure(figsize=(self.width, self.height))
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(0, self.height))
        self.axes.set_axis_off()
        self.axes.set_autoscale_on(False)

    def show(self, place: int, picture: np.ndarray, **options: Any) -> Any:
        """A picture on a panel, counted row by row; `options` as of `imshow`."""
        left, bottom = self._corner(place)
        extent = (left, left + self.panel[0], bottom, bottom + self.panel[1])
        return self.axes.imshow(picture, extent=extent, aspect="auto", **options)

    def title(self, place: int, text: str, size: float, colour: str = "black") -> None:
        """A title over a panel."""
        left, bottom = self._corner(place)
        middle, above = left + self.panel[0] / 2, bottom + self.panel[1] + 0.04
        self.axes.text(middle, above, text, ha="center", va="bottom", fontsize=size, color=colour)

    def _corner(self, place: int) -> tuple[float, float]:
        row, column = divmod(place, self.columns)
        (wide, high), (across, down) = self.panel, self.gap
        return 0.05 + column * (wide + across), self.height - self.top - (row + 1) * high - row * down

    def finish(self, shown: Any, unit: str, heading: str) -> None:
        """The heading, and a colour bar of what is `shown` to the right of all panels."""
        left, high = self.columns * (self.panel[0] + self.gap[0]) + 0.1, self.height - self.top - 0.1
        place = (left / self.width, (0.1 + 0.1 * high) / self.height, 0.14 / self.width, 0.8 * high / self.height)
        bar = self.figure.add_axes(place)
        self.figure.colorbar(shown, cax=bar).set_label(unit, fontsize=8)
        bar.tick_params(labelsize=8)
        self.figure.text(0.5, 1 - 0.08 / self.height, heading, ha="center", va="top", fontsize=10)


def overlay(image: np.ndarray, regions: np.ndarray, top: float) -> np.ndarray:
    """A map of regions [h, w], 0..`top`, over the grey image: uint8 [H, W, 3]; what the map leaves at 0 stays nearly
    grey."""
    level = np.clip(over_image(regions, image.shape[:2]) / top, 0, 1)
    colours = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), MAP_COLOURS_OPENCV)[..., ::-1]
    strength = (0.15 + 0.6 * level)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint(grey + strength * (colours.astype(np.float32) - grey)).astype(np.uint8)


def _for_panel(image: np.ndarray) -> np.ndarray:
    """The image with no more pixels than a panel has in print, so that a large one costs no more than a small one."""
    scale = min(1.0, _PANEL * 300 / max(image.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


def strip_figure(readings: Sequence[tuple[str, WordReading]]) -> Figure:
    """Captions as strips of words, darker is heavier (the paper's figure 3), and beneath each strip what every word
    gives to each predicted concept: purple for, orange against.

    Args:
        readings: a title with each reading, such as ("generated", reading).
    """
    heights = [1.2 + 0.5 * len(reading.concepts) for _, reading in readings]
    longest = max(len(reading.words) for _, reading in readings)
    width, height = 2.6 + 0.95 * longest, sum(heights) + 0.1
    figure = Figure(figsize=(width, height))
    bottoms = height - np.cumsum(heights)
    panels = [
        figure.add_axes((1.35 / width, bottom / height, 0.95 * longest / width, (high - 0.35) / height))
        for bottom, high in zip(bottoms, heights)
    ]
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
        box = panel.get_position()
        bar = figure.add_axes((box.x1 + 0.15 / figure.get_figwidth(), box.y0, 0.14 / figure.get_figwidth(), box.height))
        figure.colorbar(given, cax=bar, label="logits given")
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
    for place, channel in enumerate(chosen):
        picture = grid.show(place, maps[..., channel], cmap=MAP_COLOURS, vmin=low, vmax=top, interpolation="nearest")
        grid.title(place, f"{channel}", 7)
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
    figure.savefig(path, dpi=dpi, pil_kwargs={"compress_level": 3})
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
