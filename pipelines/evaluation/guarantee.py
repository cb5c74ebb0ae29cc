"""A score threshold that guarantees recall or precision on new documents, for a finite sample.

Recall is guaranteed in expectation, or with a given probability; precision, which need not rise
with the threshold, with a given probability. docs/metrics.md has formulas and assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation import Report, significance
from pipelines.evaluation.calibration import scored_spans
from pipelines.evaluation.counts import Pairs, label_set
from pipelines.evaluation.risk_control import (
    Answers,
    Goal,
    fewest_units,
    miss_rates,
    threshold_for,
)
from pipelines.evaluation.thresholds import check_scores
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.formatting import short_repr

MEASURES = ("recall", "precision")
DELTA = 0.1  # chance that a guarantee of precision fails, by default


def parse_goal(text: str, delta: float | None = None) -> Goal:
    """Reads `recall=0.95`.

    Args:
        text: a measure and its level.
        delta: the chance that the guarantee may fail. Without it recall is guaranteed in
            expectation, and precision with `DELTA`.

    Raises:
        UserError: for another measure, or a level or chance that is not between 0 and 1.
    """
    measure, _, value = text.partition("=")
    try:
        level = Decimal(value)
    except InvalidOperation:
        level = Decimal("NaN")
    if measure not in MEASURES or not level.is_finite() or not 0 < level < 1:
        raise UserError(
            f"--guarantee got {short_repr(text)}; wanted recall=LEVEL or precision=LEVEL with a "
            "level between 0 and 1, such as recall=0.95"
        )
    if delta is not None and not 0 < delta < 1:
        raise UserError(
            f"--guarantee_delta got {delta:g}; wanted a chance between 0 and 1, such as 0.1"
        )
    if measure == "precision" and delta is None:
        delta = DELTA
    # In decimals: 1 - 0.95 in binary is a little more than 0.05.
    return Goal(measure, float(level), float(1 - level), delta)


def scored_answers(pairs: Pairs, units: significance.Units, *, spans: bool) -> Answers:
    """Spans, or classes, as answers that a threshold keeps or drops.

    A span is right in the strict sense. Of classes, every one that has a score is an answer,
    predicted or not, and is right where gold has it: a threshold can keep several, or none.

    Args:
        pairs: joined by id; every answer has a score.
        units: the unit of each example.
        spans: whether answers are spans, else classes.
    """
    if spans:
        example, score, correct = _span_rows(pairs)
        gold = [len(example.spans or ()) for example, _ in pairs]
    else:
        example, score, correct = _class_rows(pairs)
        gold = [len(set(label_set(example.label))) for example, _ in pairs]
    by_unit = np.bincount(units.index, weights=gold, minlength=units.count)
    return Answers(score, correct, units.index[example], by_unit)


def _span_rows(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The example, the score and the correctness of each span, of shape (n_spans,)."""
    sizes = [len(prediction.spans or ()) for _, prediction in pairs]
    found = scored_spans(pairs)
    score, correct = (np.zeros(0), np.zeros(0, dtype=bool)) if found is None else found[:2]
    return np.repeat(np.arange(len(pairs)), sizes), score, correct


