"""Image files to pixels, and the augmentation of the encoder's training.

Axes: H height, W width, S side of the resized square. An image is `uint8 [H, W, 3]`, RGB, 0..255, throughout; gray
images hold three equal channels. Normalization for ResNet50 is a part of the model, not of this module.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medcap_tf.caption import EncodedImage, ImageInput
from medcap_tf.data.decoders import DECODERS
from medcap_tf.data.dicom import decode_dicom
from medcap_tf.data.formats import NAMES, kind_of, size_of
from medcap_tf.data.pixels import check_size, three_channels
from medcap_tf.errors import InputError

VIEWS = ("identity", "horizontal_flip", "vertical_flip", "center_crop")

_LEAST_ERASED, _MOST_ERASED = 0.15, 0.4  # of each side


def read_image(path: Path) -> np.ndarray:
    """Read one image file: `uint8 [H, W, 3]`, RGB, 0..255; see `decode_image` for how each kind is converted.

    Raises InputError where the path is missing, is not a file, cannot be opened, or holds no readable image.
    """
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """A file's content; raises InputError where the path is missing, is not a file, or cannot be opened."""
    path = Path(path)
    if os.path.isdir(path):  # False, not an error, of what cannot be a path
        raise InputError(f"{path}: is a folder; give the path of one image file")
    try:
        # OpenCV's own file reading fails on non-ASCII paths on some systems.
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    except ValueError as error:  # a null character
        raise InputError(f"{str(path)!r}: is no path ({error}); check it") from error


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """Decode the bytes of one image file: `uint8 [H, W, 3]`, RGB, 0..255. `name` is what error messages call it.

    The kind is told by the content (a DICOM file without its preamble: by the suffix `.dcm` of `name`).

    - 8 bits: values unchanged; gray is repeated over three channels.
    - 16 bits, 32 bits, float: scaled linearly so that the image's own minimum becomes 0 and its maximum 255 (one range
      for all channels; NaN and infinity become 0). An image of one value has no range and becomes black.
    - Alpha: composited over black (value times alpha), before any scaling.
    - EXIF orientation is ignored, as TensorFlow's decoder does. Of a TIFF with several pages, the first is taken.
    - A file that breaks off is refused, unless OpenCV makes an image of what is there.
    - DICOM: rescaled, windowed as the file asks, MONOCHROME1 inverted, the middle frame of several, color as RGB.

    Raises InputError where the bytes are empty, no readable image, or more than MAX_PIXELS pixels.
    """
    if not data:
        raise InputError(f"{name}: the file is empty; copy it again from its source")
    kind = kind_of(data)
    if kind == "DICOM" or (kind is None and name.lower().endswith(".dcm")):
        return decode_dicom(data, name)
    if kind is None:
        raise InputError(f"{name}: not a readable image; give a whole {NAMES} file")
    check_size(size_of(data), name)
    try:
        image = DECODERS[kind](data)
    except Exception as error:  # each library raises its own kinds on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a readable image ({kind}: {reason}); give a whole {NAMES} file") from error
    check_size(image.shape[:2], name)
    return image


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Squash `uint8 [H, W, 3]` to `uint8 [S, S, 3]`; the aspect ratio is not kept, so that no border is lost.

    Area averaging where neither side grows, bilinear otherwise: `tf.image.resize` with `area` and `bilinear` gives the
    same pixels within one gray level, which lets a served model do the same.
    """
    shrinks = min(image.shape[:2]) >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def prepare(image: np.ndarray, size: int, with_equalize: bool) -> np.ndarray:
    """An image of any size to the encoder's input, `uint8 [S, S, 3]`: resized, then equalized where asked for.

    In this order, so that the tiles of the equalization are the same for every image size.
    """
    resized = resize(image, size)
    return equalize(resized) if with_equalize else resized


def equalize(image: np.ndarray, clip_limit: float = 2.0, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalization of lightness: `uint8 [H, W, 3]` to the same.

    `clip_limit` bounds the contrast gain (1: nearly none), `tiles` is the number of tiles along each side. Color
    images are equalized on L of CIELAB. Gray ones stay exactly gray. Source: Zuiderveld, Graphics Gems IV, 1994.
    """
    clahe = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    if (image == image[..., :1]).all():
        return three_channels(clahe.apply(np.ascontiguousarray(image[..., 0])))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def view(image: np.ndarray, name: str, crop: float = 0.85) -> np.ndarray:
    """One named view of VIEWS, the augmentation of the paper: `uint8 [H, W, 3]` to `uint8 [h, w, 3]`.

    `center_crop` keeps the middle `crop` (0 < crop <= 1) of each side, at least one pixel; the others keep H and W.
    Raises InputError for another name.
    """
    if name == "identity":
        return image
    if name == "horizontal_flip":
        return np.ascontiguousarray(image[:, ::-1])
    if name == "vertical_flip":
        return np.ascontiguousarray(image[::-1])
    if name == "center_crop":
        rows, columns = (slice(*_span(side, crop, 0.5)) for side in image.shape[:2])
        return np.ascontiguousarray(image[rows, columns])
    raise InputError(f"view {name!r} is unknown; choose from {', '.join(VIEWS)}")


