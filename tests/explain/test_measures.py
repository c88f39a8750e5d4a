"""The three sentences of an audit, on figures chosen so that each must be said."""

from __future__ import annotations

from medcap_tf.explain.measures import summary

LOOKS = {"word": -0.8, "word_painted_over": -2.0, "word_equal_area": -0.8}
RATES = {"finding_attention": 0.6, "finding_grad_cam": 0.2, "finding_random": 0.02, "finding_ceiling": 0.9,
         "finding_location_prior": 0.1}  # fmt: skip


def audit(**changes):
    return {
        "erasure": LOOKS, "pointing_game": RATES, "pointing_intervals": {"attention": [0.5, 0.7]},
        "pointing_groups": {}, "word_deletion": {}, **changes,
    }  # fmt: skip


def test_a_model_that_looks_and_points():
    looks, points, rest = summary(audit())
    assert looks == (
        "The model looks at the findings: with the finding painted over, a word that names it loses 1.20 nats, with an "
        "equal area elsewhere 0.00."
    )
    assert "60% have the peak of the best map (attention) inside it, of at most 90%" in points
    assert "reaches 10%: read a peak as a hint" in points
    assert rest == "No other measure warns."


def test_a_model_that_does_not():
    looks, points, rest = summary(
        audit(
            erasure={"word": -0.8, "word_painted_over": -0.9, "word_equal_area": -0.9},
            pointing_intervals={"attention": [0.05, 0.7]},
            pointing_groups={"right words": {"attention": 0.14, "grad_cam": 0.1},
                             "wrong words": {"attention": 0.14, "grad_cam": 0.1}},
            word_deletion={"attention": 0.016, "random": 0.079},
        )
    )  # fmt: skip
    assert "hardly looks" in looks
    assert "no sign of the place" in points
    assert "right words 14%, wrong ones 14%" in rest and "the concepts lose 0.016, without random ones 0.079" in rest


def test_without_masks_it_cannot_be_told():
    looks, points, _ = summary(audit(erasure={}, pointing_game={}, pointing_intervals={}))
    assert "cannot be told" in looks and "cannot be told" in points
