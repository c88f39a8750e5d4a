"""The served signatures keep the promises of names, types and shapes, whatever stands beside them in a batch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medcap_tf.caption import shares_of
from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.images import read_image
from medcap_tf.explain.attribution import Attributor, LayerReader
from medcap_tf.phantoms import CONCEPTS

pytestmark = pytest.mark.slow

T, REGIONS, K, M, SIZE, WORDS = 12, (8, 8), 10, 3, 32, 40
FIVE = {
    "caption": ((), object),
    "stems": ((), object),
    "score": ((), np.float32),
    "length": ((), np.int32),
    "valid": ((), np.bool_),
}
REASONS = {
    "tokens": ((T,), object),
    "word_importance": ((T,), np.float32),
    "concept": ((K,), object),
    "concept_name": ((K,), object),
    "concept_score": ((K,), np.float32),
}
PROMISED = {
    "serving_default": FIVE,
    "image": FIVE,
    "explain": {
        **FIVE,
        **REASONS,
        "attention": ((T, *REGIONS), np.float32),
        "evidence": ((T, 16, 16), np.float32),  # the finer grid
        "image_share": ((T,), np.float32),
        "copied": ((T,), np.float32),
        "similar": ((M,), object),
        "similar_weight": ((M,), np.float32),
    },
    "activations": {
        "valid": ((), np.bool_),
        "conv1_relu": ((16, 16, 16), np.float32),
        "conv2_block3_out": ((8, 8, 16), np.float32),
    },
    "text": {
        **REASONS,
        "tokens": ((WORDS,), object),
        "word_importance": ((WORDS,), np.float32),
    },
}


@pytest.fixture(scope="module")
def files(image_paths):
    return [path.read_bytes() for path in image_paths]


@pytest.fixture(scope="module")
def own(small_run, image_paths):
    """What the run itself says of the same images."""
    return list(RunCaptioner.load(small_run).caption(image_paths))


def request_of(signature, files, count):
    if signature == "image":
        return np.random.default_rng(0).uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32), "image"
    if signature == "text":
        return ([b"axial ct of the chest", b"", b"effusion"] * count)[:count], "caption"
    return (files * count)[:count], "image_bytes"


@pytest.mark.parametrize("count", [0, 1, 3, 32])
@pytest.mark.parametrize("signature", PROMISED)
def test_names_types_and_shapes(server, files, signature, count):
    found = server.ask(signature, *request_of(signature, files, count))
    assert set(found) == set(PROMISED[signature])
    for name, (shape, dtype) in PROMISED[signature].items():
        assert found[name].shape == (count, *shape), name
        # An array of no strings arrives as such over gRPC too.
        assert found[name].dtype == dtype, name


def test_signatures_json_says_the_same(exported):
    described = json.loads((exported[0] / "signatures.json").read_text())
    assert described["model"] == "medcap" and described["version"] == 1
    types = {object: "string", np.float32: "float32", np.int32: "int32", np.bool_: "bool"}
    for signature, outputs in PROMISED.items():
        found = described["signatures"][signature]["outputs"]
        assert found == {
            name: {"dtype": types[dtype], "shape": [None, *shape]} for name, (shape, dtype) in outputs.items()
        }


def test_served_captions_are_the_runs_own(server, files, own):
    found = server.ask("explain", files)
    assert any(caption.words for caption in own)
    assert [text.decode() for text in found["caption"]] == [caption.text for caption in own]
    assert [text.decode() for text in found["stems"]] == [" ".join(caption.stems) for caption in own]
    np.testing.assert_allclose(found["score"], [caption.score for caption in own], atol=1e-3)
    for row, caption in enumerate(own):
        length = len(caption.words)
        assert found["length"][row] == length
        assert [token.decode() for token in found["tokens"][row][:length]] == list(caption.stems)
        np.testing.assert_allclose(found["attention"][row][:length], caption.attention, atol=1e-3)
        np.testing.assert_allclose(shares_of(found["evidence"][row][:length]), caption.evidence, atol=1e-3)
        np.testing.assert_allclose(found["image_share"][row][:length], caption.image_share, atol=1e-3)
        np.testing.assert_allclose(found["word_importance"][row][:length], caption.word_importance, atol=1e-3)
        scores = dict(zip([code.decode() for code in found["concept"][row]], found["concept_score"][row]))
        for code, score in caption.concepts[:K]:
            assert scores[code] == pytest.approx(score, abs=1e-3)
        names = [name.decode() for name in found["concept_name"][row]]
        assert names == [CONCEPTS[code] for code in scores]


def test_served_reasons_tell_what_was_copied_and_from_whom_as_the_run_does(server, files, small_run, image_paths):
    captioner = RunCaptioner.load(small_run)
    assert captioner.model.retriever is not None
    attributor = Attributor(captioner)
    found = server.ask("explain", files)
    assert found["copied"].max() > 0
    for row, caption in enumerate(captioner.caption(image_paths)):
        pixels = captioner.prepare(read_image(caption.path))
        length = len(caption.words)
        share = attributor.words(pixels, caption.tokens).retrieval_share
        np.testing.assert_allclose(found["copied"][row][:length], share, atol=1e-3)
        assert not found["copied"][row][length:].any()
        near = captioner.model.retriever.retrieve(captioner.pooled_features(pixels[None]))
        np.testing.assert_allclose(found["similar_weight"][row], near.weight[0, :M], atol=1e-3)
        nearest = captioner.datastore.records[int(near.rows[0, 0])]
        # As the model reads it: stop words left out, each word in its most frequent form.
        read = captioner.vocabulary.decode(captioner.vocabulary.encode(nearest.caption))
        assert found["similar"][row][0].decode().split() == captioner.vocabulary.readable(read)


def test_attention_and_importance_sum_to_one_up_to_the_length(server, files):
    found = server.ask("explain", files)
    assert found["length"].max() > 0
    for row, length in enumerate(found["length"]):
        np.testing.assert_allclose(found["attention"][row, :length].sum((1, 2)), 1, atol=1e-5)
        assert not found["attention"][row, length:].any()
        assert found["word_importance"][row].sum() == pytest.approx(1 if length else 0, abs=1e-5)
        assert not found["word_importance"][row, length:].any()
        assert set(found["tokens"][row, length:]) <= {b""}
        assert (np.diff(found["concept_score"][row]) <= 0).all()


@pytest.mark.parametrize("signature", ["serving_default", "explain", "activations"])
def test_an_unreadable_file_costs_its_own_row(server, files, signature):
    alone = server.ask(signature, files[:2])
    found = server.ask(signature, [files[0], b"no image", files[1]])
    assert found["valid"].tolist() == [True, False, True]
    for name, value in found.items():
        if value.dtype == object:
            assert value[[0, 2]].tolist() == alone[name].tolist()
            assert set(value[1:2].ravel()) == {b""}
        else:
            np.testing.assert_allclose(value[[0, 2]], alone[name], atol=1e-3)
            assert not value[1].any()


def test_values_that_are_no_pixels_cost_their_own_row(server):
    image = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    image[1, 3, 3, 0], image[2, 0, 0, 0], image[3, 9, 9, 1] = np.nan, 256, -1
    found = server.ask("image", image, "image")
    assert found["valid"].tolist() == [True, False, False, False]
    assert found["score"][1:].tolist() == [0, 0, 0]
    assert found["caption"][0] == server.ask("image", image[:1], "image")["caption"][0]


def test_image_and_image_bytes_agree(server, small_run, image_paths, files):
    from medcap_tf.data.images import read_image

    captioner = RunCaptioner.load(small_run)
    pixels = np.stack([captioner.prepare(read_image(path)) for path in image_paths]).astype(np.float32)
    found = server.ask("image", pixels, "image")
    assert found["caption"].tolist() == server.ask("serving_default", files)["caption"].tolist()


def test_merged_requests_answer_as_they_would_alone(server, files):
    """What the server's batcher does: requests of several clients become one, bad ones beside good ones."""
    requests = [files[:1], [b"junk"], files[1:4], [b"", files[4]]]
    merged = server.ask("serving_default", [file for request in requests for file in request])
    alone = [server.ask("serving_default", request) for request in requests]
    for name in ("caption", "stems", "length", "valid"):
        assert merged[name].tolist() == np.concatenate([found[name] for found in alone]).tolist()
    np.testing.assert_allclose(merged["score"], np.concatenate([found["score"] for found in alone]), atol=1e-4)


