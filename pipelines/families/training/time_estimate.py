"""Says at the start of a training how long it will take on this machine."""

from __future__ import annotations

import logging
import time
from typing import Any

from transformers import TrainerCallback

from pipelines.formatting import seconds

SKIPPED, TIMED = 2, 6  # steps: the first ones compile and fill the caches
WORTH_SAYING = 20.0  # seconds
logger = logging.getLogger(__name__)


class TimeEstimate(TrainerCallback):
    """Times the first steps, and logs what the rest will take if it goes on like that.

    Args:
        answered: texts that the run answers for each one trained on. A text is supposed to take as
            long to be answered as to be trained on once: there is no backward pass, but its answer
            is written token by token.
    """

    def __init__(self, answered: float = 0.0):
        self.answered = answered
        self.steps, self.start = 0, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Counts the steps of this process; a resumed training is timed anew."""
        self.steps += 1
        if self.steps == SKIPPED:
            self.start = time.perf_counter()
        if self.steps == SKIPPED + TIMED and state.is_world_process_zero:
            step = (time.perf_counter() - self.start) / TIMED
            left = state.max_steps - state.global_step
            self._say(left, training=step * left, answering=step * state.max_steps * self.answered)

    def _say(self, steps: int, *, training: float, answering: float) -> None:
        if training + answering < WORTH_SAYING:
            return
        answers = f", and {seconds(answering)} for answers" if answering else ""
        logger.info(
            "%d steps to go: about %s%s, by the first %d",
            steps,
            seconds(training),
            answers,
            SKIPPED + TIMED,
        )
