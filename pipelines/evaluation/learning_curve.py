"""Learning curves as `choice.json` holds them, and what they say in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.evaluation import significance
from pipelines.evaluation.curve_fit import (
    FARTHEST,
    NOT_REACHABLE,
    TOO_FAR,
    Curve,
    Needed,
    Point,
    fit_curve,
)
from pipelines.evaluation.significance import Statistic
from pipelines.evaluation.tasks import Task
from pipelines.examples import Example, JsonObject, Prediction, joined_by_id

__all__ = ["Curve", "Needed", "Point", "curve_json", "fit_curve", "point_of", "sentence"]

LARGEST_FITTED = 0.5  # fraction; the check predicts the whole from points up to this one
BAND_POINTS = 16  # of the drawn line, up to the last point and beyond it


def point_of(
    task: Task,
    dev: Sequence[Example],
    predictions: Sequence[Prediction],
    training: Sequence[Example],
    *,
    fraction: float,
    run: str = "",
) -> Point:
    """Scores the predictions of a model on dev.

    Args:
        task: its primary metric is the score; greater has to be better.
        dev: with gold answers.
        predictions: of a model that was trained on `training`.
        training: the subset of the training examples.
        fraction: of all training examples.
        run: the folder of the run.
    """
    counts = task.counts(joined_by_id(dev, predictions))
    units = significance.resampling_units(dev)
    low, high = significance.bootstrap_interval(counts, task.statistic, units)
    has_mentions = any(example.spans is not None for example in training)
    return Point(
        fraction=fraction,
        examples=len(training),
        score=float(task.statistic(counts.sum(axis=0))),
        counts=units.sums(counts),
        interval=(low, high),
        mentions=sum(len(e.spans or ()) for e in training) if has_mentions else None,
        run=run,
    )


def curve_json(
    points: Sequence[Point],
    goal: float | None,
    *,
    title: str,
    statistic: Statistic | None = None,
) -> JsonObject:
    """Fits a curve and returns what `choice.json` holds of it, under `curves`.

    Args:
        points: of one model, in any order.
        goal: the score to reach, between 0 and 1, or None.
        title: the name of the model, for the sentence.
        statistic: of the task, as for `fit_curve`.

    Returns:
        - `points`: ascending, each with `fraction`, `examples`, `mentions` (None for classes),
          `score`, `interval` and `run`;
        - `law`: `a`, `b` and `c` of `error(n) = a + b · n^-c`, and `fixed`: what of it was not
          fitted, and why, or an empty string;
        - `doubled`: what twice the examples of the last point would give: `examples`, `score` and
          `interval`;
        - `needed`: for the goal: `examples`, and the `interval` of that number, whose upper end is
          None beyond 20 times the examples of the last point. None without a goal, and where
          `reason` says why there is no number;
        - `check`: the score at fraction 1 as `predicted` from the points up to one half, with its
          `interval`, the `actual` score and whether it is `inside`. None where fraction 1 or two
          such points are missing;
        - `band`: the fitted line from the first point to twice the last: each `examples`, `score`
          and `interval`;
        - `sentence`: see `sentence`.

        With fewer than two points, `law`, `doubled` and `check` are None too, and `band` is empty.

    Raises:
        DataError: as `fit_curve`.
    """
    points = sorted(points, key=lambda point: point.examples)
    written: JsonObject = {"points": [_point_json(point) for point in points]}
    if len(points) < 2:
        reason = f"a learning curve needs two points or more, and there are {len(points)}"
        nothing = dict.fromkeys(("law", "doubled", "needed"))
        return written | {
            **nothing,
            "reason": reason,
            "check": None,
            "band": [],
            "sentence": f"{title}: {reason}.",
        }
    curve = fit_curve(points, statistic=statistic)
    needed, reason = (None, "") if goal is None else curve.examples_for(goal)
    law = {name: float(getattr(curve.law, name)[0]) for name in "abc"}
    return written | {
        "law": law | {"fixed": curve.fixed},
        "doubled": _forecast_json(curve, 2 * points[-1].examples),
        "needed": needed and {"examples": needed.examples, "interval": [needed.low, needed.high]},
        "reason": reason,
        "check": _check(points, statistic),
        "band": [_forecast_json(curve, n) for n in _drawn_sizes(points)],
        "sentence": sentence(curve, title, goal),
    }


def _drawn_sizes(points: Sequence[Point]) -> list[int]:
    first, last = points[0].examples, points[-1].examples
    up_to_last = np.geomspace(first, last, BAND_POINTS).round()
    beyond = np.geomspace(last, 2 * last, BAND_POINTS).round()
    return [int(n) for n in np.unique([*up_to_last, *beyond])]


def _point_json(point: Point) -> JsonObject:
    return {
        "fraction": point.fraction,
        "examples": point.examples,
        "mentions": point.mentions,
        "score": point.score,
        "interval": list(point.interval) if point.interval else None,
        "run": point.run,
    }


def _forecast_json(curve: Curve, examples: int) -> JsonObject:
    score, low, high = curve.predict(examples)
    return {"examples": examples, "score": score, "interval": [low, high]}


def _check(points: Sequence[Point], statistic: Statistic | None) -> JsonObject | None:
    """Whether the score with all examples lies where the points up to one half predict it."""
    fitted = [point for point in points if point.fraction <= LARGEST_FITTED]
    whole = [point for point in points if point.fraction == 1]
    if len(fitted) < 2 or not whole:
        return None
    score, low, high = fit_curve(fitted, statistic=statistic).predict(whole[0].examples)
    actual = whole[0].score
    return {
        "predicted": score,
        "interval": [low, high],
        "actual": actual,
        "inside": low <= actual <= high,
    }


def sentence(curve: Curve, title: str, goal: float | None = None) -> str:
    """What the curve says, with its own numbers; scores times 100.

    For example: `CRF: 81.7 with 5,432 examples; twice as many would give 83.9 [82.0, 85.5]; 85.0
    needs about 14,000 [9,500, more than 110,000].`
    """
    last = curve.last
    score, low, high = curve.predict(2 * last.examples)
    said = [f"{title}: {_score(last.score)} with {last.examples:,} examples"]
    if curve.is_flat:
        said.append(_flat_clause(curve))
    forecast = f"twice as many would give {_score(score)} [{_score(low)}, {_score(high)}]"
    said.append(forecast)
    if goal is not None:
        said.append(_goal_clause(curve, goal))
    return "; ".join(said) + "."


def _flat_clause(curve: Curve) -> str:
    first = curve.points[0]
    verb = "falls" if curve.last.score < first.score else "is flat"
    return (
        f"the curve {verb}, from {_score(first.score)} with {first.examples:,}, so that nothing "
        "says that more examples would help"
    )


def _goal_clause(curve: Curve, goal: float) -> str:
    needed, reason = curve.examples_for(goal)
    if needed is None:
        if reason == TOO_FAR:
            return f"{_score(goal)} needs {TOO_FAR}"
        highest = "" if curve.is_flat else f", whose limit is {_score(1 - float(curve.law.a[0]))}"
        return f"{_score(goal)} is {NOT_REACHABLE}{highest}"
    if curve.is_flat:
        return f"{_score(goal)} is reached"
    high = f"more than {_about(FARTHEST * curve.last.examples)}"
    if needed.high is not None:
        high = _about(needed.high)
    numbers = f"about {_about(needed.examples)} [{_about(needed.low)}, {high}]"
    return f"{_score(goal)} needs {numbers}"


def _score(score: float) -> str:
    return f"{100 * score:.1f}"


def _about(number: int) -> str:
    """A number of examples with two digits, as sure as it is."""
    return f"{float(f'{number:.2g}'):,.0f}"
