"""Stopping when dev no longer improves, also over an interruption."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from transformers import EarlyStoppingCallback

from pipelines.examples import Example

logger = logging.getLogger(__name__)


class EarlyStopping(EarlyStoppingCallback):
    """The library's callback, which counts on from the checkpoint that training resumes from."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        super().on_train_begin(args, state, control, **keywords)
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes", {})
        self.early_stopping_patience_counter = saved.get("early_stopping_patience_counter", 0)


def choose_on_dev(
    training: Any, dev: Sequence[Example], patience: int | None
) -> list[EarlyStopping]:
    """Turns evaluation off where there is no dev, and returns the callback that stops early.

    Args:
        training: the `TrainingArguments`, changed in place where dev is not scored.
        patience: evaluations without improvement until training stops; None = never. Where dev is
            not scored it has no effect, which is logged.
    """
    if dev and training.eval_strategy != "no":
        return [EarlyStopping(patience)] if patience else []
    if patience:
        reason = "--eval_strategy no" if dev else "there is no dev"
        logger.info("--early_stopping_patience %d has no effect: %s", patience, reason)
    training.eval_strategy, training.load_best_model_at_end = "no", False
    return []
