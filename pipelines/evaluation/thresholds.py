"""Thresholds tuned on labelled examples: offsets of classes, and the least score of spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation import Report
from pipelines.evaluation.calibration import scored_spans
from pipelines.evaluation.classification import (
    accuracy,
    class_report,
    count_pairs,
    exact_matches,
    last_of_equals,
    mark_report,
    matthews,
)
from pipelines.examples import Example, Prediction

OBJECTIVES = ("macro_f1", "accuracy", "micro_f1", "weighted_f1", "matthews")
MAX_CANDIDATES = 200  # offsets tried for a class in one round
MAX_ROUNDS = 3  # over the classes, where the offset of one changes what is best for another


def decide(
    logits: np.ndarray, offsets: Sequence[float] | np.ndarray | None = None, *, multi_label: bool
) -> np.ndarray:
    """Chooses classes from logits.

    Args:
        logits: of shape (N, C).
        offsets: added to the logits of each class first, of shape (C,): its threshold in log-odds.
        multi_label: whether a text may have several classes, or none.

    Returns:
        Class indices of shape (N,), or booleans of shape (N, C) for `multi_label`.
    """
    shifted = logits if offsets is None else logits + np.asarray(offsets, dtype=logits.dtype)
    return shifted > 0 if multi_label else shifted.argmax(axis=1)


def decision_scores(
    logits: np.ndarray, targets: np.ndarray, offsets: np.ndarray | None = None
) -> dict[str, float]:
    """Scores the decisions that logits and offsets give, by each of `OBJECTIVES`.

    Args:
        logits: of shape (N, C).
        targets: class indices of shape (N,), or 0 and 1 of shape (N, C) for several classes a text.
        offsets: of shape (C,), in float64: see `decide`.
    """
    shifted = logits if offsets is None else logits + offsets
    if targets.ndim == 2:
        return _multi_label_scores(targets > 0, decide(shifted, multi_label=True))
    return _single_label_scores(targets, decide(shifted, multi_label=False), logits.shape[1])


def _single_label_scores(gold: np.ndarray, predicted: np.ndarray, size: int) -> dict[str, float]:
    matrix = count_pairs(gold, predicted, size)
    # A class that is neither in the gold labels nor predicted takes no part in the means.
    present = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    matrix = matrix[np.ix_(present, present)]
    report = class_report(matrix, [str(i) for i in present])
    return _objectives(report, accuracy(matrix), matthews(matrix))


def _multi_label_scores(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    report = mark_report(gold, predicted, [str(i) for i in range(gold.shape[1])])
    columns = zip(gold.T.astype(int), predicted.T.astype(int), strict=True)
    correlations = [matthews(count_pairs(*column, 2)) for column in columns]
    return _objectives(report, exact_matches(gold, predicted), float(np.mean(correlations)))


def _objectives(report: Report, accuracy: float, matthews: float) -> dict[str, float]:
    return {
        "macro_f1": report["macro"]["f1"],
        "accuracy": accuracy,
        "micro_f1": report["micro"]["f1"],
        "weighted_f1": report["weighted"]["f1"],
        "matthews": matthews,
    }


def tune_offsets(logits: np.ndarray, targets: np.ndarray, objective: str) -> np.ndarray:
    """Offsets of the classes with which the objective is highest on these texts.

    Coordinate ascent: one class after the other gets the midpoint between two texts that is best
    for it, until none improves the objective. Two exclusive classes have one threshold; where a
    text may have several classes, the threshold of each is independent of the others.

    Args:
        logits: of shape (N, C).
        targets: class indices of shape (N,), or 0 and 1 of shape (N, C) for several classes a text.
        objective: one of `OBJECTIVES`.

    Returns:
        float64 of shape (C,).
    """
    multi_label, n_classes = targets.ndim == 2, logits.shape[1]
    one_threshold = not multi_label and n_classes == 2
    offsets = np.zeros(n_classes, dtype=np.float64)
    best = decision_scores(logits, targets, offsets)[objective]
    for _ in range(1 if multi_label or one_threshold else MAX_ROUNDS):
        before = best
        for index in range(1 if one_threshold else n_classes):
            rivals = np.zeros(len(logits))
            if not multi_label:
                rivals = np.delete(logits + offsets, index, axis=1).max(axis=1)
            for candidate in _candidates(rivals - logits[:, index]):
                tried = offsets.copy()
                tried[index] = candidate
                value = decision_scores(logits, targets, tried)[objective]
                if value > best + 1e-12:
                    best, offsets = value, tried
        if best <= before:
            break
    return offsets


def has_rare_class(
    counts: Mapping[str, int], *, n_examples: int, n_classes: int, multi_label: bool
) -> bool:
    """Whether a class is rarer than half its even share, so that tuned thresholds pay by default.

    Args:
        counts: examples of each class.
        n_examples: examples in all.
        n_classes: the even share of a class is 1 / n_classes.
        multi_label: whether a text may have several classes; then the even share is a half.
    """
    even_share = n_examples / (2 if multi_label else n_classes)
    return min(counts.values()) < even_share / 2


def _candidates(values: np.ndarray) -> np.ndarray:
    """Midpoints between neighbouring values, at most `MAX_CANDIDATES`, evenly spread."""
    distinct = np.unique(values)
    midpoints = (distinct[1:] + distinct[:-1]) / 2
    if not len(midpoints):
        return distinct
    count = min(MAX_CANDIDATES, len(midpoints))
    return midpoints[np.unique(np.linspace(0, len(midpoints) - 1, count).astype(int))]


def best_span_threshold(pairs: Sequence[tuple[Example, Prediction]]) -> tuple[float, float]:
    """The score from which predicted spans are kept so that strict F1 is highest, and that F1.

    Of several equally good ones the lowest, which keeps the most spans.

    Raises:
        UserError: when spans have no scores.
    """
    scored = scored_spans(pairs)
    if scored is None:
        raise UserError(
            "predicted spans without scores; a threshold can only be tuned on predictions whose "
            'every span has a "score"'
        )
    scores, correct, n_gold = scored
    order = np.argsort(-scores, kind="stable")
    scores, true_positives = scores[order], np.cumsum(correct[order])
    last = last_of_equals(scores)
    f1 = 2 * true_positives[last] / (n_gold + last + 1)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return float(scores[last[best]]), float(f1[best])


def spans_above(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """The predictions without the spans whose score is below the threshold."""
    kept = []
    for prediction in predictions:
        spans = [
            span
            for span in prediction.spans or ()
            if span.score is not None and span.score >= threshold
        ]
        kept.append(replace(prediction, spans=tuple(spans)))
    return kept


def answers_above(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """The predictions with the answers whose score is at least the threshold, and no others.

    Of classes these are all that have such a score, highest first, whether they were predicted or
    not: none, one or several, also where a text has one class.

    Raises:
        UserError: when an answer has no score, or answers are numbers.
    """
    check_scores(predictions)
    if predictions and predictions[0].spans is not None:
        return spans_above(predictions, threshold)
    kept = []
    for prediction in predictions:
        ranked = sorted((prediction.scores or {}).items(), key=lambda item: -item[1])
        label = tuple(name for name, score in ranked if score >= threshold)
        kept.append(replace(prediction, label=label))
    return kept


def check_scores(predictions: Sequence[Prediction]) -> None:
    """Checks that every answer has a score that a threshold can be compared with.

    Raises:
        UserError: when one has none, or answers are numbers.
    """
    without = [prediction.id for prediction in predictions if _lacks_score(prediction)]
    if without:
        raise UserError(
            f"{len(without)} of {len(predictions)} predictions have answers without a score, such "
            f"as id {without[0]}; a threshold needs the score of every span or class"
        )


def _lacks_score(prediction: Prediction) -> bool:
    if prediction.spans is not None:
        return any(span.score is None for span in prediction.spans)
    return prediction.value is not None or (bool(prediction.label) and not prediction.scores)
