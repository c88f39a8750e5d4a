"""An export as a captioner, by TensorFlow's C API; that it captions like its run is in test_export.py."""

from __future__ import annotations

import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.serving.capi import ServedModel
from medcap_tf.serving.export_captioner import ExportCaptioner
from tests.conftest import run_command


def test_it_needs_no_tensorflow_of_python_and_leaves_xla_to_others(exported, image_paths):
    code = f"""
import sys
from pathlib import Path
from medcap_tf.serving.export_captioner import ExportCaptioner
captions = list(ExportCaptioner(Path({str(exported[0] / "1")!r})).caption([{str(image_paths[0])!r}]))
print(captions[0].text and not captions[0].error)
print([name for name in sys.modules if name == "keras" or name.startswith("tensorflow.python")])
import tensorflow as tf
print(float(tf.function(lambda x: x * 2, jit_compile=True)(tf.constant(3.0))))
"""
    assert run_command("-c", code).stdout.split("\n")[:3] == ["True", "[]", "6.0"]


def test_names_and_threshold_of_earlier_exports_are_read_too(exported, image_paths, monkeypatch):
    now = ExportCaptioner(exported[0] / "1")
    monkeypatch.setattr(ServedModel, "variable", lambda self, name: None)  # all were called `Variable`
    then = ExportCaptioner(exported[0] / "1")
    assert then.concept_names == now.concept_names and now.concept_names
    concepts = [[caption.concepts for caption in one.caption(image_paths)] for one in (then, now)]
    assert concepts[0] == concepts[1] and any(concepts[1])


def test_a_variable_that_is_not_there_is_none(exported):
    model = ServedModel(exported[0] / "1", as_server=False)
    assert model.variable("no_such_variable") is None
    assert 0 < model.variable("concept_threshold") < 1


def test_what_is_no_export_says_so(tmp_path, exported):
    module = tf.Module()
    module.call = tf.function(lambda x: {"y": x * 2}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures=module.call)
    with pytest.raises(InputError, match="other: a SavedModel, but no export of this package"):
        ExportCaptioner(tmp_path / "other")
    (tmp_path / "other/saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(InputError, match="other: cannot be loaded"):
        ExportCaptioner(tmp_path / "other")
    with pytest.raises(InputError, match="decoding options are fixed"):
        ExportCaptioner(exported[0] / "1", {"decoding.beam_width": 1})
