"""Several runs on the same examples: the mean and spread over seeds, and the paired test of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.evaluation import Report, significance
from pipelines.evaluation.label_audit import label_audit
from pipelines.evaluation.tasks import Task, interval_path, metric
from pipelines.examples import Example, Prediction, joined_by_id


def evaluate_runs(
    task: Task, examples: Sequence[Example], runs: Sequence[Sequence[Prediction]], **options: object
) -> Report:
    """Reports the mean of several runs of one recipe, such as its seeds.

    Args:
        task: what is predicted.
        examples: with gold answers.
        runs: the predictions of each run.
        options: go to the task's `evaluate`.

    Returns:
        The report of one run with the mean over the runs for each number; the interval of the mean
        primary metric over resampled documents; `spread` (mean, standard deviation with n − 1,
        least and greatest of the task's metrics); `warnings` with the number of their run;
        `label_audit` (span extraction); and the `runs`' own reports.
    """
    reports = [task.evaluate(examples, run, **options) for run in runs]
    summary = _mean(reports)
    summary["spread"] = {}
    for path in task.metrics:
        summary["spread"][path] = _spread([metric(report, path) for report in reports])
    summary["warnings"] = []
    for number, report in enumerate(reports, start=1):
        sentences = report.get("warnings", ())
        summary["warnings"] += [f"run {number}: {sentence}" for sentence in sentences]
    allow_missing = _empty_answer if options.get("allow_missing") else None
    pairs = [joined_by_id(examples, run, allow_missing=allow_missing) for run in runs]
    counts = np.hstack([task.counts(joined) for joined in pairs])
    units = significance.resampling_units(examples)
    *owner, name = interval_path(task.primary_metric).split(".")
    row = metric(summary, owner[0]) if owner else summary
    row[name] = significance.bootstrap_interval(counts, _mean_metric(task, len(runs)), units)
    if task.name == "span_extraction":
        answers = [[prediction for _, prediction in joined] for joined in pairs]
        summary["label_audit"] = label_audit(examples, answers)
    return summary | {"runs": reports}


def _mean_metric(task: Task, runs: int) -> significance.Statistic:
    """The mean of the primary metric over runs, from their sums side by side."""

    def mean_metric(sums: np.ndarray) -> np.ndarray:
        return task.statistic(sums.reshape(*sums.shape[:-1], runs, -1)).mean(axis=-1)

    return mean_metric


def _empty_answer(id: str) -> Prediction:
    return Prediction(id, spans=(), label=())


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, within dicts; other values are kept where all agree, else left out."""
    if all(isinstance(value, dict) for value in values):
        common = [name for name in values[0] if all(name in value for value in values)]
        means = {name: _mean([value[name] for value in values]) for name in common}
        return {name: mean for name, mean in means.items() if mean is not None}
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, int | float) for value in values):
        return float(np.mean(values))
    return None


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return {
        "mean": float(np.mean(known)),
        "sd": float(np.std(known, ddof=1)),
        "min": min(known),
        "max": max(known),
    }


def compare_predictions(
    task: Task,
    examples: Sequence[Example],
    a: Sequence[Prediction],
    b: Sequence[Prediction],
    *,
    alpha: float = 0.05,
) -> Report:
    """Tests whether two systems differ in the task's primary metric on the same examples.

    Args:
        task: what is predicted.
        examples: with gold answers.
        a: predictions of the first system.
        b: predictions of the second.
        alpha: significance level.

    Returns:
        `metric`; `a` and `b`, the scores; `delta` = a − b with its bootstrap `interval`; `test` and
        its `p`: McNemar's for classes, approximate randomisation for the rest; `p_bootstrap`; the
        resampled `unit` and the number of `units`; `better`: "a", "b", or None where the difference
        is not significant: when p is not under `alpha` or the interval includes zero.

    Raises:
        DataError: when ids do not fit the examples.
    """
    counts_a, counts_b = (task.counts(joined_by_id(examples, answers)) for answers in (a, b))
    return compare_counts(task, examples, counts_a, counts_b, alpha=alpha)


