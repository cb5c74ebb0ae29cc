"""What a model will cost, from what it cost on a part: cases worked by hand."""

from types import SimpleNamespace

import pytest

from pipelines.examples import Example
from pipelines.studies.choice import results
from pipelines.studies.choice.climb import Climb
from pipelines.studies.choice.estimates import Observation, estimate, observed

GIB = 2.0**30


def seen(train=100, dev=20, *, seconds=10.0, training=3.0, prediction=2.0, source="probe"):
    return Observation(train, dev, seconds, training, prediction, GIB, 5.0, source)


def test_what_grows_is_scaled_and_what_does_not_stays():
    # 10 - 3 - 2 s to start, ten times the training, five times the prediction.
    found = estimate([seen()], train=1000, dev=100)
    assert found.seconds == pytest.approx(5 + 30 + 10)
    assert (found.memory, found.disk, found.source) == (GIB, 5.0, "probe")


def test_evaluations_within_training_grow_with_dev():
    # Of 8 s of training 6 are two evaluations: 12 - 8 - 1 s to start, 2 and 7 s to be scaled.
    cost = {"seconds": {"training": 8.0, "predict_dev": 1.0}, "peak_memory": GIB}
    log = [{"loss": 1.0}, {"eval_runtime": 2.0}, {"eval_runtime": 4.0}]
    probe = observed(cost, log, seconds=12.0, train=100, dev=20, disk=5.0, source="probe")
    assert (probe.training, probe.evaluation, probe.prediction) == (2.0, 6.0, 1.0)
    assert estimate([probe], train=1000, dev=40).seconds == pytest.approx(3 + 20 + 14)


def test_reading_all_data_takes_longer_than_those_of_a_probe():
    found = estimate([seen()], train=1000, dev=100, reading=4.0)
    assert found.seconds == pytest.approx(5 + 4 + 30 + 10)
    finished = seen(source="finished run")
    assert estimate([finished], train=100, dev=20, reading=4.0).seconds == pytest.approx(10)


def climb_of(observations, finished):
    """A climb that has seen `observations` of its rungs, of which some are finished."""
    rungs = [SimpleNamespace(name=name) for name in observations]
    plan = SimpleNamespace(
        rungs=rungs, run_of=lambda rung: SimpleNamespace(is_finished=lambda: rung.name in finished)
    )
    progress = SimpleNamespace(observations=observations)
    return SimpleNamespace(plan=plan, progress=progress, observed=lambda rung: finished[rung.name])


def test_what_reading_takes_is_the_median_over_finished_models():
    # To start and read: 5 s in each probe; 8, 6 and 12 s with all data.
    probes = {name: [seen()] for name in "abcd"} | {"part": [seen(source="part")]}
    whole = {name: seen(seconds=start + 5) for name, start in zip("abc", (8, 6, 12), strict=True)}
    assert Climb.reading(climb_of(probes, whole | {"part": seen(seconds=99)})) == 3
    assert Climb.reading(climb_of(probes, {})) == 0
    # A machine that has become faster takes no time back.
    assert Climb.reading(climb_of(probes, {"a": seen(seconds=6)})) == 0


@pytest.mark.parametrize(
    ("timed", "expected"), [({"predict_dev": 2.0}, 1e5), ({"training": 3.0}, None)]
)
def test_a_prediction_that_was_not_timed_is_not_free(timed, expected, monkeypatch):
    monkeypatch.setattr(results, "_energy", lambda *_: None)
    plan = SimpleNamespace(splits={"dev": [Example(str(i), "a") for i in range(20)]}, rungs=[])
    report = {"cost": {"seconds": timed}}
    rung = SimpleNamespace(recipe="a recipe")
    cost = results._cost(SimpleNamespace(plan=plan), rung, seen(), report, [])
    assert cost["seconds_per_million"] == expected


def test_fixed_steps_take_as_long_on_any_data():
    assert estimate([seen()], train=1000, dev=20, fixed_steps=True).seconds == pytest.approx(10)


def test_two_sizes_make_a_line():
    # 3 s at 100 and 8 s at 200 fall through 0 at 40: no such line; in proportion to the larger.
    larger = seen(200, training=8.0, source="part")
    assert estimate([larger, seen()], train=400, dev=20).seconds == pytest.approx(16 + 2)
    # 3 s at 100 and 4 s at 200 start at 2 s: 6 s at 400.
    larger = seen(200, training=4.0, source="part")
    assert estimate([larger, seen()], train=400, dev=20).seconds == pytest.approx(4 + 6 + 2)
