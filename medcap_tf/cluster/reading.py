"""Units of work to images, a chunk at a time: files, rows of Parquet files, records of TFRecord files."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medcap_tf.caption import EncodedImage, ImageInput
from medcap_tf.cluster.sources import PATH_COLUMNS, Unit
from medcap_tf.cluster.storage import filesystem, is_local, join, read_bytes
from medcap_tf.data.columns import normalize_names
from medcap_tf.errors import InputError

# In letters and digits alone; the first that holds bytes counts. `image/encoded` is TensorFlow's own name.
_BYTES = ("bytes", "imagebytes", "imageencoded", "encoded", "image", "content", "data", "jpg", "jpeg", "png")
_NAMES = ("imagefilename", "key", *PATH_COLUMNS)
_FRAME = struct.Struct("<QI")  # length of a record and its checksum


class Item(NamedTuple):
    """One image to caption."""

    name: str  # what its row is found by
    image: ImageInput


def chunks_of(units: Sequence[Unit], size: int) -> Iterator[list[Item]]:
    """The images of units in order, `size` at most at a time; what cannot be read is an image that cannot be read."""
    items = (item for unit in units for item in _items(unit))
    while chunk := list(islice(items, size)):
        yield chunk


def _items(unit: Unit) -> Iterator[Item]:
    if unit.is_image:
        yield _file(unit.path)
        return
    try:
        yield from _records(unit.path) if unit.is_tfrecord else _rows(unit)
    # struct.error and EOFError: it breaks off; DecodeError of protobuf is no ValueError, and is a record's own.
    except (OSError, EOFError, struct.error, pa.ArrowException, InputError) as error:
        reason = " ".join(str(error).split())
        known = isinstance(error, InputError)
        yield _broken(unit.path, reason if known else f"{unit.path}: cannot be read on ({reason})")


def _file(path: str) -> Item:
    return Item(path, path if is_local(path) else EncodedImage(path, partial(read_bytes, path)))


def _broken(name: str, reason: str) -> Item:
    def read() -> bytes:
        raise InputError(reason)

    return Item(name, EncodedImage(name, read))


def _encoded(name: str, data: bytes | None) -> Item:
    if not data:
        return _broken(name, f"{name}: holds no bytes of an image")
    return Item(name, EncodedImage(name, lambda: data))


def _rows(unit: Unit) -> Iterator[Item]:
    """Of one row group; paths in it start from the file's folder."""
    files, place = filesystem(unit.path)
    with files.open_input_file(place) as opened:
        file = pq.ParquetFile(opened)
        content, path = find_columns(unit.path, file.schema_arrow)
        columns = [name for name in (content, path) if name]
        row = 0
        for batch in file.iter_batches(32, row_groups=[unit.group], columns=columns):
            for values in batch.to_pylist():
                # Other tables' IDs need not be paths, and two rows may share one: the place stands for what has none.
                name = str(values.get(path) or f"{unit.path}#{unit.group}/{row}")
                yield _encoded(name, _bytes_of(values[content])) if content else _listed(unit.path, name)
                row += 1


def _listed(table: str, name: str) -> Item:
    return _file(join(table.rpartition("/")[0], name))


def _bytes_of(value: Any) -> bytes | None:
    """A cell's bytes; Hugging Face's tables keep them beside the path."""
    return value.get("bytes") if isinstance(value, dict) else value


def find_columns(path: str, schema: pa.Schema) -> tuple[str | None, str | None]:
    """The columns of bytes and of names; raises InputError where there are neither bytes nor paths."""
    names = [(normalize_names([field.name]) or [""])[0] for field in schema]

    def first(wanted: Sequence[str], fits: Any) -> str | None:
        places = (names.index(name) for name in wanted if name in names)
        return next((schema.field(i).name for i in places if fits(schema.field(i).type)), None)

    content, named = first(_BYTES, _holds_bytes), first(_NAMES, _holds_text)
    if content is None and named is None:
        raise InputError(f"{path}: no column of images' bytes or paths; name one `bytes` or `path` "
                         f"(columns: {', '.join(schema.names)})")  # fmt: skip
    return content, named


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)


def _records(path: str) -> Iterator[Item]:
    """Of `tf.train.Example`s. Read here and not by TensorFlow, which knows no addresses but its own."""
    import tensorflow as tf

    files, place = filesystem(path)
    with files.open_input_stream(place, compression="gzip" if ".gz" in path else None) as opened:
        for row, record in enumerate(_framed(opened)):
            place_in_file = f"{path}#{row}"
            try:
                features = tf.train.Example.FromString(record).features.feature
            except Exception as error:  # protobuf's DecodeError, which lies elsewhere in each of its versions
                yield _broken(place_in_file, f"{place_in_file}: no tf.train.Example ({error})")
                continue
            values = {(normalize_names([key]) or [""])[0]: value.bytes_list.value for key, value in features.items()}
            name = next((values[key][0].decode(errors="replace") for key in _NAMES if values.get(key)), "")
            data = next((values[key][0] for key in _BYTES if values.get(key)), None)
            yield _encoded(name or place_in_file, data)


def _framed(file: Any) -> Iterator[bytes]:
    """The records of a TFRecord file: length, checksum, bytes, checksum, as TensorFlow writes them."""
    while head := file.read(_FRAME.size):
        (length, _) = _FRAME.unpack(head)
        record = file.read(length)
        if len(record) < length or len(file.read(4)) < 4:
            raise EOFError(f"breaks off in a record of {length} bytes")
        yield record
