"""BERTScore on a small model that the test makes, where torch and transformers are installed."""

from __future__ import annotations

import math

import pytest

from medcap_tf.evaluation.bertscore import BertScorer
from medcap_tf.evaluation.neural import Captioned, scores_with_weights

pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a number cm cyst left right lung node of the".split()
REFERENCES = ["cyst of the lung", "left lung", "a node of number cm"]
CANDIDATES = ["a cyst of the left lung", "right node", "a node"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of weights with a BERT of two layers that knows ten words."""
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e '.[metrics]')")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (.[metrics])")
    place = tmp_path_factory.mktemp("weights") / "bertscore"
    place.mkdir()
    (place / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), **sizes)
    transformers.BertModel(config).eval().save_pretrained(place)
    transformers.BertTokenizer(str(place / "vocab.txt"), model_max_length=64).save_pretrained(place)
    return place.parent


def test_as_a_plugin(weights):
    said = Captioned("2026", ["Cyst of the lung.", "Left lung", ""], ["cyst of the lung", "right node", ""], [None] * 3)
    same, other, empty = scores_with_weights(said, weights)[0]["bertscore"]
    assert same == pytest.approx(1, abs=1e-5) and empty == 1
    assert 0 < other < 0.999


def test_a_text_without_words_has_nothing(weights):
    scorer = BertScorer(weights / "bertscore")
    assert scorer.f1("cyst", "") == scorer.f1("", "cyst") == 0


def test_rare_words_weigh_more(weights):
    scorer = BertScorer(weights / "bertscore", REFERENCES)
    weight = {word: scorer._weight(i) for i, word in enumerate(WORDS)}
    assert weight["lung"] == pytest.approx(math.log(4 / 3)) and weight["cyst"] == pytest.approx(math.log(4 / 2))
    assert weight["right"] == pytest.approx(math.log(4)) and weight["[CLS]"] == 0


@pytest.mark.parametrize("idf", [False, True])
def test_the_values_are_those_of_the_package(weights, idf):
    package = pytest.importorskip("bert_score", reason="bert-score is not installed")
    place = weights / "bertscore"
    theirs = package.BERTScorer(
        model_type=str(place), num_layers=2, idf=idf, idf_sents=REFERENCES if idf else None, nthreads=0
    ).score(CANDIDATES, REFERENCES)[2]
    ours = BertScorer(place, REFERENCES if idf else None)
    expected = [ours.f1(reference, candidate) for reference, candidate in zip(REFERENCES, CANDIDATES)]
    assert theirs.tolist() == pytest.approx(expected, abs=1e-5)
