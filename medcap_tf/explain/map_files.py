"""Maps of words as files for other programs: gray PNG, NumPy, DICOM.

Axes: n words, h x w regions, H x W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from medcap_tf.errors import InputError
from medcap_tf.explain.dicom_maps import read_source, write_captures, write_segmentation
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.finding_words import finding_words
from medcap_tf.explain.grid import over_image
from medcap_tf.explain.pictures import file_name
from medcap_tf.files import whole_file, write_bytes

FORMATS = ("png", "npy", "dicom")


def write_maps(explanation: Explanation, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the maps of one image's words, those that say most (the first of `Explanation.word_maps`).

    Args:
        explanation: of one image; one with an error or without words has no files.
        folder: where to.
        formats: of FORMATS. `png`: `NAME.map.03-nodule.png` a word, uint8 [H, W] over the image as it is shown, 255
            at its peak; `npy`: `NAME.map.npy`, float32 [n, h, w]; `dicom`, where the image is a DICOM file:
            `NAME.map.03.dcm`, secondary captures, and `NAME.map.seg.dcm`, a segmentation, of the words that name
            findings, or of all where none does.

    Raises:
        InputError: a package is missing, or a DICOM file's header does not allow derived objects.
    """
    if explanation.caption.error or not explanation.caption.words:
        return []
    name = file_name(explanation.caption.path)
    kind, maps = next(iter(explanation.word_maps().items()))
    written: list[Path] = []
    if "png" in formats:
        written += _write_pngs(explanation, maps, folder, name)
    if "npy" in formats:
        written.append(folder / f"{name}.map.npy")
        with whole_file(written[-1]) as file:
            np.save(file, maps.astype(np.float32))
    source = read_source(explanation.caption.path) if "dicom" in formats else None
    if source is not None:
        found = finding_words(explanation)
        words = [i for i, finding in enumerate(found) if finding] or list(range(len(found)))
        try:
            written += write_captures(source, explanation, kind, words, folder, name)
            written += write_segmentation(source, explanation, kind, words, folder / f"{name}.map.seg.dcm")
        except InputError:  # a package is missing
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # pydicom's and highdicom's, of odd headers
            raise InputError(
                f"{explanation.caption.path}: not all of its DICOM maps can be written, its header is not as DICOM "
                f"wants it ({error}); mend it, or ask for --maps png"
            ) from error
    return written


def _write_pngs(explanation: Explanation, maps: np.ndarray, folder: Path, name: str) -> list[Path]:
    paths = []
    for number, (word, grid) in enumerate(zip(explanation.caption.words, maps), start=1):
        heat = over_image(grid, explanation.image.shape[:2])
        paths.append(folder / f"{name}.map.{number:02d}-{re.sub(r'[^0-9A-Za-z]+', '_', word)[:40]}.png")
        levels = np.rint(255 * heat / max(float(heat.max()), 1e-9)).astype(np.uint8)
        write_bytes(paths[-1], cv2.imencode(".png", levels)[1].tobytes())
    return paths