def random_view(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    horizontal_flip: bool,
    vertical_flip: bool,
    crop: float,
    erase: float = 0.0,
) -> np.ndarray:
    """A random view for training the encoder, to be resized afterwards: `uint8 [H, W, 3]` to `uint8 [h, w, 3]`.

    Each enabled flip happens with probability 0.5. Each side keeps a fraction drawn from `crop`..1 (0 < crop <= 1; 1
    keeps all), at a random place; the two sides are drawn apart, so the aspect ratio varies too. With probability
    `erase` 15 to 40% of both sides are painted over in one gray (random erasing, Zhong et al. 2020).
    """
    # All numbers are drawn whatever is enabled: switching one augmentation leaves the others' draws as they were.
    draws, hole = rng.random(6), rng.random(5)
    rows, columns = (
        slice(*_span(side, crop + (1 - crop) * keep, place))
        for side, keep, place in zip(image.shape[:2], draws[:2], draws[2:4])
    )
    image = image[rows, columns]
    if horizontal_flip and draws[4] < 0.5:
        image = image[:, ::-1]
    if vertical_flip and draws[5] < 0.5:
        image = image[::-1]
    if hole[0] < erase:
        share = _LEAST_ERASED + (_MOST_ERASED - _LEAST_ERASED) * hole[1]
        rows, columns = (slice(*_span(side, share, place)) for side, place in zip(image.shape[:2], hole[2:4]))
        image = image.copy()
        image[rows, columns] = int(256 * hole[4])
    return np.ascontiguousarray(image)


def _span(side: int, fraction: float, place: float) -> tuple[int, int]:
    """First and past-the-end index that keep `fraction` of a side; `place` 0..1 is where the kept part lies."""
    if not 0 < fraction <= 1:
        raise InputError(f"crop is {fraction}; it is the part of each side to keep, above 0 and at most 1")
    kept = max(1, round(side * fraction))
    start = int((side - kept + 1) * place) if place != 0.5 else (side - kept) // 2
    return start, start + kept


def to_array(source: ImageInput) -> np.ndarray:
    """An image, uint8 [H, W, 3] RGB, from the path of a file, an array or a PIL image.

    Args:
        source: a path; uint8 [H, W, 3] or [H, W]; or anything with PIL's `convert`.

    Raises:
        InputError: a file that cannot be read, or an array of another type or shape.
    """
    if isinstance(source, (str, Path)):
        return read_image(Path(source))
    if isinstance(source, EncodedImage):
        return decode_image(source.read(), source.name)
    if hasattr(source, "convert"):
        return _of_pil(source)
    values = np.asarray(source)
    shape = values.shape
    if values.dtype != np.uint8 or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or not values.size:
        raise InputError(
            f"image: should be uint8 [H, W, 3] in RGB or [H, W] in gray, found {values.dtype} {list(shape)}; "
            "scale other ranges to 0..255 first"
        )
    return values if len(shape) == 3 else np.repeat(values[..., None], 3, axis=-1)


def _of_pil(image: Any) -> np.ndarray:
    """A PIL image as its file would be read: more than 8 bits and alpha take the decoders' way."""
    if not all(image.size):
        raise InputError(f"image: has no pixels ({image.size[0]} x {image.size[1]})")
    check_size(image.size[::-1], "image")
    file = io.BytesIO()
    try:
        if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            image.convert("RGBA").save(file, "PNG", compress_level=0)
        elif image.mode.startswith(("I", "F")):
            image.save(file, "TIFF")
        else:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"image: PIL cannot read it ({error}); give a whole {NAMES} file") from error
    return decode_image(file.getvalue())
