"""The picture of confidence: what its two panels show."""

from __future__ import annotations

import numpy as np
from PIL import Image

from medcap_tf.evaluation.calibration import Bins, Judged
from medcap_tf.evaluation.reliability import reliability_figure, write_reliability

JUDGED = Judged(
    np.array([0.95, 0.95, 0.25, 0.25]),
    np.array([True, True, False, True]),
    Bins.of(np.array([0.9, 0.1] * 4), np.array([True, False] * 4)),
)


def test_bins_stand_at_their_share_and_risk_ends_at_that_of_all():
    reliability, coverage = reliability_figure(JUDGED).axes
    captions, concepts = reliability.lines[1:]
    np.testing.assert_allclose(captions.get_xydata(), [[0.25, 0.5], [0.95, 1.0]])
    np.testing.assert_allclose(concepts.get_xydata(), [[0.1, 0.0], [0.9, 1.0]])
    assert [text.get_text() for text in reliability.get_legend().get_texts()] == [
        "4 captions: error 0.150",
        "8 concepts: error 0.100",
    ]
    np.testing.assert_allclose(coverage.lines[1].get_ydata(), [0, 0, 1 / 6, 0.25])
    np.testing.assert_allclose(coverage.lines[2].get_ydata(), [0, 0, 0, 0.25], atol=1e-9)


def test_it_is_written_where_everybody_is_right_too(tmp_path):
    write_reliability(tmp_path / "calibration.png", JUDGED._replace(right=np.ones(4, bool)))
    with Image.open(tmp_path / "calibration.png") as picture:
        assert picture.size[0] > 1000
