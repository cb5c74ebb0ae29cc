"""Scores of classes as predictions.

For every family that classifies, with a network or without: so it imports no library of networks,
which take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.thresholds import decide
from pipelines.examples import Example, Prediction


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """How texts are encoded and classes are decided.

    Attributes:
        labels: the classes, in the order of the logits.
        multi_label: whether a text may have several classes, or none.
        max_length: tokens of a text, or of a pair together; the end of a longer one is cut off.
        offsets: added to the logits of the classes: each class's threshold, in log-odds.
    """

    labels: tuple[str, ...]
    multi_label: bool = False
    max_length: int = 512
    offsets: tuple[float, ...] | None = None


def predictions_from(
    examples: Sequence[Example], logits: np.ndarray, settings: ClassifierSettings
) -> list[Prediction]:
    """Classes and probabilities from logits (N, C)."""
    decided = decide(logits, settings.offsets, multi_label=settings.multi_label)
    probabilities = _probabilities(logits.astype(np.float64), settings.multi_label)
    names = np.array(settings.labels)
    predictions = []
    for example, row, values in zip(examples, decided, probabilities.tolist(), strict=True):
        label = tuple(names[row].tolist()) if settings.multi_label else str(names[row])
        scores = {name: round(p, 6) for name, p in zip(settings.labels, values, strict=True)}
        predictions.append(Prediction(example.id, label=label, scores=scores))
    return predictions


def _probabilities(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    if multi_label:
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
