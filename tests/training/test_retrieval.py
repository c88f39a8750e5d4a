"""How much similar images count is chosen on validation captions: a decoder that knows nothing is better off with them,
and one that writes the references needs none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medcap_tf.captioner import RunCaptioner
from medcap_tf.data.datastore import Datastore
from medcap_tf.data.records import Record
from medcap_tf.models.retrieval import RetrievalParameters
from medcap_tf.run_folder import ConceptList
from medcap_tf.text import Normalizer, Vocabulary
from medcap_tf.training.retrieval import Trial, choose_retrieval
from tests.network import PIXELS, VOCABULARY, build_network

CAPTIONS = ["left kidney cyst stone", "right lung mass", "left kidney cyst mass"]
CODES = ("C1", "C2", "C3")


@pytest.fixture(scope="module")
def captioner():
    model, config = build_network(decoding__batch_size=2)
    vocabulary = Vocabulary.build([*CAPTIONS, *CAPTIONS, "liver liver"], Normalizer())
    assert len(vocabulary) == VOCABULARY
    return RunCaptioner(config, model, vocabulary, ConceptList(CODES, {"image": 0.5}))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Three images with captions and concepts."""
    folder = tmp_path_factory.mktemp("images")
    for row, pixels in enumerate(PIXELS):
        cv2.imwrite(str(folder / f"{row}.png"), pixels[..., ::-1])
    pairs = zip(CAPTIONS, [("C1",), ("C2",), ("C1", "C3")])
    return [Record(f"image{row}", folder / f"{row}.png", *pair) for row, pair in enumerate(pairs)]


def test_the_same_images_with_their_captions_beat_a_decoder_that_knows_nothing(captioner, records):
    datastore = Datastore(records, captioner.pooled_features(PIXELS).astype(np.float16), ["a", "b", "c"])
    trials = choose_retrieval(captioner, datastore, records, count=3)
    assert len(trials) == 10 and trials[0].parameters is None
    best = max(trials, key=lambda trial: trial.score)
    assert best.parameters is not None and best.score > trials[0].score
    assert all(0 < trial.parameters.concept_threshold < 1 for trial in trials[1:])


def test_parameters_are_counted_from_the_nearest_image_in_steps_of_the_spread(captioner, records):
    datastore = Datastore(records, captioner.pooled_features(PIXELS).astype(np.float16), ["a", "b", "c"])
    trials = choose_retrieval(captioner, datastore, records, count=3)
    tried = [trial.parameters for trial in trials[1:]]
    # Every image is in the datastore, so that the nearest has similarity 1; the third is the furthest that there is.
    unit = (tried[6].decoder_similarity - tried[3].decoder_similarity) / 0.75
    expected = [1 + level * unit for level in (-0.5, 0, 0.75) for _ in range(3)]
    assert [p.decoder_similarity for p in tried] == pytest.approx(expected, abs=1e-3)
    assert [p.temperature / unit for p in tried] == pytest.approx([0.25, 0.5, 1] * 3, rel=1e-3)
    assert unit >= 1e-3


def test_captions_that_tie_in_bleu_are_told_apart_by_cider():
    parameters = RetrievalParameters(0.9, 0.1, 0.5)
    assert max([Trial(None, 0.0, 0.5), Trial(parameters, 0.0, 0.7)], key=lambda t: t.score).parameters is parameters
    assert Trial(None, 0.25, 1.0).score == 0.35
