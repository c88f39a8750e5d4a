"""Image files to pixels, and the augmentation of the encoder's training.

Axes: H height, W width, S side of the resized square. An image is `uint8 [H, W, 3]`, RGB, 0..255, throughout; grey
images hold three equal channels. Normalisation for ResNet50 is a part of the model, not of this module.
"""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medcap_tf import MAX_PIXELS
from medcap_tf.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".dcm")
VIEWS = ("identity", "horizontal_flip", "vertical_flip", "center_crop")
PNG_START = b"\x89PNG\r\n\x1a\n"

# What OpenCV logs about a broken file is said again, with the file's name, by the InputError raised here.
cv2.setLogLevel(0)


def find_files(given: Sequence[Path], suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Files as they are given, and the image files inside folders, in order; InputError on a folder without any."""
    paths: list[Path] = []
    for path in given:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: no images in this folder (looked for {', '.join(suffixes)})")
        paths += inside
    return paths


def read_image(path: Path) -> np.ndarray:
    """Read one image file: `uint8 [H, W, 3]`, RGB, 0..255; see `decode_image` for how each kind is converted.

    Raises InputError where the path is missing, is not a file, cannot be opened, or holds no readable image.
    """
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """A file's content; raises InputError where the path is missing, is not a file, or cannot be opened."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the path of one image file")
    try:
        # OpenCV's own file reading fails on non-ASCII paths on some systems.
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """Decode the bytes of one image file: `uint8 [H, W, 3]`, RGB, 0..255. `name` is what error messages call it.

    The kind is told by the content (a DICOM file without its preamble: by the suffix `.dcm` of `name`).

    - 8 bits: values unchanged; grey is repeated over three channels.
    - 16 bits, 32 bits, float: scaled linearly so that the image's own minimum becomes 0 and its maximum 255 (one range
      for all channels; NaN and infinity become 0). An image of one value has no range and becomes black.
    - Alpha: composited over black (value times alpha), before any scaling.
    - EXIF orientation is ignored, as TensorFlow's decoder does. Of a TIFF with several pages, the first is taken.
    - A file that breaks off is refused, unless OpenCV makes an image of what is there.
    - DICOM: rescaled, windowed as the file asks, MONOCHROME1 inverted, the middle frame of several, colour as RGB.

    Raises InputError where the bytes are empty, no readable image, or more than MAX_PIXELS pixels.
    """
    if not data:
        raise InputError(f"{name}: the file is empty; copy it again from its source")
    if data[128:132] == b"DICM" or name.lower().endswith(".dcm"):
        return _decode_dicom(data, name)
    _check_size(_header_size(data), name)
    # Without its end mark, libpng prints to stderr, out of OpenCV's control, before it gives up.
    broken_off = data.startswith(PNG_START) and b"IEND" not in data
    try:
        # UNCHANGED keeps depth and alpha, and leaves EXIF orientation alone.
        pixels = None if broken_off else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"{name}: not a readable image; give a whole JPEG, PNG, BMP, TIFF or DICOM file")
    _check_size(pixels.shape[:2], name)
    image = _bgr_to_rgb(pixels)
    # OpenCV undoes "white is zero" (TIFF tag 262) at 8 bits only; radiographs come so at 16.
    return 255 - image if pixels.dtype != np.uint8 and _tiff_tags(data).get(262) == 0 else image


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Squash `uint8 [H, W, 3]` to `uint8 [S, S, 3]`; the aspect ratio is not kept, so that no border is lost.

    Area averaging where neither side grows, bilinear otherwise: `tf.image.resize` with `area` and `bilinear` gives the
    same pixels within one grey level, which lets a served model do the same.
    """
    shrinks = min(image.shape[:2]) >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def prepare(image: np.ndarray, size: int, with_equalize: bool) -> np.ndarray:
    """An image of any size to the encoder's input, `uint8 [S, S, 3]`: resized, then equalised where asked for.

    In this order, so that the tiles of the equalisation are the same for every image size.
    """
    resized = resize(image, size)
    return equalize(resized) if with_equalize else resized


def equalize(image: np.ndarray, clip_limit: float = 2.0, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of lightness: `uint8 [H, W, 3]` to the same.

    `clip_limit` bounds the contrast gain (1: nearly none), `tiles` is the number of tiles along each side. Colour
    images are equalised on L of CIELAB. Grey ones stay exactly grey. Source: Zuiderveld, Graphics Gems IV, 1994.
    """
    clahe = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    if (image == image[..., :1]).all():
        return _three_channels(clahe.apply(np.ascontiguousarray(image[..., 0])))
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
    image: np.ndarray, rng: np.random.Generator, *, horizontal_flip: bool, vertical_flip: bool, crop: float
) -> np.ndarray:
    """A random view for training the encoder, to be resized afterwards: `uint8 [H, W, 3]` to `uint8 [h, w, 3]`.

    Each enabled flip happens with probability 0.5. Each side keeps a fraction drawn from `crop`..1 (0 < crop <= 1; 1
    keeps all), at a random place; the two sides are drawn apart, so the aspect ratio varies too.
    """
    # All six numbers are drawn whatever is enabled: switching one augmentation leaves the others' draws as they were.
    draws = rng.random(6)
    rows, columns = (
        slice(*_span(side, crop + (1 - crop) * keep, place))
        for side, keep, place in zip(image.shape[:2], draws[:2], draws[2:4])
    )
    image = image[rows, columns]
    if horizontal_flip and draws[4] < 0.5:
        image = image[:, ::-1]
    if vertical_flip and draws[5] < 0.5:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _span(side: int, fraction: float, place: float) -> tuple[int, int]:
    """First and past-the-end index that keep `fraction` of a side; `place` 0..1 is where the kept part lies."""
    if not 0 < fraction <= 1:
        raise InputError(f"crop is {fraction}; it is the part of each side to keep, above 0 and at most 1")
    kept = max(1, round(side * fraction))
    start = int((side - kept + 1) * place) if place != 0.5 else (side - kept) // 2
    return start, start + kept


