import logging
from types import SimpleNamespace

import pytest

from pipelines.families.training import time_estimate
from pipelines.families.training.time_estimate import TimeEstimate


def logged(monkeypatch, caplog, *, step_seconds, max_steps, first_step=1, answered=0.0, main=True):
    """What is said in a training whose steps all take equally long."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time_estimate.time, "perf_counter", lambda: clock.now)
    caplog.set_level(logging.INFO)
    callback = TimeEstimate(answered)
    for step in range(first_step, max_steps + 1):
        clock.now += step_seconds
        state = SimpleNamespace(global_step=step, max_steps=max_steps, is_world_process_zero=main)
        callback.on_step_end(None, state, None)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # 92 steps of 2 s are left after 8 of 100; half as many texts are answered as are trained on.
        ({"max_steps": 100}, "92 steps to go: about 3.1 min, by the first 8"),
        (
            {"max_steps": 100, "answered": 0.5},
            "92 steps to go: about 3.1 min, and 1.7 min for answers, by the first 8",
        ),
        # A resumed training has done 50 before.
        ({"max_steps": 100, "first_step": 51}, "42 steps to go: about 1.4 min, by the first 8"),
    ],
)
def test_the_rest_is_estimated_once_from_the_first_steps(options, message, monkeypatch, caplog):
    assert logged(monkeypatch, caplog, step_seconds=2.0, **options) == [message]


@pytest.mark.parametrize(
    "options", [{"max_steps": 7}, {"max_steps": 12}, {"max_steps": 100, "main": False}]
)
def test_a_short_training_and_other_processes_say_nothing(options, monkeypatch, caplog):
    assert logged(monkeypatch, caplog, step_seconds=2.0, **options) == []