def test_activations_are_the_strongest_channels(server, small_run, image_paths, files):
    from medcap_tf.data.images import read_image

    captioner = RunCaptioner.load(small_run)
    pixels = captioner.prepare(read_image(image_paths[0]))[None]
    wanted = LayerReader(captioner, ["conv2_block3_out"]).read(pixels[0])["conv2_block3_out"]
    best = np.argsort(-np.abs(wanted).mean((0, 1)), kind="stable")[:16]
    found = server.ask("activations", files[:1])["conv2_block3_out"][0]
    np.testing.assert_allclose(found, wanted[..., best], rtol=1e-2, atol=1e-2)


def test_text_is_read_as_the_run_reads_it(server, small_run):
    captioner = RunCaptioner.load(small_run)
    caption = "axial ct of the chest"
    tokens = np.array([captioner.vocabulary.encode(caption)], np.int32)
    scores, importance = Attributor(captioner).predict_concepts(tokens)
    found = server.ask("text", [caption.encode()], "caption")
    count = tokens.shape[1]
    assert [t.decode() for t in found["tokens"][0, :count]] == [captioner.vocabulary.stems[i] for i in tokens[0]]
    np.testing.assert_allclose(found["word_importance"][0, :count], importance[0], atol=1e-4)
    np.testing.assert_allclose(found["concept_score"][0], np.sort(scores[0])[::-1][:K], atol=1e-4)