def _check_size(size: tuple[int, ...] | None, name: str) -> None:
    if size and size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{name}: {size[1]} x {size[0]} pixels, more than {MAX_PIXELS:,}; make the image smaller")


def _header_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) as the header states them, before memory is spent on decoding; None where it cannot be told."""
    try:
        if data.startswith(PNG_START):
            width, height = struct.unpack_from(">II", data, 16)
        elif data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
        elif data[:2] == b"\xff\xd8":
            height, width = _jpeg_size(data)
        else:
            tags = _tiff_tags(data)
            height, width = tags[257], tags[256]
    except (struct.error, KeyError):
        return None
    return abs(height), abs(width)  # BMP: a negative height means rows from the top


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        # Start-of-frame markers are C0 to CF, but for the tables C4, C8 and CC (ITU T.81, table B.1).
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        position += 1 if marker == 0xFFFF else 2 + length


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The first value of every tag of the first page (an offset where a value is no integer); empty if no TIFF."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return {}
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags = {}
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, position + 8)
    return tags


def _bgr_to_rgb(pixels: np.ndarray) -> np.ndarray:
    """What OpenCV decodes, any dtype, [H, W] or [H, W, 1..4], to `uint8 [H, W, 3]` RGB."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = _over_black(pixels[..., :-1], pixels[..., -1:])
    pixels = _to_uint8(pixels)
    return _three_channels(pixels) if pixels.ndim == 2 or pixels.shape[2] == 1 else pixels[..., ::-1].copy()


