"""What many workers compute is what one computes: a split's scores, and a training's features."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

from medcap_tf.config import Config
from medcap_tf.data.feature_cache import FeatureCache, fingerprint
from medcap_tf.data.records import read_dataset
from tests.cluster.namespace import PORT, loopback_alone
from tests.conftest import run_command

pytestmark = pytest.mark.slow
TWO_WORKERS = ("--address", f"127.0.0.1:{PORT}", "--workers", "2")


@pytest.fixture(scope="module")
def inside():
    """A network namespace with loopback alone, and in it a Ray node of two processors."""
    with loopback_alone() as namespace:
        namespace.start_node(head=True, processors=2)
        yield namespace


def test_a_split_has_the_scores_of_medcap_evaluate(inside, first_version, phantoms, tmp_path):
    arguments = ["evaluate", first_version / "run", "--data", phantoms, "--split", "valid", "--out"]
    run_command("-m", "medcap_tf", *arguments, tmp_path / "one")
    inside.run("-m", "medcap_tf", "cluster", *arguments, tmp_path / "two", *TWO_WORKERS)
    for name in ("predictions.csv", "concepts.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    one, two = (json.loads((tmp_path / name / "scores.json").read_text())["model"] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-4)


def test_features_are_those_that_a_training_finds(inside, first_version, phantoms, tmp_path):
    from medcap_tf.data import images
    from medcap_tf.models.visual import build_visual_encoder, packed_size

    settings = {"visual.image_size": 32, "visual.layer": "conv2_block1_out", "visual.concept_epochs": 0}
    settings |= {"visual.weights": str(encoder_file(tmp_path, settings)), "training.precision": "float32"}
    given = [f"{name}={value}" for name, value in settings.items()]
    arguments = [
        "cluster",
        "features",
        "--data",
        phantoms,
        "--out",
        tmp_path / "run",
        *TWO_WORKERS,
        "--set",
        *given,
    ]
    printed = inside.run("-m", "medcap_tf", *arguments)
    assert "features of 104 views of images, 104 of them new" in printed  # 32 in three views, and 8
    assert "104 views of images, 0 of them new" in inside.run("-m", "medcap_tf", *arguments)
    config = Config().replace(settings)
    encoder = build_visual_encoder(config.visual)
    cache = FeatureCache(tmp_path / ".features" / fingerprint([encoder], 32, False), (packed_size(encoder, None),))
    record = read_dataset(phantoms).splits["valid"][3]

    def refuse(pixels):
        raise AssertionError("computed again")

    rows = cache.fill([record], "identity", refuse, None)
    pixels = images.prepare(images.read_image(record.image_file), 32, False)
    expected = encoder(pixels[None].astype(np.float32)).numpy().reshape(1, -1)
    np.testing.assert_allclose(cache.features("identity")[rows], expected, rtol=2e-3, atol=2e-3)


def encoder_file(folder, settings):
    """Weights of an encoder that nobody has trained."""
    from medcap_tf.models.visual import build_visual_encoder

    config = Config().replace({**settings, "visual.weights": "none"})
    build_visual_encoder(config.visual).save_weights(folder / "encoder.h5")
    return folder / "encoder.h5"
