"""A cheap model answers every text, an expensive one only those where the cheap one is unsure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation import significance
from pipelines.evaluation.tasks import Task
from pipelines.examples import Example, JsonObject, Prediction, joined_by_id

MOST_POINTS = 50
EVERY_TEXT = 1.01  # a threshold above any certainty
RULE = (
    "The chosen point is the cheapest one whose score is not below the lower end of the expensive "
    "run's own 95 % interval, even at the lower end of the 95 % interval of the paired difference "
    "between the two."
)


def certainty(prediction: Prediction) -> float | None:
    """How sure a model is of its answer to a text, between 0 and 1; None where nothing says so.

    - A generator's answer that was cut off or could not be read: 0.
    - Spans: what the prediction says of the whole text (`Prediction.certainty`, of taggers: the
      least probability of a chosen tag, so that a mention that was nearly found counts). Without
      it the least score of a span: then a text without spans has no certainty, and `certainties`
      counts it as sure.
    - A class: its score. Several classes a text: the least, over the classes, of the probability
      of what was decided, max(p, 1 - p).
    """
    if prediction.status not in (None, "ok"):
        return 0.0
    if prediction.certainty is not None:
        return prediction.certainty
    if prediction.spans is not None:
        scores = [span.score for span in prediction.spans if span.score is not None]
        return min(scores) if scores else None
    if not prediction.scores:
        return None
    if isinstance(prediction.label, tuple):
        return min(max(score, 1 - score) for score in prediction.scores.values())
    return prediction.scores.get(str(prediction.label))


def certainties(predictions: Sequence[Prediction]) -> np.ndarray:
    """The certainty of each prediction, of shape (n_predictions,); 1 where nothing says how sure.

    Raises:
        UserError: when no prediction has one, or one is not between 0 and 1.
    """
    known = [certainty(prediction) for prediction in predictions]
    if predictions and all(value is None for value in known):
        raise UserError(
            "the cheap run's answers have no scores, so nothing says where it is unsure; take one "
            "that gives scores"
        )
    values = np.array([1.0 if value is None else value for value in known])
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        prediction = predictions[int(wrong[0])]
        raise UserError(
            f"id {prediction.id}: a certainty of {values[wrong[0]]}; wanted a score between 0 and 1"
        )
    return values


def goes_on(prediction: Prediction, threshold: float) -> bool:
    """Whether the expensive model decides: the cheap one's certainty is below the threshold."""
    value = certainty(prediction)
    return (1.0 if value is None else value) < threshold


def cascaded(
    cheap: Sequence[Prediction], expensive: Sequence[Prediction], threshold: float
) -> list[Prediction]:
    """The answers of a cascade, from those of both models to all texts; joined by id."""
    by_id = {prediction.id: prediction for prediction in expensive}
    return [
        by_id[prediction.id] if goes_on(prediction, threshold) else prediction
        for prediction in cheap
    ]


