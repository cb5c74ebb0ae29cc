"""Says when a network still gives the same answer to everything after an epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import TrainerCallback

from pipelines.evaluation.thresholds import decision_scores
from pipelines.examples import Example
from pipelines.families.training.dev_scores import SPAN_METRICS

logger = logging.getLogger(__name__)


class MajorityWatch(TrainerCallback):
    """Logs each evaluation of dev at which the scores are those of one and the same answer.

    Args:
        scores: what each such answer has on dev, by the names of `DevScores.score`.
        does: what a network that gives it does, in words.
    """

    def __init__(self, scores: Sequence[Mapping[str, float]], does: str):
        self.scores, self.does = scores, does

    def on_evaluate(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Compares the scores of dev."""
        metrics: Mapping[str, float] = keywords.get("metrics") or {}
        if any(_are_reached(scores, metrics) for scores in self.scores):
            logger.warning(
                "after %.3g epochs the network %s: train longer, or take another --learning_rate "
                "or --init",
                state.epoch or 0,
                self.does,
            )


def _are_reached(scores: Mapping[str, float], metrics: Mapping[str, float]) -> bool:
    reached = {name: metrics.get(f"eval_{name}") for name in scores}
    return all(
        value is not None and math.isclose(value, scores[name], abs_tol=1e-9)
        for name, value in reached.items()
    )


def watch_mentions(dev: Sequence[Example]) -> list[MajorityWatch]:
    """Watches for a tagger that calls every word O; nothing where that is right."""
    if not any(example.spans for example in dev):
        return []
    scores = dict.fromkeys(SPAN_METRICS, 0.0)
    return [MajorityWatch([scores], "still finds no mention of dev")]


def watch_classes(labels: Sequence[str], targets: np.ndarray) -> list[MajorityWatch]:
    """Watches for a classifier that gives all texts one class, mostly the most frequent one.

    Args:
        labels: the C classes.
        targets: class indices of dev, (N,); for several classes a text nothing is watched.
    """
    if targets.ndim > 1 or len(set(targets.tolist())) < 2:
        return []
    scores = []
    for index in range(len(labels)):
        logits = np.zeros((len(targets), len(labels)))  # (N, C)
        logits[:, index] = 1.0
        scores.append(decision_scores(logits, targets))
    return [MajorityWatch(scores, "still gives all texts of dev the same class")]
