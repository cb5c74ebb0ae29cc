"""Training for a number of minutes: it stops, and the learning rate has fallen by then."""

from types import SimpleNamespace

import pytest
import torch
from tiny_training import SIZES, rows
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from pipelines.errors import UserError
from pipelines.families.training import time_budget
from pipelines.families.training.time_budget import TimeBudget


class TimedTrainer(TimeBudget, Trainer):
    """The library's trainer with a limit of time."""


def trained(tmp_path, monkeypatch, *, step_seconds, options=None, **keywords):
    """The learning rates after each step, in steps that all take equally long."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: clock.now)
    rates = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **found):
            clock.now += step_seconds
            rates.append(found["lr_scheduler"].get_last_lr()[0])

    defaults = {"max_steps": 20, "learning_rate": 0.01, "save_strategy": "no", "use_cpu": True}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        report_to="none",
        disable_tqdm=True,
        **{**defaults, **(options or {})},
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SIZES))
    TimedTrainer(
        model=model, args=arguments, train_dataset=rows(), callbacks=[Clock()], **keywords
    ).train()
    return rates


def test_it_stops_when_the_time_is_over_and_the_rate_falls_until_then(tmp_path, monkeypatch):
    rates = trained(tmp_path, monkeypatch, step_seconds=10.0, max_minutes=1)
    # After step k the clock shows k - 1 times ten seconds of the minute.
    wanted = [0.01 * min(1 - (step - 1) / 6, 1 - step / 20) for step in range(1, 7)]
    assert rates == pytest.approx(wanted, abs=0.01 / 20)


def test_the_seconds_of_earlier_sessions_count(tmp_path, monkeypatch):
    rates = trained(tmp_path, monkeypatch, step_seconds=10.0, max_minutes=1, spent=30.0)
    assert len(rates) == 3
    assert rates[0] == pytest.approx(0.005, abs=0.01 / 20)


def test_a_short_training_is_as_without_a_limit(tmp_path, monkeypatch):
    options = {"options": {"max_steps": 5, "warmup_steps": 2}, "step_seconds": 0.01}
    limited = trained(tmp_path, monkeypatch, max_minutes=1, **options)
    assert limited == trained(tmp_path, monkeypatch, **options)
    assert len(limited) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_minutes": 0}, "got --max_minutes 0; wanted a number above 0"),
        ({"max_minutes": 1, "processes": 2}, "with 2 processes, whose clocks differ"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        time_budget.check_minutes(**arguments)


def test_a_schedule_that_is_no_function_of_the_step_is_refused(tmp_path, monkeypatch):
    options = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}
    more = {"eval_dataset": rows(), "max_minutes": 1}
    with pytest.raises(UserError, match="wanted a schedule of steps"):
        trained(tmp_path, monkeypatch, step_seconds=1.0, options=options, **more)