class Cascade:
    """Two models on the same examples, and what each threshold between them gives.

    Args:
        task: with a primary metric that is better when greater.
        gold: labelled examples.
        cheap: the cheap model's answers to them.
        expensive: the expensive model's.
        cheap_seconds: that the cheap model took for all of them.
        expensive_seconds: that the expensive one took.

    Raises:
        DataError: when ids do not fit.
        UserError: for a task without certainties, or a cheap model without scores.
    """

    def __init__(
        self,
        task: Task,
        gold: Sequence[Example],
        cheap: Sequence[Prediction],
        expensive: Sequence[Prediction],
        cheap_seconds: float,
        expensive_seconds: float,
    ):
        if task.answer == "value":
            raise UserError(
                f"a cascade of {task.name} runs: numbers come without a certainty; wanted runs of "
                "spans or of classes"
            )
        if not gold:
            raise UserError("got no labelled examples to choose a threshold on")
        pairs = joined_by_id(gold, cheap)
        self.task, self.units = task, significance.resampling_units(gold)
        self.certainty = certainties([prediction for _, prediction in pairs])
        self.cheap = task.counts(pairs)  # (n_examples, n_counts)
        self.expensive = task.counts(joined_by_id(gold, expensive))
        self.cheap_seconds = cheap_seconds / len(gold)
        self.expensive_seconds = expensive_seconds / len(gold)

    def thresholds(self) -> list[float]:
        """0, each certainty that sends on another share, and `EVERY_TEXT`; at most `MOST_POINTS`.

        Where there are more, those are kept whose shares are the most even.
        """
        values = np.unique(self.certainty)
        every = np.array([0.0, *values[1:], EVERY_TEXT])
        if len(every) <= MOST_POINTS:
            return [float(value) for value in every]
        shares = np.searchsorted(np.sort(self.certainty), every) / len(self.certainty)
        wanted = np.linspace(0, 1, MOST_POINTS)
        nearest = np.abs(shares[None, :] - wanted[:, None]).argmin(axis=1)
        return [float(value) for value in every[np.unique(nearest)]]

    def counts(self, threshold: float) -> np.ndarray:
        """What each example adds to the sums of the metric, (n_examples, n_counts)."""
        mask = self.certainty < threshold
        return np.where(mask[:, None], self.expensive, self.cheap)

    def point(self, threshold: float) -> JsonObject:
        """The share of texts that go on, the score, and the seconds a text."""
        share = float((self.certainty < threshold).mean())
        score = float(self.task.statistic(self.counts(threshold).sum(axis=0)))
        return {
            "threshold": threshold,
            "share": share,
            "score": score,
            "seconds_per_text": self.cheap_seconds + share * self.expensive_seconds,
        }

    def difference(self, threshold: float) -> JsonObject:
        """The score less the expensive model's, with its 95 % interval."""
        compared = significance.paired_bootstrap(
            self.counts(threshold), self.expensive, self.task.statistic, self.units
        )
        return {"delta": compared["delta"], "interval": compared["interval"]}

    def choose(self, points: Sequence[JsonObject]) -> tuple[JsonObject | None, str]:
        """The point that `RULE` names, if any is cheaper than the expensive model, and why."""
        low, _ = significance.bootstrap_interval(self.expensive, self.task.statistic, self.units)
        score = float(self.task.statistic(self.expensive.sum(axis=0)))
        cheaper = [p for p in points if p["seconds_per_text"] < self.expensive_seconds]
        if not cheaper:
            return None, (
                "No cascade is cheaper: the run that was given as the cheap one takes "
                f"{self.cheap_seconds:.4g} s a text, the expensive one {self.expensive_seconds:.4g}"
            )
        for point in sorted(cheaper, key=lambda point: float(point["seconds_per_text"])):
            difference = self.difference(point["threshold"])
            if score + difference["interval"][0] >= low:
                alone = " No text has to go on: use the cheap run by itself."
                return point | {"difference": difference}, RULE + ("" if point["share"] else alone)
        return None, (
            "No cascade that is cheaper than the expensive run keeps its score: use the expensive "
            f"run by itself. {RULE}"
        )


def cascade_curve(
    task: Task,
    gold: Sequence[Example],
    cheap: Sequence[Prediction],
    expensive: Sequence[Prediction],
    cheap_seconds: float,
    expensive_seconds: float,
    *,
    names: tuple[str, str] = ("cheap", "expensive"),
) -> JsonObject:
    """The scores and the cost of the cascades of two models, and the one to take.

    A threshold that was chosen on these examples looks a little better on them than it is; score
    the cascade on others.

    Args:
        task: what is predicted, spans or classes.
        gold: labelled examples, of dev.
        cheap: the cheap model's answers to all of them.
        expensive: the expensive model's.
        cheap_seconds: that the cheap model took for all of them (`predict_dev` of its report).
        expensive_seconds: that the expensive model took.
        names: what to call the two.

    Returns:
        `cheap` and `expensive`, the names; `metric`; `points` from the cheapest to the dearest, at
        most `MOST_POINTS`, each with `threshold` (texts with a certainty below it go on), `share`
        of texts that go on, `score` and `seconds_per_text`; `alone`, the `score` and
        `seconds_per_text` of each model by itself; `chosen`, the point of `RULE` with its
        `difference` to the expensive model (`delta`, `interval`), or None; `reason`, why that one
        or why none.

    Raises:
        DataError: when ids do not fit.
        UserError: for a task without certainties, or a cheap model without scores.
    """
    cascade = Cascade(task, gold, cheap, expensive, cheap_seconds, expensive_seconds)
    points = [cascade.point(threshold) for threshold in cascade.thresholds()]
    chosen, reason = cascade.choose(points)
    first, last = points[0]["score"], points[-1]["score"]
    alone = [(first, cascade.cheap_seconds), (last, cascade.expensive_seconds)]
    return {
        "cheap": names[0],
        "expensive": names[1],
        "metric": task.primary_metric,
        "points": points,
        "alone": [{"score": score, "seconds_per_text": seconds} for score, seconds in alone],
        "chosen": chosen,
        "reason": reason,
    }
