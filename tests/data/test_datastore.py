"""The training images that a run keeps: told by content where it is known, and read as they were written."""

from __future__ import annotations

import numpy as np

from medcap_tf.data.datastore import Datastore, key_without_image
from medcap_tf.data.records import Record
from medcap_tf.run_folder import RunFolder

CAPTIONS = ("chest film shows effusion", "chest scan shows nodule", "brain scan shows rare tumor")
RECORDS = [Record(f"i{n}", None, text, codes) for n, (text, codes) in enumerate(zip(CAPTIONS, (("A",), ("B",), ())))]
FEATURES = np.array([[1, 0], [0.36, 0.64], [0, 1]], np.float16)


def test_datastores_without_contents_go_by_id_and_caption():
    datastore = Datastore(RECORDS, FEATURES)
    assert datastore.contents().tolist() == [0, 1, 2]
    others = [RECORDS[1], Record("i1", None, "another caption", ()), Record("other", None, CAPTIONS[1], ())]
    assert datastore.numbers_of([key_without_image(record) for record in others]).tolist() == [1, -1, -1]


def test_datastores_are_read_as_they_were_written(tmp_path):
    for images in ((), ["x", "y", "x"]):
        Datastore(RECORDS, FEATURES, images).save(RunFolder(tmp_path))
        again = Datastore.load(RunFolder(tmp_path))
        assert (again.records, list(again.images)) == (RECORDS, list(images))
