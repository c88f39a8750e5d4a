"""Each second is of one part."""

from __future__ import annotations

from medcap_tf.explain.clock import Clock


def test_what_runs_inside_a_part_counts_for_itself_alone():
    time = [0.0]
    clock = Clock(lambda: time[0])

    def made():
        for item in "ab":
            time[0] += 3
            yield item

    time[0] += 50  # of no part
    with clock.part("report"):
        time[0] += 1
        for _ in clock.each("captions", made()):
            with clock.part("pictures"):
                time[0] += 10
            time[0] += 0.5
    assert clock.seconds == {"report": 2, "captions": 6, "pictures": 20}
    assert str(clock) == "report 2.0 s, captions 6.0 s, pictures 20.0 s"
