"""Rows and records to images, broken ones among them."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="the extra `cluster` is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from medcap_tf.caption import EncodedImage
from medcap_tf.cluster.reading import chunks_of, find_columns
from medcap_tf.cluster.sources import Unit, find_units
from medcap_tf.data.images import to_array
from medcap_tf.errors import InputError
from medcap_tf.serving.upload import read_for_server

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    import cv2

    path = tmp_path_factory.mktemp("png") / "a.png"
    cv2.imwrite(str(path), PIXELS[..., ::-1])
    return path


def items(source):
    return [item for chunk in chunks_of(find_units(str(source)), 2) for item in chunk]


def errors(items):
    found = []
    for item in items:
        try:
            assert (to_array(item.image) == PIXELS).all()
            found.append("")
        except InputError as error:
            found.append(str(error))
    return found


def test_bytes_of_parquet_rows_are_images(png, tmp_path):
    data = png.read_bytes()
    table = pa.table({"Image ID": ["x", "y", None, "z"], "bytes": [data, None, data, b"broken"]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = items(tmp_path / "a.parquet")
    third = f"{tmp_path}/a.parquet#0/2"
    assert [item.name for item in found] == ["x", "y", third, "z"]
    first, second, named, last = errors(found)
    assert first == named == "" and second == "y: holds no bytes of an image"
    assert last.startswith("z: not a readable image")
    assert read_for_server(found[0].image) == data


def test_paths_of_parquet_rows_start_from_its_folder(png, tmp_path):
    (tmp_path / "a.png").write_bytes(png.read_bytes())
    pq.write_table(pa.table({"path": ["a.png", str(png)]}), tmp_path / "a.parquet")
    found = items(tmp_path / "a.parquet")
    assert [item.name for item in found] == [f"{tmp_path}/a.png", str(png)]
    assert errors(found) == ["", ""]


def test_images_of_hugging_face_tables_are_read(png, tmp_path):
    image = {"bytes": png.read_bytes(), "path": "a.png"}
    pq.write_table(pa.table({"image": [image], "caption": ["a"]}), tmp_path / "a.parquet")
    assert errors(items(tmp_path / "a.parquet")) == [""]


def test_a_table_without_images_names_its_columns():
    with pytest.raises(InputError, match=r"a: no column of images' bytes or paths; .*\(columns: caption, bytes\)"):
        find_columns("a", pa.schema([("caption", pa.string()), ("bytes", pa.float32())]))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_records_of_tensorflow_are_images(png, tmp_path, suffix):
    import tensorflow as tf

    def record(**values):
        features = {key.replace("_", "/"): [value] for key, value in values.items()}
        lists = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for key, value in features.items()}
        return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()

    data = png.read_bytes()
    path = tmp_path / f"a.tfrecord{suffix}"
    with tf.io.TFRecordWriter(str(path), "GZIP" if suffix else "") as writer:
        writer.write(record(image_encoded=data, image_filename=b"first.png"))
        writer.write(b"\xff\xff no example")
        writer.write(record(image_encoded=data))
    found = items(path)
    assert [item.name for item in found] == ["first.png", f"{path}#1", f"{path}#2"]
    first, second, third = errors(found)
    assert first == third == "" and "no tf.train.Example" in second
    whole = gzip.decompress(path.read_bytes()) if suffix else path.read_bytes()
    cut = tmp_path / "cut.tfrecord"
    cut.write_bytes(whole[:-9])
    assert errors(items(cut))[2].startswith(f"{cut}: cannot be read on (breaks off in a record of")


def test_what_is_gone_is_an_image_that_cannot_be_read(png, tmp_path):
    units = [Unit(str(tmp_path / "gone.parquet"), 0, 9), Unit(f"local://{tmp_path}/gone.png"), Unit(f"local://{png}")]
    (found,) = chunks_of(units, 9)
    assert isinstance(found[1].image, EncodedImage)
    gone, other, last = errors(found)
    assert "gone.parquet: cannot be read on" in gone and "gone.png: cannot be read" in other and last == ""
