"""The files that `explain` leaves for each image: figures, and the numbers they were drawn from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np
from matplotlib.figure import Figure

from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.figures import WORD_MAPS, layer_figure, strip_figure, words_figure
from medcap_tf.explain.methods import methods_figure
from medcap_tf.explain.plate import save
from medcap_tf.explain.regions import CONVENTION, word_regions
from medcap_tf.files import whole_file, write_text

_LONGEST_STEM = 150  # bytes of an image's name in those of its pictures: file systems take 255, suffixes included


def write_pictures(
    explanation: Explanation,
    folder: Path,
    dpi: int = 110,
    pdf: bool = False,
) -> list[Path]:
    """Draw one image's explanation.

    Args:
        explanation: what to draw; an image with an error, or a caption without words, has fewer files.
        folder: where to; it exists.
        dpi: pixels an inch: 110 for a screen, 300 for print.
        pdf: a PDF of each figure too.

    Returns:
        The files: `NAME.KIND.png` for each kind of `Explanation.word_maps`, `NAME.words.png`, `NAME.layer.LAYER.png`,
        `NAME.methods.png`; `NAME.maps.npz` (the maps, float32 [n, h, w]), `NAME.attention.csv` (regions x words) and
        `NAME.regions.json` (boxes and positions of each word, by kind).
    """
    if explanation.caption.error:
        return []
    name, written = file_name(explanation.caption.path), []
    for kind, draw in _figures(explanation).items():
        written.append(folder / f"{name}.{kind}.png")
        save(draw, written[-1], dpi, pdf)
    return [*written, *_write_numbers(explanation, folder, name)]


def _figures(explanation: Explanation) -> dict[str, Callable[[int], Figure]]:
    """By kind, what draws the figure at given pixels an inch."""
    drawings: dict[str, Callable[[int], Figure]] = {}
    if explanation.caption.words:
        for kind, maps in explanation.word_maps().items():
            drawings[kind] = partial(words_figure, explanation, maps, *WORD_MAPS[kind])
    readings = [("generated", explanation.reading), ("reference", explanation.reference_reading)]
    if any(reading for _, reading in readings):
        read = [(title, reading) for title, reading in readings if reading]
        drawings["words"] = partial(strip_figure, read, concept_names=explanation.caption.concept_names)
    for layer, maps in explanation.layers.items():
        drawings[f"layer.{layer}"] = partial(layer_figure, layer, maps)
    if explanation.methods:
        drawings["methods"] = partial(methods_figure, explanation.methods, explanation.image.shape[:2])
    return drawings


def file_name(path: Path) -> str:
    """The image's name without suffix, and 12 digits of its path's hash: thousands of folders may hold a `0.png`, of
    which six digits would confuse two."""
    stem = os.fsencode(path.stem)[:_LONGEST_STEM].decode("utf-8", "replace")
    return f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _write_numbers(explanation: Explanation, folder: Path, name: str) -> list[Path]:
    if not explanation.caption.words:
        return []
    arrays, table = folder / f"{name}.maps.npz", folder / f"{name}.attention.csv"
    attention = explanation.attention
    with whole_file(arrays) as file:
        np.savez_compressed(file, words=np.array(explanation.caption.words), **explanation.word_maps())
    with io.StringIO(newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["row", "column", *explanation.caption.words])
        for (row, column), weights in zip(np.ndindex(attention.shape[1:]), attention.reshape(len(attention), -1).T):
            writer.writerow([row, column, *(f"{weight:.6f}" for weight in weights)])
        write_text(table, text.getvalue())
    regions = {kind: word_regions(grids) for kind, grids in explanation.word_maps().items()}
    places = folder / f"{name}.regions.json"
    content = {"convention": CONVENTION, "words": explanation.caption.words, "regions": regions}
    write_text(places, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return [arrays, table, places]
