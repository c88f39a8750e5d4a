"""Encoded image files to the encoder's pixels, in the graph: what `images.decode_image` and `images.prepare` do, with
stock operations alone.

Every row is read by itself, so that a file that cannot be read costs its own row only. The size is taken from the
file's header and held against MAX_PIXELS before any memory is spent on pixels.

Axes: B files, H x W pixels of a file, S side of the encoder's square.
"""

from __future__ import annotations

import tensorflow as tf

from medcap_tf.data.formats import PNG_START
from medcap_tf.graphs import untuned
from medcap_tf.serving.files import MAX_PIXELS

# A progressive JPEG may ask for its pixels to be gone through any number of times.
MAX_SCANS = 100
# Blocks of at most 255 bytes; more than 4 MB for one frame is no picture of 256 colors.
MAX_GIF_BLOCKS = 20_000
# Chunks before the pixels; a few dozen are usual.
MAX_PNG_CHUNKS = 10_000
_DECODERS = 4


def read_images(files: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """string [B] -> pixels float32 [B, S, S, 3], RGB in 0..255, whole numbers; and valid bool [B].

    JPEG, PNG, BMP, GIF (its first frame). Pixels of a row that is not valid are zero.
    """
    rows = tf.data.Dataset.from_tensor_slices((tf.range(tf.size(files)), files))
    read = rows.map(lambda row, file: (row, read_image(file, size)), num_parallel_calls=_DECODERS)
    # A file that cannot be read raises, and its element is dropped; the last element is there to be the only one.
    last = tf.data.Dataset.from_tensors((-1, tf.zeros([size, size, 3])))
    kept = read.ignore_errors(log_warning=False).concatenate(last)
    row, pixels = untuned(kept.batch(tf.size(files, tf.int64) + 1)).get_single_element()
    places, count = row[:-1, None], tf.size(files)
    valid = tf.scatter_nd(places, tf.ones_like(row[:-1]), [count]) > 0
    return tf.scatter_nd(places, pixels[:-1], [count, size, size, 3]), valid


def read_image(file: tf.Tensor, size: int) -> tf.Tensor:
    """string [] -> float32 [S, S, 3]; raises InvalidArgumentError within the graph where the file cannot be read."""
    start = tf.strings.substr(file, 0, 8)
    decoded = tf.case(
        [
            (tf.strings.substr(start, 0, 3) == b"\xff\xd8\xff", lambda: _read_jpeg(file)),
            (start == PNG_START, lambda: _read_png(file)),
            (tf.strings.substr(start, 0, 2) == b"BM", lambda: _read_bmp(file)),
        ],
        default=lambda: _read_gif(file),
    )
    return resize(tf.ensure_shape(decoded, [None, None, 3]), size)


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """uint8 [H, W, 3] to whole numbers float32 [S, S, 3]: the pixels of `images.resize`, but for ties in rounding."""
    shrinks = tf.reduce_min(tf.shape(image)[:2]) >= size
    resized = tf.cond(shrinks, lambda: _area(image, size), lambda: _bilinear(image, size))
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 255.0), [size, size, 3])


def _area(image: tf.Tensor, size: int) -> tf.Tensor:
    mean = tf.image.resize(image, [size, size], "area")
    # OpenCV rounds halves to even, but for exactly half the size, where it rounds them up.
    halved = tf.reduce_all(tf.shape(image)[:2] == 2 * size)
    return tf.where(halved, tf.floor(mean + 0.5), tf.round(mean))


def _bilinear(image: tf.Tensor, size: int) -> tf.Tensor:
    """As OpenCV computes it: weights of 11 bits, four bits dropped between columns and rows, sixteen after each row."""
    shift = tf.bitwise.right_shift
    rows, row_weights = _neighbors(tf.shape(image)[0], size)
    columns, column_weights = _neighbors(tf.shape(image)[1], size)
    sums = []
    for row, row_weight in zip(rows, row_weights):
        line = tf.gather(image, row)
        pixels = (tf.cast(tf.gather(line, column, axis=1), tf.int32) for column in columns)
        across = tf.add_n([x * weight[:, None] for x, weight in zip(pixels, column_weights)])
        sums.append(shift(shift(across, 4) * row_weight[:, None, None], 16))
    return tf.cast(shift(tf.add_n(sums) + 2, 2), tf.float32)


