"""The tasks: what is predicted, how it is scored, and which number decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation import Report, counts, reports, significance
from pipelines.evaluation.counts import Pairs
from pipelines.examples import Example, Fields, Prediction


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of answer.

    Attributes:
        name: the key in `TASKS` and in report.json.
        answer: the field of a `Prediction` that holds it.
        evaluate: `(examples, predictions, *, train=None, allow_missing=False) -> report`.
        primary_metric: the number that decides, as a path into the report: `strict.f1`.
        greater_is_better: its direction.
        metrics: paths of the numbers to show first, the primary one among them.
        counts: what each example adds to the sums of the primary metric, from (example, prediction)
            pairs; an array of shape (n_examples, n_counts).
        statistic: from those sums to the primary metric.
    """

    name: str
    answer: str
    evaluate: Callable[..., Report]
    primary_metric: str
    greater_is_better: bool
    metrics: tuple[str, ...]
    counts: Callable[[Pairs], np.ndarray]
    statistic: significance.Statistic

    @property
    def scale(self) -> int:
        """Scores between 0 and 1 are shown times 100, errors and perplexities as they are."""
        return 1 if self.answer == "value" else 100


SPAN_EXTRACTION = Task(
    name="span_extraction",
    answer="spans",
    evaluate=reports.evaluate_spans,
    primary_metric="strict.f1",
    greater_is_better=True,
    metrics=("strict.f1", "strict.precision", "strict.recall", "exact.f1", "partial.f1", "type.f1"),
    counts=counts.span_f1_counts,
    statistic=significance.micro_f1,
)
CLASSIFICATION = Task(
    name="sequence_classification",
    answer="label",
    evaluate=reports.evaluate_classes,
    primary_metric="accuracy",
    greater_is_better=True,
    metrics=("accuracy", "macro.f1", "weighted.f1", "matthews"),
    counts=counts.class_counts,
    statistic=significance.mean,
)
REGRESSION = Task(
    name="sequence_regression",
    answer="value",
    evaluate=reports.evaluate_values,
    primary_metric="mse",
    greater_is_better=False,
    metrics=("mse", "mae", "r2"),
    counts=counts.squared_error_counts,
    statistic=significance.mean,
)
LANGUAGE_MODELLING = Task(
    name="language_modelling",
    answer="value",
    evaluate=reports.evaluate_language_model,
    primary_metric="perplexity",
    greater_is_better=False,
    metrics=("perplexity", "perplexity_per_word"),
    counts=counts.nats_counts,
    statistic=significance.mean_perplexity,
)
TASKS = {
    task.name: task for task in (SPAN_EXTRACTION, CLASSIFICATION, REGRESSION, LANGUAGE_MODELLING)
}
# What is learnt -> its task.
TASK_OF_ANSWER = {
    "spans": SPAN_EXTRACTION,
    "label": CLASSIFICATION,
    "value": REGRESSION,
    "text": LANGUAGE_MODELLING,
}


def answer_kind(predictions: Sequence[Prediction]) -> str:
    """`spans`, `label` or `value`: the field in which predictions hold their answers.

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
        raise UserError(
            f'got predictions with {got}; wanted all of one kind: "spans", "label" or "value"'
        )
    return next(iter(first))


def task_of(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Task:
    """The task, from the kind of answers and, for numbers, from whether the gold has any.

    Numbers with `scores["tokens"]` are nats of texts, whatever the gold has.
    """
    kind = answer_kind(predictions)
    if kind == "spans":
        return SPAN_EXTRACTION
    if kind == "label":
        return CLASSIFICATION
    has_gold = any(example.label is not None for example in examples)
    if any("tokens" in (prediction.scores or {}) for prediction in predictions):
        has_gold = False  # nats of texts, whose labels are not asked for
    return REGRESSION if has_gold else LANGUAGE_MODELLING


def metric(report: Fields, path: str) -> Any:
    """The number at a path such as `strict.f1`; None where the report has none."""
    value: object = report
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def metric_name(path: str) -> str:
    """`strict.f1` as it is shown: `strict F1`."""
    return path.replace(".", " ").replace("_", " ").replace("f1", "F1")


def interval_path(path: str) -> str:
    """Where a report has the 95 % interval of the number at a path, if it has one.

    The interval of an F1 is in the row of its precision and recall.
    """
    owner, _, name = path.rpartition(".")
    return f"{owner}.interval" if owner and name == "f1" else f"{path}_interval"
