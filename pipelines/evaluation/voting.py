"""Joins the answers of several models: spans and classes by votes, numbers by their mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from pipelines.errors import DataError
from pipelines.examples import Prediction, Span
from pipelines.formatting import some

MOST_FAULTS = 10


def vote(answers: Sequence[Sequence[Prediction]], *, names: Sequence[str]) -> list[Prediction]:
    """Joins what several models answered to the same examples, in the first one's order.

    - A span's score is the mean of the models' scores for it: 0 where a model does not have it, 1
      where it gives no score. Spans above 1/2 are kept. Where no model's spans overlap, no two that
      are kept do: each model gives two that overlap 1 together at most.
    - A class is the one with the greatest mean of scores or, where a model gives none, of most
      votes; of equals the first model's. Of several classes a text, those that more than half of
      the models name.
    - A number is the mean.

    Args:
        names: what to call each model in messages, such as its file.

    Raises:
        DataError: naming duplicate ids, ids that not all have, rows without an answer, answers of
            different kinds, and scores that are not between 0 and 1.
    """
    rows = [{prediction.id: prediction for prediction in model} for model in answers]
    faults: list[str] = []
    for name, model, row in zip(names, answers, rows, strict=True):
        faults += [f"{name}: {fault}" for fault in _id_faults(model, row, rows[0], names[0])]
        faults += [f"{name}: {fault}" for fault in _answer_faults(model)]
        faults += [f"{name}: {fault}" for fault in _kind_faults(row, rows[0], names[0])]
    if faults:
        raise DataError(
            "\n".join([*faults, "models vote on the same examples; predict one file with each"])
        )
    return [_joined([row[prediction.id] for row in rows]) for prediction in answers[0]]


def _id_faults(
    model: Sequence[Prediction],
    row: Mapping[str, Prediction],
    first: Mapping[str, Prediction],
    first_name: str,
) -> Iterator[str]:
    counts = Counter(prediction.id for prediction in model)
    kinds = {
        "duplicate ids": [id for id, count in counts.items() if count > 1],
        f"ids of {first_name} that are missing": [id for id in first if id not in row],
        f"ids that {first_name} lacks": [id for id in row if id not in first],
    }
    for what, ids in kinds.items():
        if ids:
            yield f"{what}: {len(ids)}: {some(ids)}"


def _answer_faults(model: Sequence[Prediction]) -> list[str]:
    missing, wrong = [], []
    for prediction in model:
        if _kind(prediction) == "no answer":
            missing.append(f'id {prediction.id}: its "spans", "label" or "value" is null')
        for score in _scores(prediction):
            if not isinstance(score, int | float) or not 0 <= score <= 1:
                wrong.append(
                    f"id {prediction.id}: the score {score!r}, wanted a number between 0 and 1"
                )
    return missing[:MOST_FAULTS] + wrong[:MOST_FAULTS]


def _kind_faults(
    row: Mapping[str, Prediction], first: Mapping[str, Prediction], first_name: str
) -> list[str]:
    faults = []
    for id, prediction in row.items():
        if id in first and _kind(prediction) != _kind(first[id]):
            faults.append(
                f"id {id}: {_kind(prediction)}, where {first_name} has {_kind(first[id])}"
            )
    return faults[:MOST_FAULTS]


def _kind(prediction: Prediction) -> str:
    if prediction.spans is not None:
        return "spans"
    if prediction.value is not None:
        return "a number"
    if prediction.label is None:
        return "no answer"
    return "several classes" if isinstance(prediction.label, tuple) else "a class"


def _scores(prediction: Prediction) -> list[object]:
    scores: object = prediction.scores or {}
    of_spans = [span.score for span in prediction.spans or () if span.score is not None]
    return [*of_spans, *(scores.values() if isinstance(scores, dict) else [scores])]


def _joined(answers: Sequence[Prediction]) -> Prediction:
    first = answers[0]
    if first.spans is not None:
        proposed = proposed_spans([prediction.spans or () for prediction in answers])
        return Prediction(first.id, spans=majority(proposed))
    if first.value is not None:
        return Prediction(first.id, value=fmean(prediction.value or 0.0 for prediction in answers))
    scored = [prediction.scores for prediction in answers if prediction.scores]
    scores = _mean(scored) if len(scored) == len(answers) else None
    if isinstance(first.label, tuple):
        votes = Counter(label for prediction in answers for label in set(prediction.label or ()))
        named = dict.fromkeys(label for prediction in answers for label in prediction.label or ())
        kept = tuple(label for label in named if 2 * votes[label] > len(answers))
        return Prediction(first.id, label=kept, scores=scores)
    best = scores or Counter(str(prediction.label) for prediction in answers)
    return Prediction(first.id, label=max(best, key=best.__getitem__), scores=scores)


def proposed_spans(answers: Sequence[Sequence[Span]]) -> tuple[Span, ...]:
    """Every span that a model gives to a text, with the mean of all models' scores for it."""
    totals: dict[Span, float] = defaultdict(float)
    for spans in answers:
        for span in dict.fromkeys(spans):  # one that a model gives twice is one
            totals[span] += 1.0 if span.score is None else span.score
    proposed = [
        Span(span.start, span.end, span.label, total / len(answers))
        for span, total in totals.items()
    ]
    return tuple(sorted(proposed))


def majority(proposed: Iterable[Span]) -> tuple[Span, ...]:
    """The spans whose mean score is above one half."""
    kept = (span for span in proposed if span.score is not None and span.score > 0.5)
    return tuple(
        Span(span.start, span.end, span.label, round(span.score or 0.0, 6)) for span in kept
    )


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in scores for name in row)
    return {name: fmean(row.get(name, 0.0) for row in scores) for name in names}
