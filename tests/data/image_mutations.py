"""Image files harmed at random, and what both readers must make of them.

Axes: B files, S side of the encoder's square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from medcap_tf.data import images
from medcap_tf.errors import InputError
from medcap_tf.serving.upload import for_server, read_by_graph
from tests.data.image_files import KINDS, PNG_START, chunk, draw

SIZE = 24
Read = Callable[[list[bytes]], tuple[np.ndarray, np.ndarray]]


class Outcome(NamedTuple):
    """What became of a harmed file."""

    kind: str
    by_run: bool  # whether a run reads it
    by_graph: bool  # whether the graph reads it as it is
    same: bool  # no difference where both do


def mutate(seed: int) -> tuple[str, bytes]:
    """A file of any kind with one to eight bytes changed, or a piece cut out, doubled, cut off, or of another file."""
    rng = np.random.default_rng(seed)
    names = list(KINDS)
    kind = names[rng.integers(len(names))]
    data = bytearray(draw(kind, rng).data)
    start, stop = np.sort(rng.integers(0, len(data), 2))
    piece = bytes(data[start:stop])
    action = rng.integers(8)
    if action <= 3:
        # Headers decide most, so half of the changes are there.
        reach = len(data) if action % 2 else min(len(data), 100)
        for place in rng.integers(0, reach, rng.choice([1, 1, 2, 8])):
            data[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    elif action == 4:
        del data[start:stop]
    elif action == 5:
        data[stop:stop] = piece
    elif action == 6:
        del data[stop:]
    else:
        other = draw(names[rng.integers(len(names))], rng).data
        data[start:] = other[min(start, len(other) - 1) :]
    return kind, _with_checksums(bytes(data)) if rng.integers(2) else bytes(data)


def _with_checksums(data: bytes) -> bytes:
    """A PNG with the checksums that its chunks should have: else nothing harmed comes beyond them."""
    if not data.startswith(PNG_START):
        return data
    fixed, place = PNG_START, len(PNG_START)
    while place + 12 <= len(data):
        stop = place + 8 + int.from_bytes(data[place : place + 4], "big")
        fixed += chunk(data[place + 4 : place + 8], data[place + 8 : stop])
        place = stop + 4
    return fixed


def check_batch(batch: list[tuple[str, bytes]], read: Read, good: bytes, place: int) -> list[Outcome]:
    """Read harmed files alone and together, with a sound one at a place among them, as they are and as clients send
    them, and by a run's reader.

    Raises AssertionError where a neighbor is harmed, or the two readers hold different pixels of one file.
    """
    files = [data for _, data in batch]
    files.insert(place, good)
    pixels, valid = read(files)
    assert valid[place], "a neighbor is harmed"
    assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 255, "no pixels"
    for file, row, is_valid in zip(files, pixels, valid):
        alone, valid_alone = read([file])
        assert valid_alone[0] == is_valid and np.array_equal(alone[0], row), "a neighbor makes a difference"
    pixels, valid = np.delete(pixels, place, 0), np.delete(valid, place)
    return [_outcome(*file, row, bool(is_valid), read) for file, row, is_valid in zip(batch, pixels, valid)]


def _outcome(kind: str, data: bytes, row: np.ndarray, is_valid: bool, read: Read) -> Outcome:
    try:
        own = images.resize(images.decode_image(data, "x"), SIZE)
    except InputError:
        own = None
    try:
        (sent,), (arrives,) = read([for_server(data, "x", SIZE)])
    except InputError:
        sent, arrives = None, False
    # A broken file that the graph alone refuses costs a line that says so.
    assert own is not None or not arrives, f"{kind}: sent, what a run refuses is shown"
    assert own is None or arrives or read_by_graph(data), f"{kind}: sent, what a run reads is refused"
    assert not arrives or np.abs(sent - own).max() <= 1, f"{kind}: sent, it is shown differently"
    same = own is None or not is_valid or np.abs(row - own).max() <= 1
    # Of these, see `upload.read_by_graph`.
    assert same or not read_by_graph(data), f"{kind}: as it is, it is shown differently"
    return Outcome(kind, own is not None, is_valid, bool(same))
