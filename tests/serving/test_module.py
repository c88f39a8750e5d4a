"""The signatures of runs that leave something out: no concepts, no semantic source, another grid."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.captioner import RunCaptioner
from medcap_tf.config import Config
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.models.calibration import Calibration
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.models.retrieval import RetrievalParameters
from medcap_tf.run_folder import ConceptList
from medcap_tf.serving.answers import to_caption
from medcap_tf.serving.module import ServedCaptioner
from medcap_tf.text import Normalizer, Vocabulary

pytestmark = pytest.mark.slow

SETTINGS = {
    "visual.weights": "none", "visual.image_size": 32, "visual.layer": "conv2_block3_out", "semantic.units": 8,
    "semantic.embedding_size": 8, "semantic.attention_units": 8, "decoder.units": 8, "decoder.embedding_size": 8,
    "decoder.attention_units": 8, "decoding.max_length": 5, "text.max_words": 6,
}  # fmt: skip
CODES = ["C1", "C2", "C3"]


def built(folder, codes, **changes):
    """An untrained captioner's signatures."""
    config = Config().replace({**SETTINGS, **{name.replace("__", "."): value for name, value in changes.items()}})
    vocabulary = Vocabulary.build(["axial ct of the chest", "renal cyst"], Normalizer())
    model = CaptioningModel.build(config, len(vocabulary), len(codes))
    captioner = RunCaptioner(config, model, vocabulary, ConceptList(tuple(codes)))
    return ServedCaptioner(captioner, folder).signatures()


def png():
    return tf.io.encode_png(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).numpy()


@pytest.mark.parametrize("source", ["none", "prefix"])
def test_fewer_concepts_than_are_shown(tmp_path, source):
    signatures = built(tmp_path, CODES, decoder__semantic_source=source)
    found = signatures["explain"](tf.constant([png(), b"bad"]))
    assert found["concept"].shape == found["concept_score"].shape == (2, 3)
    assert set(found["concept"][0].numpy().tolist()) == {b"C1", b"C2", b"C3"}
    assert set(found["concept"][1].numpy().tolist()) == {b""}
    assert found["attention"].shape == (2, 5, 8, 8)
    assert found["similar"].shape == found["similar_weight"].shape == (2, 0)
    assert found["copied"].shape == (2, 5) and not found["copied"].numpy().any()


def test_without_concepts_there_is_none_to_show(tmp_path):
    signatures = built(tmp_path, [], decoder__semantic_source="none")
    for rows in ([png(), b"bad"], []):
        found = signatures["explain"](tf.constant(rows, tf.string, [len(rows)]))
        assert found["concept"].shape == found["concept_score"].shape == (len(rows), 0)
        assert not found["word_importance"].numpy().any()
        text = signatures["text"](tf.constant([b"ct"] * len(rows), tf.string, [len(rows)]))
        assert text["tokens"].shape == (len(rows), 6) and text["concept"].shape == (len(rows), 0)


def test_layers_beyond_the_cut_are_not_among_the_default_ones(tmp_path):
    found = built(tmp_path, CODES)["activations"](tf.constant([png()]))
    assert {name: value.shape.as_list() for name, value in found.items()} == {
        "valid": [1],
        "conv1_relu": [1, 16, 16, 16],
        "conv2_block3_out": [1, 8, 8, 16],
    }


def retrieving(captions=("axial ct chest", "renal cyst"), text="paper", length=5, **thresholds):
    """An untrained captioner that copies the nearest of two training images, and their captions."""
    changes = {"decoder.semantic_source": "prefix", "visual.concept_epochs": 1, "text": text}
    config = Config().replace({**SETTINGS, **changes, "decoding.max_length": length, "text.max_words": length})
    normalizer = Normalizer(config.text.stemmer, config.text.remove_stop_words, config.text.punctuation)
    vocabulary = Vocabulary.build(captions, normalizer)
    model = CaptioningModel.build(config, len(vocabulary), len(CODES))
    records = [Record(f"i{n}", None, text, (code,)) for n, (text, code) in enumerate(zip(captions, CODES))]
    own = model.encode(tf.image.resize(tf.io.decode_png(png()), [32, 32])[None]).pooled.numpy()
    near = own * np.random.default_rng(0).uniform(0.5, 1.5, own.shape)
    features = np.concatenate([near, own[:, ::-1]])
    datastore = Datastore(records, features.astype(np.float16))
    # At this temperature the nearest image alone counts.
    alone = RunCaptioner(config, model, vocabulary, ConceptList(tuple(CODES), {"image": 0.3, **thresholds}))
    return alone.with_retrieval(datastore, RetrievalParameters(0.0, 1e-4, 0.5)), captions