def compare_counts(
    task: Task,
    examples: Sequence[Example],
    counts_a: np.ndarray,
    counts_b: np.ndarray,
    *,
    alpha: float = 0.05,
) -> Report:
    """As `compare_predictions`, of what each example adds to the sums of the primary metric.

    Args:
        counts_a: of the first system, (n_examples, n_counts); the mean of those of several seeds,
            where the metric is a mean over examples.
        counts_b: of the second.
    """
    units = significance.resampling_units(examples)
    bootstrap = significance.paired_bootstrap(
        counts_a, counts_b, task.statistic, units, confidence=1 - alpha
    )
    if task.answer == "label":
        test = "mcnemar"
        p = significance.mcnemar(counts_a[:, 0] > 0, counts_b[:, 0] > 0)
    else:
        test = "approximate_randomisation"
        p = significance.approximate_randomisation(counts_a, counts_b, task.statistic, units)
    return _tested(task, task.statistic, counts_a, counts_b) | _verdict(
        task, bootstrap, units, test=test, p=p, alpha=alpha
    )


def _tested(
    task: Task, statistic: significance.Statistic, counts_a: np.ndarray, counts_b: np.ndarray
) -> Report:
    """What was compared: the metric, and the scores of both systems."""
    a, b = (float(statistic(counts.sum(axis=0))) for counts in (counts_a, counts_b))
    return {"metric": task.primary_metric, "a": a, "b": b}


def _verdict(
    task: Task,
    bootstrap: Report,
    units: significance.Units,
    *,
    test: str,
    p: float,
    alpha: float,
) -> Report:
    """The difference, its test, and which of two systems is better, if either is."""
    low, high = bootstrap["interval"]
    better = None
    if p < alpha and not low <= 0 <= high:
        better = "a" if (bootstrap["delta"] > 0) == task.greater_is_better else "b"
    return {
        "delta": bootstrap["delta"],
        "interval": bootstrap["interval"],
        "test": test,
        "p": p,
        "p_bootstrap": bootstrap["p"],
        "unit": units.kind,
        "units": units.count,
        "better": better,
    }


def compare_seeds(
    task: Task,
    examples: Sequence[Example],
    a: Sequence[Sequence[Prediction]],
    b: Sequence[Sequence[Prediction]],
    *,
    alpha: float = 0.05,
) -> Report:
    """Tests whether two systems differ in the mean of the primary metric over their seeds.

    The answers of all seeds to a unit are resampled, or swapped, together. So the test says what
    other examples would change, with the runs as they are; what other seeds would change is seen
    from the spread of the scores.

    Args:
        task: what is predicted.
        examples: with gold answers.
        a: predictions of the first system with each seed.
        b: predictions of the second, with the same seeds in the same order.
        alpha: significance level.

    Returns:
        As `compare_predictions`, whose result it is for a single seed.

    Raises:
        DataError: when ids do not fit the examples.
        ValueError: for other seeds on one side.
    """
    if len(a) != len(b):
        raise ValueError(f"got {len(a)} and {len(b)} runs; wanted one a seed on both sides")
    if len(a) == 1:
        return compare_predictions(task, examples, a[0], b[0], alpha=alpha)
    counts_a, counts_b = (
        np.hstack([task.counts(joined_by_id(examples, answers)) for answers in runs])
        for runs in (a, b)
    )
    units, statistic = significance.resampling_units(examples), _mean_metric(task, len(a))
    bootstrap = significance.paired_bootstrap(
        counts_a, counts_b, statistic, units, confidence=1 - alpha
    )
    p = significance.approximate_randomisation(counts_a, counts_b, statistic, units)
    return _tested(task, statistic, counts_a, counts_b) | _verdict(
        task, bootstrap, units, test="approximate_randomisation", p=p, alpha=alpha
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusts p values of several tests for their number (Holm 1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def pareto_front(points: Sequence[tuple[str, float, float]]) -> list[str]:
    """Names of the points that no other beats: at least as good and as cheap, and better in one.

    Args:
        points: name, cost (less is better) and quality (more is better).
    """
    front = []
    for name, cost, quality in points:
        others = [(c, q) for _, c, q in points if (c, q) != (cost, quality)]
        if not any(c <= cost and q >= quality for c, q in others):
            front.append(name)
    return front
