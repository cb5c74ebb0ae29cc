"""The tasks there are: what is predicted, how it is scored, and which number decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation import reports, significance
from pipelines.examples import Example, Prediction


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of answer.

    Attributes:
        name: the key in ``TASKS`` and in report.json.
        answer: the field of a ``Prediction`` that holds it.
        evaluate: ``(examples, predictions, *, train=None, allow_missing=False) -> report``.
        primary_metric: the number that decides, as a path into the report: ``strict.f1``.
        greater_is_better: its direction.
        metrics: paths of the numbers to show first, the primary one among them.
        counts: what each example adds to the sums of the primary metric, from (example, prediction) pairs; an array of
            shape (n_examples, n_counts).
        statistic: from those sums to the primary metric.
    """

    name: str
    answer: str
    evaluate: Callable[..., dict[str, Any]]
    primary_metric: str
    greater_is_better: bool
    metrics: tuple[str, ...]
    counts: Callable[[reports.Pairs], np.ndarray]
    statistic: significance.Statistic

    @property
    def scale(self) -> int:
        """Scores between 0 and 1 are shown times 100, errors and perplexities as they are."""
        return 1 if self.answer == "value" else 100


TASKS = {task.name: task for task in (
    Task("span_extraction", "spans", reports.evaluate_spans, "strict.f1", True,
         ("strict.f1", "strict.precision", "strict.recall", "exact.f1", "partial.f1", "type.f1"),
         reports.span_f1_counts, significance.micro_f1),
    Task("sequence_classification", "label", reports.evaluate_classes, "accuracy", True,
         ("accuracy", "macro.f1", "weighted.f1", "matthews"), reports.class_counts, significance.mean),
    Task("sequence_regression", "value", reports.evaluate_values, "mse", False,
         ("mse", "mae", "r2"), reports.squared_error_counts, significance.mean),
    Task("language_modelling", "value", reports.evaluate_language_model, "perplexity", False,
         ("perplexity", "perplexity_per_word"), reports.nats_counts, reports.mean_perplexity),
)}


def answer_kind(predictions: Sequence[Prediction]) -> str:
    """``spans``, ``label`` or ``value``: the field in which predictions hold their answers.

    Raises:
        UserError: when they are of several kinds.
    """
    first: dict[str, str] = {}
    for prediction in predictions:
        for name in ("spans", "label", "value"):
            if getattr(prediction, name) is not None:
                first.setdefault(name, prediction.id)
    if len(first) != 1:
        got = " and ".join(f"{name} (id {id})" for name, id in first.items()) or "no answers"
        raise UserError(f'got predictions with {got}; wanted all of one kind: "spans", "label" or "value"')
    return next(iter(first))


def task_of(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Task:
    """Tells the task from the kind of answers and, where these are numbers, from whether the gold holds any."""
    kind = answer_kind(predictions)
    if kind == "value":
        labelled = any(example.label is not None for example in examples)
        return TASKS["sequence_regression" if labelled else "language_modelling"]
    return TASKS["span_extraction" if kind == "spans" else "sequence_classification"]


def metric(report: dict[str, Any], path: str) -> Any:
    """The number at a path such as ``strict.f1``; None where the report has none."""
    value: Any = report
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def metric_name(path: str) -> str:
    """``strict.f1`` as it is shown: strict F1."""
    return path.replace(".", " ").replace("f1", "F1")


def interval_path(path: str) -> str:
    """Where a report has the 95 % interval of the number at a path, if it has one: F1 shares its row with it."""
    owner, _, name = path.rpartition(".")
    return f"{owner}.interval" if owner and name == "f1" else f"{path}_interval"