def test_similar_images_count_in_an_export_too(tmp_path):
    captioner, captions = retrieving()
    served = ServedCaptioner(captioner, tmp_path)
    tf.saved_model.save(served, str(tmp_path / "saved"), signatures=served.signatures())
    explain = tf.saved_model.load(str(tmp_path / "saved")).signatures["explain"]
    found = explain(image_bytes=tf.constant([png(), b"bad"]))
    (caption,) = captioner.caption_pixels([captioner.prepare(tf.io.decode_png(png()).numpy())])
    assert found["caption"].numpy().tolist() == [caption.text.encode(), b""]
    assert caption.text in captions
    code = CODES[captions.index(caption.text)]
    assert found["concept"].numpy()[0, 0] == code.encode()
    assert found["concept_score"].numpy()[0, 0] == pytest.approx(1, abs=1e-3)
    words = len(caption.words)
    np.testing.assert_allclose(found["copied"].numpy(), [[1] * words + [0] * (5 - words), [0] * 5], atol=1e-3)
    assert found["similar"].numpy()[0, 0] == caption.text.encode()
    np.testing.assert_allclose(found["similar_weight"].numpy(), [[1, 0], [0, 0]], atol=1e-3)
    assert explain(image_bytes=tf.constant([], tf.string, [0]))["caption"].shape == (0,)


def test_sentences_are_served_with_a_map_for_each_word(tmp_path):
    sentences = ("Axial T1-weighted MRI of the brain, with a mass (arrow).", "No cyst: 3.5 cm. It ends!")
    captioner, _ = retrieving(sentences, "natural", 20)
    served = ServedCaptioner(captioner, tmp_path).signatures()["explain"](tf.constant([png()]))
    told = to_caption("x.png", {key: value[0].numpy() for key, value in served.items()}, 0.5)
    (caption,) = captioner.caption_pixels([captioner.prepare(tf.io.decode_png(png()).numpy())])
    assert told.text == caption.text and told.text in sentences
    assert told.words == caption.words and told.stems == caption.stems
    assert len(told.words) == len(told.attention) == len(told.word_importance)


CALIBRATION = Calibration(
    150,
    retrieval=True,
    concepts={"slope": 0.5, "offset": -0.25},
    confidence={"weakest": 2.0, "undecided": -1.0, "offset": 0.5},
    novelty={"distance": [0.0, 0.25, 1.0]},
)


def test_confidence_and_novelty_are_served_as_the_run_has_them(tmp_path):
    captioner = retrieving(words=0.0)[0].with_calibration(CALIBRATION)
    (caption,) = captioner.caption_pixels([captioner.prepare(tf.io.decode_png(png()).numpy())])
    assert 0 < caption.confidence < 1 and 0 < caption.novelty < 100
    served = ServedCaptioner(captioner, tmp_path)
    tf.saved_model.save(served, str(tmp_path / "saved"), signatures=served.signatures())
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    assert float(loaded.concept_threshold) == pytest.approx(1 / (1 + np.exp(0.25)))  # a score of 0.5, calibrated
    for name in ("serving_default", "explain"):
        found = loaded.signatures[name](image_bytes=tf.constant([png(), b"bad"]))
        np.testing.assert_allclose(found["confidence"], [caption.confidence, 0], atol=1e-4)
        np.testing.assert_allclose(found["novelty"], [caption.novelty, 0], atol=1e-2)
    np.testing.assert_allclose(found["concept_score"][0], np.sort(caption.concept_scores)[::-1], atol=1e-4)
    row = {key: value[0].numpy() for key, value in found.items()}
    told = to_caption("x.png", row, float(loaded.concept_threshold))
    assert told.confidence == pytest.approx(caption.confidence, abs=1e-4)
    assert told.novelty == pytest.approx(caption.novelty, abs=1e-2)
    assert [code for code, _ in told.concepts] == [code for code, _ in caption.concepts]


def test_a_run_without_calibration_serves_neither(tmp_path):
    captioner, _ = retrieving()
    (caption,) = captioner.caption_pixels([captioner.prepare(tf.io.decode_png(png()).numpy())])
    assert caption.confidence is None and caption.novelty is None
    found = ServedCaptioner(captioner, tmp_path).signatures()["explain"](tf.constant([png()]))
    assert not {"confidence", "novelty"} & set(found)
    told = to_caption("x.png", {key: value[0].numpy() for key, value in found.items()}, 0.5)
    assert told.confidence is None and told.novelty is None
