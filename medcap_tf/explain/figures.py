"""Explanation drawn as figures, readable by color-blind people and in print.

Maps are drawn in cividis over the gray image: it runs from dark blue to yellow in even steps of lightness, also for
eyes that miss red or green (Nuñez et al. 2018).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from medcap_tf.explain.explanation import Explanation, WordReading, shared_words
from medcap_tf.explain.grid import over_image
from medcap_tf.explain.plate import Plate, colors
from medcap_tf.explain.regions import Region, find_regions

MAP_COLORS = "cividis"
WORD_MAPS = {  # of `Explanation.word_maps`: what each kind is, and the unit of its colors
    "evidence": ("what the image gave each word", "evidence"),
    "attention": ("where it looked", "attention"),
    "grad_cam": ("what spoke for each word", "Grad-CAM"),
}
RED, _QUIET = "#C00000", "#555555"
_PANEL = 1.9  # inches
_NAMES, _CELL, _ROW, _HEAD = 1.95, 0.95, 0.4, 0.48  # inches, of a strip: its margin of names, a word, a row, its top
LEAST_PEAK = 4  # of a map, in shares of an even spread: lower ones are drawn as faint as they are
_TRUST = (
    "The concepts' rows are what each word gives to a concept's logit: exactly, where the classifier is a sum over "
    "words (semantic.output=sum), else gradient x embedding. The gray row is each word's share of what speaks for all "
    "concepts; of a deep classifier its attention, which need not be what decided. The number beside a concept is its "
    "score by these words alone."
)


def words_figure(explanation: Explanation, maps: np.ndarray, title: str, unit: str, dpi: int) -> Figure:
    """The image, then a panel a word with its map over it (the paper's figures 4 and 5).

    A panel is titled with the word as people write it, its stem beneath where that differs, and its map's peak in
    shares of an even spread; red: the reference caption holds the word too. A box outlines each region of its map.

    Args:
        explanation: of one captioned image.
        maps: float32 [n, h, w], each word's map, as `explanation.attention` or `explanation.grad_cam`.
        title: what the maps are.
        unit: what is in the maps, for the color bar.
        dpi: pixels an inch.
    """
    words, stems = explanation.caption.words, explanation.caption.stems
    columns = min(6, len(words) + 1)
    said = explanation.caption.text or explanation.caption.abstained or "(the model generated no words)"
    lines = [f"{title}: {said}"]
    if explanation.reference:
        lines.append(f"reference: {explanation.reference}")
    heading = "\n".join(textwrap.fill(line, 17 * columns) for line in lines)
    height, width = explanation.image.shape[:2]
    panel = (_PANEL, _PANEL * min(1.6, max(0.6, height / width)))
    top = 0.55 + 0.17 * (heading.count("\n") + 1)
    grid = _Grid(len(words) + 1, columns, panel, gap=(0.08, 0.42), top=top, dpi=dpi)
    image = grid.plate.fit(explanation.image, *panel)
    grid.show(0, image, "image", 9)
    shared = shared_words(words, explanation.reference)
    for place, (word, stem, known, regions) in enumerate(zip(words, stems, shared, maps), start=1):
        name = word if stem == word.lower() else f"{word}\n({stem})"
        picture = outlined(overlay(image, regions), find_regions(regions))
        grid.show(place, picture, f"{name}  ×{regions.max() * regions.size:.1f}", 9, RED if known else "black")
    return grid.finish((0, 1), f"{unit}, 1: the word's peak (×: even spread)", heading)


class _Grid:
    """Panels of one size, counted row by row, under a heading and beside a color bar; all lengths in inches."""

    def __init__(
        self, count: int, columns: int, panel: tuple[float, float], gap: tuple[float, float], top: float, dpi: int
    ):
        self.columns, self.panel, self.gap, self.top = columns, panel, gap, top
        self.height = math.ceil(count / columns) * (panel[1] + gap[1]) - gap[1] + top + 0.1
        self.plate = Plate(columns * (panel[0] + gap[0]) + 0.9, self.height, dpi)

    def show(self, place: int, picture: np.ndarray, title: str, size: float, color: str = "black") -> None:
        """A picture, uint8 [H, W, 3], on a panel, with its title over it."""
        row, column = divmod(place, self.columns)
        (wide, high), (across, down) = self.panel, self.gap
        left, top = 0.05 + column * (wide + across), self.top + row * (high + down)
        self.plate.show(picture, left, top)
        self.plate.write(title, left + wide / 2, top - 0.04, size, "center", "bottom", color=color)

    def finish(self, span: tuple[float, float], unit: str, heading: str) -> Figure:
        """The heading, and a color bar of `span` to the right of all panels."""
        left, high = self.columns * (self.panel[0] + self.gap[0]) + 0.1, self.height - self.top - 0.1
        self.plate.bar(left, self.top + 0.1 * high, 0.8 * high, MAP_COLORS, span, unit)
        self.plate.write(heading, self.plate.width / 2, 0.08, 10, "center", "top")
        return self.plate.figure()


def overlay(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """A map of regions [h, w] over the gray image: uint8 [H, W, 3]; what the map leaves at 0 stays nearly gray.

    Colors end at the map's own peak: words' maps are shares, and one to which the image gave next to nothing may have
    the sharpest. Only a map that is nearly flat stays faint.
    """
    top = max(float(regions.max()), LEAST_PEAK / regions.size)
    level = np.clip(over_image(regions, image.shape[:2]) / top, 0, 1)
    colored = colors(level, MAP_COLORS)
    strength = (0.15 + 0.6 * level)[..., None]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint(gray + strength * (colored.astype(np.float32) - gray)).astype(np.uint8)


def outlined(picture: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """A picture, uint8 [H, W, 3], with the boxes of regions: white lines on black ones, seen on any ground."""
    height, width = picture.shape[:2]
    thick = max(1, round(max(height, width) / 200))
    picture = picture.copy()  # the boxes are drawn into it
    for region in regions:
        left, top, right, bottom = (
            min(round(end * side), side - 1) for end, side in zip(region.box, (width, height, width, height))
        )
        for line, color in ((3 * thick, 0), (thick, 255)):
            cv2.rectangle(picture, (left, top), (right, bottom), (color,) * 3, line)
    return picture


def strip_figure(
    readings: Sequence[tuple[str, WordReading]], dpi: int, concept_names: Mapping[str, str] | None = None
) -> Figure:
    """Captions as strips of words: what every word gives to each predicted concept, purple for, orange against, and
    beneath it, in gray, how heavy the classifier's attention made the word (the paper's figure 3).

    Args:
        readings: a title with each reading, such as ("generated", reading).
        dpi: pixels an inch.
        concept_names: what to call the concepts' codes, where known.
    """
    longest = max(len(reading.words) for _, reading in readings)
    width = _NAMES + _CELL * longest + 0.9
    note = textwrap.fill(_TRUST, int(width / 0.072))
    heights = [_HEAD + _ROW * (len(reading.concepts) + 1) + 0.15 for _, reading in readings]
    below = 0.15 * (note.count("\n") + 1)
    plate = Plate(width, sum(heights) + below + 0.15, dpi)
    top = 0.05
    for (title, reading), height in zip(readings, heights):
        _draw_strip(plate, top, title, reading, concept_names or {})
        top += height
    plate.write(note, 0.1, plate.height - 0.08, 8, "left", "bottom", color=_QUIET)
    return plate.figure()


def _draw_strip(plate: Plate, top: float, title: str, reading: WordReading, concept_names: Mapping[str, str]) -> None:
    names = [f"{concept_names.get(code, code)}  {score:.2f}" for code, score in reading.concepts]
    bound = max(float(np.abs(reading.contributions).max(initial=0)), 1e-9)
    # The darkest word stays light enough for black letters.
    weights = reading.importance / (1.8 * max(float(reading.importance.max()), 1e-9))
    cells = [colors((reading.contributions / bound + 1) / 2, "PuOr"), colors(weights[None], "Greys")]
    plate.write(title, _NAMES, top + 0.12, 10, "left", "center")
    top += _HEAD
    size = (_CELL * len(reading.words), _ROW * (len(names) + 1))
    plate.show(plate.fit(np.concatenate(cells), *size, growth=cv2.INTER_NEAREST), _NAMES, top)
    for row, name in enumerate([*names, "share"]):
        lines = "\n".join(textwrap.wrap(name, 26, max_lines=3, placeholder="…"))
        plate.write(lines, _NAMES - 0.08, top + _ROW * (row + 0.5), 8, "right", "center")
    for column, (word, weight) in enumerate(zip(reading.words, reading.importance)):
        middle = _NAMES + _CELL * (column + 0.5)
        plate.write(word, middle, top - 0.06, 8, "center", "bottom")
        plate.write(f"{weight:.2f}", middle, top + size[1] - _ROW / 2, 8, "center", "center")
    if names:
        plate.bar(_NAMES + size[0] + 0.12, top, size[1], "PuOr", (-bound, bound), "logits given")


def layer_figure(name: str, maps: np.ndarray, dpi: int, shown: int = 16) -> Figure:
    """The strongest channels of a layer in a grid, strongest first (the paper's figure 2).

    Args:
        name: the layer's name.
        maps: float32 [h, w, C].
        dpi: pixels an inch.
        shown: how many channels.
    """
    height, width, channels = maps.shape
    best = strongest(maps, shown)
    panel = (1.15, 1.15 * height / width)
    grid = _Grid(len(best), 8, panel, gap=(0.06, 0.22), top=0.6, dpi=dpi)
    low, top = float(maps[..., best].min()), float(maps[..., best].max())
    levels = (maps[..., best] - low) / max(top - low, 1e-9)
    for place, channel in enumerate(best):
        picture = colors(levels[..., place], MAP_COLORS)
        grid.show(place, grid.plate.fit(picture, *panel, growth=cv2.INTER_NEAREST), f"{channel}", 7)
    size = f"{name}: {height} x {width} x {channels}; {active_share(maps):.0%} of the channels active"
    return grid.finish((low, top), "activation", f"{size}; the {len(best)} strongest")


def strongest(maps: np.ndarray, count: int) -> np.ndarray:
    """The channels of [h, w, C] with the highest mean absolute activation, strongest first: int64 [count or C]."""
    return np.argsort(-np.abs(maps).mean((0, 1)))[:count]


def active_share(maps: np.ndarray) -> float:
    """The share of channels of [h, w, C] that are above 0 anywhere."""
    return float((maps > 0).any((0, 1)).mean())
