"""What a model will cost, from what it cost on a part: cases worked by hand."""

import pytest

from pipelines.studies.choice.estimates import Observation, estimate

GIB = 2.0**30


def seen(train=100, dev=20, *, seconds=10.0, training=3.0, prediction=2.0, source="probe"):
    return Observation(train, dev, seconds, training, prediction, GIB, 5.0, source)


def test_what_grows_is_scaled_and_what_does_not_stays():
    # 10 - 3 - 2 s to start, ten times the training, five times the prediction.
    found = estimate([seen()], train=1000, dev=100)
    assert found.seconds == pytest.approx(5 + 30 + 10)
    assert (found.memory, found.disk, found.source) == (GIB, 5.0, "probe")


def test_reading_all_data_takes_longer_than_those_of_a_probe():
    found = estimate([seen()], train=1000, dev=100, reading=4.0)
    assert found.seconds == pytest.approx(5 + 4 + 30 + 10)
    finished = seen(source="finished run")
    assert estimate([finished], train=100, dev=20, reading=4.0).seconds == pytest.approx(10)


def test_fixed_steps_take_as_long_on_any_data():
    assert estimate([seen()], train=1000, dev=20, fixed_steps=True).seconds == pytest.approx(10)


def test_two_sizes_make_a_line():
    # 3 s at 100 and 8 s at 200 fall through 0 at 40: no such line; in proportion to the larger.
    larger = seen(200, training=8.0, source="part")
    assert estimate([larger, seen()], train=400, dev=20).seconds == pytest.approx(16 + 2)
    # 3 s at 100 and 4 s at 200 start at 2 s: 6 s at 400.
    larger = seen(200, training=4.0, source="part")
    assert estimate([larger, seen()], train=400, dev=20).seconds == pytest.approx(4 + 6 + 2)
