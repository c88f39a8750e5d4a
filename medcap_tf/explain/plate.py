"""A figure whose pictures are pasted as pixels, so that matplotlib draws one image and the words.

Axes, ticks and images of matplotlib's own would cost several times what all the rest of a figure does. All lengths are
inches, from the left and from the top.
"""

from __future__ import annotations

import io
import textwrap
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable

import cv2
import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from medcap_tf.files import whole_file

PRINT_DPI = 300
_BAR = 0.14  # a color bar's width
_LETTER = 0.07  # a letter's width at 8 points


class Plate:
    """An empty page; `figure()` ends the drawing."""

    def __init__(self, width: float, height: float, dpi: int):
        self.width, self.height, self.dpi = width, height, dpi
        self._figure = _NotebookFigure(figsize=(width, height), dpi=dpi)
        wide, high = (int(side) for side in self._figure.bbox.size)
        self._pixels = np.full((high, wide, 3), 255, np.uint8)

    def fit(self, picture: np.ndarray, width: float, height: float, growth: int = cv2.INTER_CUBIC) -> np.ndarray:
        """A picture, uint8 [H, W, 3], at the pixels of a place of this size; `growth` is OpenCV's interpolation where
        neither side shrinks."""
        wide, high = self._length(width), self._length(height)
        shrinks = picture.shape[0] > high or picture.shape[1] > wide
        return cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA if shrinks else growth)

    def show(self, picture: np.ndarray, left: float, top: float) -> None:
        """Paste uint8 [H, W, 3], pixel by pixel."""
        row, column = round(top * self.dpi), round(left * self.dpi)
        place = self._pixels[row : row + picture.shape[0], column : column + picture.shape[1]]
        place[:] = picture[: place.shape[0], : place.shape[1]]

    def write(self, text: str, left: float, top: float, size: float, across: str, down: str, **options: Any) -> None:
        """Words, `size` in points, aligned as matplotlib's `ha` and `va` say; `options` as of its `text`."""
        place = (left / self.width, 1 - top / self.height)
        # A family by its name spares a look-up of the generic one for every text.
        options = {"fontfamily": "DejaVu Sans", **options}
        self._figure.text(*place, text, fontsize=size, ha=across, va=down, **options)

    def bar(self, left: float, top: float, height: float, map_name: str, span: tuple[float, float], unit: str) -> None:
        """A color bar of values from `span[0]` below to `span[1]` above, with ticks, and what they mean."""
        level = np.linspace(1, 0, self._length(height))[:, None]
        strip = np.repeat(colors(level, map_name), self._length(_BAR), axis=1)
        strip[[0, -1]] = 0
        strip[:, [0, -1]] = 0
        self.show(strip, left, top)
        low, high = span
        candidates = MaxNLocator(min(6, max(2, round(2.5 * height))), steps=[1, 2, 5, 10]).tick_values(low, high)
        ticks = [tick for tick in candidates if low <= tick <= high]
        right, labels = left + _BAR + 0.09, _labels(ticks)
        for tick, label in zip(ticks, labels):
            at = top + height * (high - tick) / max(high - low, 1e-12)
            self.show(np.zeros((max(1, self.dpi // 110), self._length(0.05), 3), np.uint8), left + _BAR, at)
            self.write(label, right, at, 8, "left", "center")
        beside = right + _LETTER * max(map(len, labels), default=0) + 0.08
        self.write(
            textwrap.fill(unit, int(1.2 * height / _LETTER)), beside, top + height / 2, 8, "left", "center", rotation=90
        )

    def figure(self) -> Figure:
        """All of it, for `save`."""
        self._figure.add_artist(_Pixels(self._pixels))
        return self._figure

    def _length(self, inches: float) -> int:
        return max(1, round(inches * self.dpi))


class _NotebookFigure(Figure):
    """A figure that a notebook shows by itself: matplotlib's own waits for pyplot, which nothing here needs."""

    def _repr_png_(self) -> bytes:
        """The figure at its own dots an inch, as a PNG."""
        stream = io.BytesIO()
        FigureCanvasAgg(self).print_png(stream)
        return stream.getvalue()


class _Pixels(Artist):
    """uint8 [H, W, 3] over the whole figure, as it is: matplotlib's own `figimage` resamples it."""

    def __init__(self, pixels: np.ndarray):
        super().__init__()
        self._pixels = pixels

    def draw(self, renderer: RendererBase) -> None:
        """Hand it to the renderer, which counts rows from below."""
        renderer.draw_image(renderer.new_gc(), 0, 0, cv2.cvtColor(self._pixels[::-1], cv2.COLOR_RGB2RGBA))


def _labels(ticks: list[float]) -> list[str]:
    formatter = ScalarFormatter(useOffset=False)
    formatter.create_dummy_axis()
    formatter.set_scientific(False)
    return formatter.format_ticks(ticks)


def colors(level: np.ndarray, map_name: str) -> np.ndarray:
    """Levels 0..1, of any shape, in one of matplotlib's color maps: uint8 [..., 3]."""
    return np.take(color_table(map_name), np.rint(255 * level).astype(np.uint8), axis=0)


@lru_cache
def color_table(map_name: str) -> np.ndarray:
    """A color map's 256 colors from low to high, uint8 [256, 3]."""
    return np.rint(matplotlib.colormaps[map_name](np.arange(256))[:, :3] * 255).astype(np.uint8)


def save(draw: Callable[[int], Figure], path: Path, dpi: int, pdf: bool = False) -> None:
    """Write a figure, drawn at the dots an inch that it is given, as PNG, and where asked for as a PDF of the same name
    whose pictures are fit for print."""
    # Fast compression: the smallest files would take longer to write than to draw.
    with whole_file(path) as file:
        FigureCanvasAgg(draw(dpi)).print_png(file, pil_kwargs={"compress_level": 1})
    if pdf:
        with whole_file(path.with_suffix(".pdf")) as file:
            draw(max(dpi, PRINT_DPI)).savefig(file, format="pdf")
