"""Scores that need weights: loaded from a folder or absent with a reason, on packages that the tests write
themselves."""

from __future__ import annotations

import sys

import pytest

from medcap_tf.errors import InputError
from medcap_tf.evaluation.neural import PLUGINS, Captioned, scores_with_weights

SAID = Captioned("2026", ["A 2-cm cyst", ""], ["a 3-cm cyst", ""], [None, None])

# Each writes down what it was given, and answers by a rule that a hand can follow.
PACKAGES = {
    "alignscore.py": """
class AlignScore:
    def __init__(self, **options): assert options["evaluation_mode"] == "nli_sp"
    def score(self, contexts, claims): return [0.25 if contexts != claims else 1.0]
""",
    "medcat/cat.py": """
class CAT:
    @classmethod
    def load_model_pack(cls, path): return cls()
    def get_entities(self, text):
        return {"entities": {i: {"cui": word} for i, word in enumerate(text.split())}}
""",
    "medimageinsightmodel.py": """
class MedImageInsight:
    def __init__(self, **options): pass
    def load_model(self): pass
    def encode(self, images, texts): return {"image_embeddings": [[1, 0]], "text_embeddings": [[3, 4]]}
""",
}


@pytest.fixture
def packages(tmp_path, monkeypatch):
    home = tmp_path / "packages"
    for name, text in PACKAGES.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.syspath_prepend(str(home))
    yield home
    for name in ("alignscore", "medcat", "medcat.cat", "medimageinsightmodel"):
        sys.modules.pop(name, None)


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    for name in ("alignscore/AlignScore-base.ckpt", "medcat.zip", "medimageinsight/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def test_without_a_folder_each_is_absent_with_its_reason():
    values, reasons = scores_with_weights(SAID, None)
    assert values == {} and set(reasons) == set(PLUGINS)
    assert "--weights DIR with alignscore/AlignScore-base.ckpt" in reasons["alignscore"]


def test_2021_needs_none():
    assert scores_with_weights(SAID._replace(year="2021"), None) == ({}, {})


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such folder; it should hold bertscore"):
        scores_with_weights(SAID, tmp_path / "none")


def test_each_is_loaded_from_its_place(packages, weights, tmp_path):
    image = tmp_path / "x.png"
    image.write_bytes(b"pixels")
    values, reasons = scores_with_weights(SAID._replace(images=[image, image]), weights)
    assert values == {
        "alignscore": [0.25, 1.0],  # raw text differs
        "umls_f1": [pytest.approx(1 / 3), 1.0],  # of three words each one is shared: cyst
        "similarity": [2.5 * 0.6, 0.0],  # an empty caption is like no image
    }
    assert set(reasons) == {"bertscore", "bleurt"} and "is not there" in reasons["bleurt"]


def test_similarity_needs_images(packages, weights):
    values, reasons = scores_with_weights(SAID, weights)
    assert "similarity" not in values and "needs the images" in reasons["similarity"]


def test_a_package_that_is_not_installed(weights, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in scores_with_weights(SAID, weights)[1]["umls_f1"]


def test_weights_that_cannot_be_loaded_are_named(packages, weights):
    (packages / "medcat" / "cat.py").write_text("class CAT: pass")
    with pytest.raises(InputError, match=r"medcat.zip: medcat cannot score with it \(AttributeError"):
        scores_with_weights(SAID, weights)