def _over_black(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    blended = colour.astype(np.float32) * (alpha.astype(np.float32) / opaque)
    return np.rint(blended).astype(np.uint8) if colour.dtype == np.uint8 else blended


def _three_channels(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.reshape(*grey.shape[:2], 1), 3, axis=2)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """8 bits unchanged; all else: the range of the finite values to 0..255."""
    if values.dtype == np.uint8:
        return values
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return _scale(values, low, high)


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """low..high to `uint8` 0..255, values outside clipped."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    # float32 holds every 16-bit value exactly, at half the memory.
    scaled: np.ndarray = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    scaled = np.clip((scaled - low) * (255 / (high - low)), 0, 255)
    return np.rint(np.where(np.isfinite(values), scaled, 0)).astype(np.uint8)


def _decode_dicom(data: bytes, name: str) -> np.ndarray:
    try:
        import pydicom
    except ImportError:
        raise InputError(f"{name}: DICOM needs the package pydicom; run: pip install medcap_tf[dicom]") from None
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
    except Exception as error:  # pydicom raises a dozen unrelated kinds on broken files
        raise InputError(f"{name}: not a readable DICOM image ({error}); export it again from its source") from error
    _check_size((rows, columns), name)
    try:
        return _dicom_to_rgb(dataset)
    except Exception as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and syntax.is_compressed:
            remedy = "run: pip install pylibjpeg[all], or save it uncompressed"
            raise InputError(f"{name}: its compression, {syntax.name}, cannot be decoded here; {remedy}") from error
        raise InputError(f"{name}: broken DICOM pixel data ({error}); export it again from its source") from error


def _dicom_to_rgb(dataset: Any) -> np.ndarray:
    processing = _pydicom_processing()
    frame = _middle_frame(dataset)
    if frame.ndim == 3:
        return _to_uint8(frame)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _scale(
            processing.apply_color_lut(frame, dataset), 0, 2 ** int(dataset.RedPaletteColorLookupTableDescriptor[2]) - 1
        )
    values = processing.apply_modality_lut(frame, dataset)
    # Slope 1 and intercept 0 turn 8 bits into floats; they are to stay 8 bits, shown as they are.
    grey = _windowed(frame if np.array_equal(values, frame) else values, dataset)
    return _three_channels(255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey)


def _middle_frame(dataset: Any) -> np.ndarray:
    """[H, W], or [H, W, 3] as RGB."""
    from pydicom.uid import ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:  # no preamble, no header: the standard's default
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    processing = _pydicom_processing()
    if hasattr(processing, "pixel_array"):
        return processing.pixel_array(dataset, index=frames // 2)  # converts YBR to RGB itself
    frame = dataset.pixel_array[frames // 2] if frames > 1 else dataset.pixel_array
    kind = dataset.PhotometricInterpretation
    return processing.convert_color_space(frame, kind, "RGB") if kind.startswith("YBR") else frame


def _pydicom_processing() -> Any:
    """The module that holds pydicom's pixel functions: pydicom 2, the last for Python 3.9, keeps them elsewhere."""
    try:
        return importlib.import_module("pydicom.pixels")
    except ImportError:
        return importlib.import_module("pydicom.pixel_data_handlers.util")


def _windowed(values: np.ndarray, dataset: Any) -> np.ndarray:
    """[H, W] to `uint8 [H, W]` by the VOI LUT, else the first window, of DICOM PS3.3 C.11.2; else by its own range."""
    if dataset.get("VOILUTSequence"):
        return _looked_up(values, dataset.VOILUTSequence[0])
    center, width = (_first(dataset.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return _to_uint8(values)
    function = dataset.get("VOILUTFunction", "LINEAR")
    if function == "SIGMOID":
        return _scale(1 / (1 + np.exp(np.clip(-4 * (values.astype(float) - center) / width, -50, 50))), 0, 1)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, max(width - 1, 1e-6)  # a width of 1 is a threshold
    return _scale(values, center - width / 2, center + width / 2)


def _looked_up(values: np.ndarray, table: Any) -> np.ndarray:
    _, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    # The first mapped value is signed or not as the pixels are; a reader that guesses wrong is off by 65536.
    if first >= 32768 and values.min() < 0:
        first -= 65536
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return _scale(entries[index], 0, 2**bits - 1)


def _first(value: Any) -> float | None:
    """The first of one or several DICOM values; None where there is none."""
    if value is None or value == "":
        return None
    values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    return float(values[0]) if len(values) else None
