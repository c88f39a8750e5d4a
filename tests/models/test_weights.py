"""Weights go to disk and come back, part by part; files that do not fit are named."""

from __future__ import annotations

import numpy as np
import pytest

from medcap_tf.errors import InputError
from medcap_tf.models.weights import load_weights, save_weights
from tests.network import build_network


def weights(model):
    return {part: [w.copy() for w in keras_model.get_weights()] for part, keras_model in model.parts().items()}


def zero(model):
    for part in model.parts().values():
        part.set_weights([np.zeros_like(w) for w in part.get_weights()])


def same(one, other):
    return {part for part in one if all((a == b).all() for a, b in zip(one[part], other[part], strict=True))}


@pytest.fixture
def model():
    return build_network()[0]


def test_all_parts_come_back(model, tmp_path):
    before = weights(model)
    save_weights(model, tmp_path / "best")
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        "concept_head.h5", "decoder.h5", "encoder.h5", "semantic.h5",
    ]  # fmt: skip
    zero(model)
    load_weights(model, tmp_path / "best")
    assert same(before, weights(model)) == set(before)


def test_only_the_parts_that_are_named_are_written_and_read(model, tmp_path):
    before = weights(model)
    save_weights(model, tmp_path, ["semantic", "encoder"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.h5", "semantic.h5"]
    zero(model)
    load_weights(model, tmp_path, ["semantic"])
    assert same(before, weights(model)) == {"semantic"}


def test_a_file_that_is_there_is_replaced(model, tmp_path):
    (tmp_path / "semantic.h5").write_text("of before")
    save_weights(model, tmp_path, ["semantic"])
    load_weights(model, tmp_path, ["semantic"])


def test_a_missing_file_says_that_the_run_is_not_finished(model, tmp_path):
    with pytest.raises(InputError, match=r"semantic\.h5: no such file; .* train it with --resume"):
        load_weights(model, tmp_path, ["semantic"])


def test_weights_of_another_size_are_refused(model, tmp_path):
    save_weights(model, tmp_path, ["concept_head", "semantic"])
    wider, _ = build_network(semantic__units=9)
    with pytest.raises(InputError, match=r"semantic\.h5: does not fit the run's config\.json \(.*shape"):
        load_weights(wider, tmp_path, ["semantic"])


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_is_no_hdf5_is_named(model, tmp_path, content):
    (tmp_path / "semantic.h5").write_bytes(content)
    with pytest.raises(InputError, match=r"semantic\.h5: does not fit"):
        load_weights(model, tmp_path, ["semantic"])


def test_an_hdf5_file_without_weights_is_named(model, tmp_path):
    import h5py

    h5py.File(tmp_path / "semantic.h5", "w").close()
    with pytest.raises(InputError, match=r"semantic\.h5: does not fit"):
        load_weights(model, tmp_path, ["semantic"])


def test_a_file_that_was_cut_off_is_named(model, tmp_path):
    save_weights(model, tmp_path, ["semantic"])
    whole = (tmp_path / "semantic.h5").read_bytes()
    (tmp_path / "semantic.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"semantic\.h5: does not fit"):
        load_weights(model, tmp_path, ["semantic"])