def _class_rows(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The example, the score and the correctness of each class, of shape (n_scores,)."""
    rows = []
    for position, (example, prediction) in enumerate(pairs):
        gold = set(label_set(example.label))
        scores = (prediction.scores or {}).items()
        rows += [(position, score, label in gold) for label, score in scores]
    columns = np.array(rows, dtype=float).reshape(-1, 3).T
    return columns[0].astype(np.int64), columns[1], columns[2] > 0


def _predicted_classes(pairs: Pairs, units: significance.Units, scored: Answers) -> Answers:
    """The classes that were predicted, whatever their scores."""
    rows = []
    for position, (example, prediction) in enumerate(pairs):
        gold = set(label_set(example.label))
        rows += [(position, label in gold) for label in set(label_set(prediction.label))]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    unit = units.index[columns[0]]
    return Answers(np.zeros(len(unit)), columns[1] > 0, unit, scored.gold)


def guarantee(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    goal: Goal,
    *,
    allow_missing: bool = False,
) -> Report:
    """A threshold with the guarantee of `goal`, calibrated on these examples.

    Args:
        examples: with gold answers. New documents have to be like them, and the model must not
            have been trained or chosen with them.
        predictions: spans or classes with scores, one for each example, in any order.
        goal: the measure and its level.
        allow_missing: count a missing answer as empty.

    Returns:
        `measure`, `level`, `delta`; `method`; `guaranteed`, in words; `unit`, `units` (with gold
        for recall, all for precision) and `left_out`; `threshold`, None where it is not reachable;
        `at_most`, the highest level that is reachable, where it is not; `attained` and `without`
        (a threshold): `recall` and `precision`, means over the units, the same `pooled`, and the
        number of `answers`.

    Raises:
        UserError: when an answer has no score, or with too few units for the level.
    """
    check_scores(predictions)
    is_spans = predictions[0].spans is not None
    words = "mentions" if is_spans else "classes"

    def empty_answer(id: str) -> Prediction:
        return Prediction(id, spans=()) if is_spans else Prediction(id, label=())

    allowed = empty_answer if allow_missing else None
    pairs = joined_by_id(examples, predictions, allow_missing=allowed)
    units = significance.resampling_units(examples)
    answers = scored_answers(pairs, units, spans=is_spans)
    n_units = int((answers.gold > 0).sum()) if goal.measure == "recall" else units.count
    fewest = fewest_units(goal)
    if n_units < fewest:
        which = f" with gold {words}" if goal.measure == "recall" else ""
        raise UserError(
            f"--guarantee {goal} got {n_units} {units.kind}s{which}; wanted at least {fewest}, "
            "with fewer nothing is certain even without an error: give more, or a lower level"
        )
    threshold = threshold_for(answers, goal)
    without = answers if is_spans else _predicted_classes(pairs, units, answers)
    report: Report = {
        "measure": goal.measure,
        "level": goal.level,
        "delta": goal.delta,
        "method": "conformal risk control" if goal.delta is None else "learn then test",
        "guaranteed": _in_words(goal, units.kind, words),
        "answers": words,
        "unit": units.kind,
        "units": n_units,
        "left_out": units.count - n_units,
        "threshold": threshold,
        "attained": None if threshold is None else figures(answers, threshold),
        "without": figures(without),
    }
    if threshold is None:
        report["at_most"] = _at_most(answers, goal)
    return report


def check_reached(report: Report) -> None:
    """Checks that a report without a guarantee was not asked for one.

    Raises:
        UserError: where no threshold reaches the level.
    """
    found = report.get("guarantee")
    if found and found["threshold"] is None:
        raise UserError(
            f"--guarantee {found['measure']}={found['level']:g} is not reachable by any score on "
            f"these {found['units']} {found['unit']}s: at most {found['at_most']:g}; give more "
            "of them, a better model or a lower level"
        )


def _in_words(goal: Goal, unit: str, words: str) -> str:
    of_recall = f"the mean recall of new {unit}s that have gold {words}"
    of_precision = f"the mean precision of new {unit}s in which {words} are kept"
    mean = of_recall if goal.measure == "recall" else of_precision
    if goal.delta is None:
        return f"{mean} is at least {goal.level:g} in expectation"
    return f"with probability {1 - goal.delta:g}, {mean} is at least {goal.level:g}"


def _at_most(answers: Answers, goal: Goal) -> float:
    """The highest level that these answers reach, rounded down; to percent where tests decide."""
    if goal.delta is None:
        n_units = int((answers.gold > 0).sum())
        least = miss_rates(answers).total.min(initial=n_units)
        level = 1 - float(least + 1) / (n_units + 1)
        return max(0.0, math.floor(1e4 * level) / 1e4)
    for percent in range(math.ceil(100 * goal.level) - 1, 0, -1):
        lower = parse_goal(f"{goal.measure}={percent / 100}", goal.delta)
        if threshold_for(answers, lower) is not None:
            return lower.level
    return 0.0


def figures(answers: Answers, threshold: float = -math.inf) -> Report:
    """Recall and precision of the answers that a threshold keeps; None where there is no mean."""
    kept = answers.score >= threshold
    unit, correct, n_units = answers.unit[kept], answers.correct[kept], len(answers.gold)
    right = np.bincount(unit, weights=correct, minlength=n_units)
    given = np.bincount(unit, minlength=n_units)
    return {
        "recall": _mean_share(right, answers.gold),
        "precision": _mean_share(right, given),
        "pooled": {
            "recall": _share(right.sum(), answers.gold.sum()),
            "precision": _share(right.sum(), given.sum()),
        },
        "answers": int(kept.sum()),
    }


def _mean_share(parts: np.ndarray, wholes: np.ndarray) -> float | None:
    there = wholes > 0
    return float(np.mean(parts[there] / wholes[there])) if there.any() else None


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
