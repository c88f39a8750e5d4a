"""A run and an export that the first version made are read, and caption as they did."""

from __future__ import annotations

import json

import pytest

import medcap_tf
from tests.conftest import run_command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", ["run", "served/medcap"])
def test_captions_are_those_of_the_first_version(first_version, model):
    captioner = medcap_tf.load(first_version / model)
    for expected in json.loads((first_version / "captions.json").read_text()):
        caption = captioner.caption(first_version / "images" / expected["image"])
        assert caption.text == expected["caption"]
        assert caption.score == pytest.approx(expected["score"], abs=1e-3)
        found, known = dict(caption.concepts), dict(expected["concepts"])
        assert found.keys() == known.keys()
        assert all(found[code] == pytest.approx(known[code], abs=1e-3) for code in known)


def test_its_settings_are_read_under_their_old_names(first_version):
    image = next((first_version / "images").iterdir())
    done = run_command("-m", "medcap_tf", "caption", first_version / "run", image, "--neighbours", 0)
    assert done.stdout.startswith(str(image))
    config = json.loads((first_version / "run" / "config.json").read_text())["config"]
    assert config["decoding"]["neighbours"] == 8
    assert medcap_tf.Config().replace({"decoding.neighbours": 5}).decoding.neighbors == 5


def test_it_can_be_explained_and_audited_as_ever(first_version, tmp_path):
    captioner = medcap_tf.load(first_version / "run")
    explanation = captioner.explain(first_version / "images" / "test00000.png")
    assert explanation.similar and explanation.retrieval_share.max() > 0
    assert explanation.report(tmp_path).stat().st_size > 10_000
