"""Training for a number of minutes: the learning rate ends where the time does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from pipelines.errors import UserError
from pipelines.families.training import TrainerMixin
from pipelines.formatting import seconds

logger = logging.getLogger(__name__)


class TimeBudget(TrainerMixin):
    """Ends training after some minutes, if it is not over before.

    The schedule of the learning rate goes on by steps or by time, whichever is further: it warms up
    and falls within the minutes.

    Args:
        max_minutes: of training, over all its sessions; None for no limit.
        spent: seconds of earlier sessions.
    """

    def __init__(
        self,
        *arguments: Any,
        max_minutes: float | None = None,
        spent: float = 0.0,
        **keywords: Any,
    ):
        super().__init__(*arguments, **keywords)
        self.stop_after = None
        if max_minutes is not None:
            check_minutes(max_minutes, processes=self.args.world_size)
            self.stop_after = StopAfter(60 * max_minutes, spent=spent)
            self.add_callback(self.stop_after)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The library's schedule, hurried where time is shorter than the steps.

        Raises:
            UserError: for a schedule that is no function of the step.
        """
        is_new = self.lr_scheduler is None
        scheduler: Any = super().create_scheduler(num_training_steps, optimizer)
        if self.stop_after is None or not is_new:
            return scheduler
        if not isinstance(scheduler, LambdaLR):
            raise UserError(
                f"got --lr_scheduler_type {self.args.lr_scheduler_type} with --max_minutes; wanted "
                "a schedule of steps, such as linear or cosine"
            )
        scheduler.lr_lambdas = [
            _hurried(rate, self.stop_after, num_training_steps) for rate in scheduler.lr_lambdas
        ]
        return scheduler


def _hurried(rate: Callable[[int], float], clock: StopAfter, steps: int) -> Callable[[int], float]:
    return lambda step: rate(max(step, int(clock.share() * steps)))


class StopAfter(TrainerCallback):
    """Stops a training when its time is over.

    Args:
        budget: seconds.
        spent: seconds of earlier sessions.
    """

    def __init__(self, budget: float, *, spent: float = 0.0):
        self.budget, self.spent = budget, spent
        self.begin: float | None = None

    def share(self) -> float:
        """Of the budget that is used up, at most 1."""
        now = 0.0 if self.begin is None else time.monotonic() - self.begin
        return min(1.0, (self.spent + now) / self.budget)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Begins to count."""
        self.begin = time.monotonic()
        logger.info("training ends after %s at the latest", seconds(self.budget))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Stops at the first step after the time."""
        if self.share() >= 1:
            control.should_training_stop = True
            logger.info(
                "stopped by --max_minutes after %d of %d steps", state.global_step, state.max_steps
            )


def check_minutes(max_minutes: float, *, processes: int = 1) -> None:
    """Refuses a budget of no minutes, and one that several processes would each measure alone."""
    if max_minutes <= 0:
        raise UserError(f"got --max_minutes {max_minutes:g}; wanted a number above 0")
    if processes > 1:
        raise UserError(
            f"got --max_minutes with {processes} processes, whose clocks differ; take --max_steps"
        )