def _neighbors(side: tf.Tensor, size: int) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Of each of S places the two nearest of `side` pixels, and their weights in 2048ths, all int32 [S]."""
    center = (tf.range(size, dtype=tf.float64) + 0.5) * (tf.cast(side, tf.float64) / size) - 0.5
    first = tf.floor(center)
    part = tf.cast(center - first, tf.float32)
    places = [tf.clip_by_value(tf.cast(first, tf.int32) + step, 0, side - 1) for step in (0, 1)]
    return places, [tf.cast(tf.round(weight * 2048), tf.int32) for weight in (1 - part, part)]


def _read_jpeg(file: tf.Tensor) -> tf.Tensor:
    """Baseline and progressive, gray and color. Others, CMYK among them, have no one way to be shown."""
    shape = tf.io.extract_jpeg_shape(file)
    scans = tf.size(tf.strings.split(file, b"\xff\xda")) - 1
    checks = [
        _check_size(shape[0], shape[1]),
        tf.debugging.assert_less_equal(scans, MAX_SCANS),
        tf.debugging.assert_equal((shape[2] == 1) | (shape[2] == 3), True, "neither gray nor color"),
    ]
    with tf.control_dependencies(checks):
        return tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")


def _read_png(file: tf.Tensor) -> tf.Tensor:
    header = tf.strings.substr(file, 16, 10)
    width, height = (_integer(header, place, 4, big_endian=True) for place in (0, 4))
    depth, kind = _integer(header, 8, 1), _integer(header, 9, 1)
    # Kinds 4 and 6 carry alpha, the others have it in a chunk of its own. TensorFlow's decoder makes one up for those
    # that have none, a wrong one where a pixel has fewer than 8 bits.
    see_through = (kind >= 4) | _has_alpha_chunk(file)
    with tf.control_dependencies([_check_size(height, width)]):
        deep = depth == 16
    return tf.cond(deep, lambda: _deep_png(file, see_through), lambda: _plain_png(file, see_through))


def _has_alpha_chunk(file: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has a chunk `tRNS` before its pixels: bool []."""

    def name(place: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(file, place + 4, 4)

    def going_on(place: tf.Tensor, chunks: tf.Tensor) -> tf.Tensor:
        return (name(place) != b"tRNS") & (name(place) != b"IDAT") & (chunks < MAX_PNG_CHUNKS)

    def skip(place: tf.Tensor, chunks: tf.Tensor) -> tuple:
        return place + 12 + _integer(file, place, 4, big_endian=True) % 2**31, chunks + 1

    place, chunks = tf.while_loop(going_on, skip, (tf.constant(len(PNG_START), tf.int64), tf.constant(0)))
    with tf.control_dependencies([tf.debugging.assert_less(chunks, MAX_PNG_CHUNKS)]):
        return name(place) == b"tRNS"


def _deep_png(file: tf.Tensor, see_through: tf.Tensor) -> tf.Tensor:
    """16 bits: the range of the image's own values to 0..255."""
    values = tf.io.decode_png(file, channels=4, dtype=tf.uint16)
    color = _over_black(values, see_through, 65535)
    low, high = tf.reduce_min(color), tf.reduce_max(color)
    return tf.cast(tf.round((color - low) * tf.math.divide_no_nan(255.0, high - low)), tf.uint8)


def _plain_png(file: tf.Tensor, see_through: tf.Tensor) -> tf.Tensor:
    def blended() -> tf.Tensor:
        return tf.cast(tf.round(_over_black(tf.io.decode_png(file, channels=4), see_through, 255)), tf.uint8)

    return tf.cond(see_through, blended, lambda: tf.io.decode_png(file, channels=3))


def _over_black(values: tf.Tensor, see_through: tf.Tensor, opaque: int) -> tf.Tensor:
    """[H, W, 4] with alpha, if it has any, -> float32 [H, W, 3] in the same range."""
    alpha = tf.where(see_through, tf.cast(values[..., 3:], tf.float32) / opaque, 1.0)
    return tf.cast(values[..., :3], tf.float32) * alpha


def _read_bmp(file: tf.Tensor) -> tf.Tensor:
    offset, info, width, height, depth, compression = (
        _integer(file, place, count) for place, count in ((10, 4), (14, 4), (18, 4), (22, 4), (28, 2), (30, 4))
    )
    windows = tf.reduce_any(info == tf.constant([40, 52, 56, 108, 124], tf.int64))
    plain = windows & (compression == 0) & ((depth == 8) | (depth == 24) | (depth == 32))
    checks = [_check_size(tf.abs(height), width), tf.debugging.assert_equal(plain, True, "packed or compressed")]
    with tf.control_dependencies(checks):
        pixels = tf.io.decode_bmp(file)

    def indexed() -> tf.Tensor:
        palette = tf.reshape(
            tf.io.decode_raw(tf.strings.substr(file, 14 + info, offset - 14 - info), tf.uint8), [-1, 4]
        )
        return tf.gather(palette[:, 2::-1], tf.cast(pixels[..., 0], tf.int32))

    return tf.cond(depth == 8, indexed, lambda: pixels[..., :3])


def _read_gif(file: tf.Tensor) -> tf.Tensor:
    """The first frame, cut out before decoding: the decoder would read all frames into memory, each of any size."""
    after_header = 13 + _table_bytes(_integer(file, 10, 1))

    def going_on(place: tf.Tensor, blocks: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        return (blocks < MAX_GIF_BLOCKS) & (inside | (_integer(file, place, 1) == 0x21))

    def skip(place: tf.Tensor, blocks: tf.Tensor, inside: tf.Tensor) -> tuple:
        # An extension opens with two bytes; then come blocks, each with its length before it, the last of length 0.
        length = _integer(file, place, 1)
        return tf.where(inside, place + 1 + length, place + 2), blocks + 1, ~inside | (length > 0)

    begin = (tf.cast(after_header, tf.int64), tf.constant(0), tf.constant(False))
    frame, blocks, _ = tf.while_loop(going_on, skip, begin)
    width, height = (_integer(file, frame + place, 2) for place in (5, 7))
    screen = [_integer(file, place, 2) for place in (6, 8)]
    first = frame + 11 + _table_bytes(_integer(file, frame + 9, 1))
    checks = [
        tf.debugging.assert_equal(
            tf.strings.regex_full_match(tf.strings.substr(file, 0, 6), "GIF8[79]a"), True, "no GIF"
        ),
        tf.debugging.assert_equal(_integer(file, frame, 1), tf.constant(0x2C, tf.int64), "no frame"),
        _check_size(height, width),
        _check_size(screen[1], screen[0]),
    ]
    # The decoder takes the frame for the whole screen.
    corner = [_integer(file, frame + place, 2) for place in (1, 3)]
    whole = (corner[0] == 0) & (corner[1] == 0) & (width == screen[0]) & (height == screen[1])
    checks.append(tf.debugging.assert_equal(whole, True, "the first frame is a part of the screen"))
    with tf.control_dependencies(checks):
        end, blocks, inside = tf.while_loop(going_on, skip, (first, blocks, tf.constant(True)))
    with tf.control_dependencies([tf.debugging.assert_equal(inside, False, "too long")]):
        alone = tf.strings.join([tf.strings.substr(file, tf.zeros_like(end), end), b";"])
    return tf.io.decode_gif(alone)[0]


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Length of a GIF's color table, from the byte that announces it: int64 [] -> int64 []."""
    size = 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), tf.bitwise.bitwise_and(flags, 7))
    return tf.where(tf.bitwise.bitwise_and(flags, 128) > 0, size, tf.zeros_like(size))


def _integer(file: tf.Tensor, place: tf.Tensor | int, count: int, big_endian: bool = False) -> tf.Tensor:
    """The number of `count` bytes at a place, int64 []; of four bytes, little-endian, with a sign."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(file, place, count), tf.uint8), tf.int64)
    powers = [256**power for power in range(count)]
    value = tf.reduce_sum(
        tf.ensure_shape(data, [count]) * tf.constant(powers[::-1] if big_endian else powers, tf.int64)
    )
    return value - tf.where((count == 4) & (value >= 2**31), tf.constant(2**32, tf.int64), tf.constant(0, tf.int64))


def _check_size(height: tf.Tensor, width: tf.Tensor) -> tf.Operation:
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    good = (height > 0) & (width > 0) & (height <= MAX_PIXELS) & (width <= MAX_PIXELS)
    # Sides are bounded first, so that the product of two large ones cannot run over.
    return tf.debugging.assert_equal(good & (height * width <= MAX_PIXELS), True, "too many pixels")
