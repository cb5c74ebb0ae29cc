"""Answers of several models made one: spans and classes by votes, numbers by their mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pipelines.errors import DataError
from pipelines.examples import Prediction, Span

SHOWN = 10


def vote(answers: Sequence[Sequence[Prediction]], *, names: Sequence[str]) -> list[Prediction]:
    """Joins what several models answered to the same examples, in the first one's order.

    - A span's score is the mean of the models' scores for it: 0 where a model does not have it, 1 where it tells no
      score. Spans above 1/2 are kept. Where no model's spans overlap, no two that are kept do, for each model gives two
      that overlap 1 together at most.
    - A class is the one with the greatest mean of scores or, where a model tells none, of most votes; of equals the
      first model's. Of several classes a text, those that more than half of the models name.
    - A number is the mean.

    Args:
        names: what to call each model in messages, such as its file.

    Raises:
        DataError: naming ids that are doubled or that not all have, rows without an answer, answers of different
            kinds, and scores that are not between 0 and 1.
    """
    rows = _by_id(answers, names)
    return [_joined([row[prediction.id] for row in rows]) for prediction in answers[0]]


def _by_id(answers: Sequence[Sequence[Prediction]], names: Sequence[str]) -> list[dict[str, Prediction]]:
    rows = [{prediction.id: prediction for prediction in given} for given in answers]
    faults = []
    for name, given, row in zip(names, answers, rows, strict=True):
        counts = Counter(prediction.id for prediction in given)
        faults += [f"{name}: {what}: {len(ids)}: {', '.join(ids[:SHOWN])}{' …' if len(ids) > SHOWN else ''}"
                   for what, ids in (("ids that are there twice", [id for id, count in counts.items() if count > 1]),
                                     (f"ids of {names[0]} that are missing", [id for id in rows[0] if id not in row]),
                                     (f"ids that {names[0]} lacks", [id for id in row if id not in rows[0]])) if ids]
        faults += [f"{name}: id {prediction.id}: its \"spans\", \"label\" or \"value\" is null"
                   for prediction in given if _kind(prediction) == "no answer"][:SHOWN]
        faults += [f"{name}: id {prediction.id}: the score {score!r}, wanted a number between 0 and 1"
                   for prediction in given for score in _scores(prediction)
                   if not isinstance(score, int | float) or not 0 <= score <= 1][:SHOWN]
        faults += [f"{name}: id {id}: {_kind(row[id])}, where {names[0]} has {_kind(rows[0][id])}"
                   for id in row if id in rows[0] and _kind(row[id]) != _kind(rows[0][id])][:SHOWN]
    if faults:
        raise DataError("\n".join([*faults, "models vote on the same examples; predict one file with each"]))
    return rows


def _kind(prediction: Prediction) -> str:
    return ("spans" if prediction.spans is not None else "a number" if prediction.value is not None else
            "no answer" if prediction.label is None else
            "several classes" if isinstance(prediction.label, tuple) else "a class")


def _scores(prediction: Prediction) -> list[Any]:
    scores: Any = prediction.scores or {}
    return [*(span.score for span in prediction.spans or () if span.score is not None),
            *(scores.values() if isinstance(scores, dict) else [scores])]


def _joined(given: Sequence[Prediction]) -> Prediction:
    first = given[0]
    if first.spans is not None:
        return Prediction(first.id, spans=_spans([prediction.spans or () for prediction in given]))
    if first.value is not None:
        return Prediction(first.id, value=fmean(prediction.value or 0.0 for prediction in given))
    told = [prediction.scores for prediction in given if prediction.scores]
    scores = _mean(told) if len(told) == len(given) else None
    if isinstance(first.label, tuple):
        votes = Counter(label for prediction in given for label in prediction.label or ())
        kept = tuple(label for label, count in votes.items() if 2 * count > len(given))
        return Prediction(first.id, label=kept, scores=scores)
    best = scores or Counter(str(prediction.label) for prediction in given)
    return Prediction(first.id, label=max(best, key=best.__getitem__), scores=scores)


def _spans(given: Sequence[Sequence[Span]]) -> tuple[Span, ...]:
    scores: dict[Span, float] = defaultdict(float)
    for spans in given:
        for span in dict.fromkeys(spans):  # one that a model says twice is one
            scores[span] += 1.0 if span.score is None else span.score
    return tuple(sorted(Span(span.start, span.end, span.label, round(score / len(given), 6))
                        for span, score in scores.items() if 2 * score > len(given)))


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: fmean(given.get(label, 0.0) for given in scores) for label in
            dict.fromkeys(label for given in scores for label in given)}
