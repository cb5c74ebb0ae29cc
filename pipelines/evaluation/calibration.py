"""Whether scores mean what they say: reliability, risk against coverage, and the cut that serves F1 best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation.span_scores import all_labels, columns, match_identical
from pipelines.examples import Example, Prediction, Span

BINS = 10
CURVE_POINTS = 100


def calibration(scores: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Reliability diagram, expected calibration error and risk–coverage curve.

    Args:
        scores: the confidence of each answer, of shape (n_answers,).
        correct: whether it is right, of shape (n_answers,).

    Returns:
        ``reliability``: bins of equal width with their ``count``, ``mean_score`` and ``accuracy``; ``ece``: the mean
        gap of the two, weighted by count (Guo et al. 2017, eq. 3); both None unless all scores are within 0 and 1.
        ``risk_coverage``: share of wrong answers among the surest, by the share that is answered (El-Yaniv & Wiener
        2010), and ``aurc``, the area under it, in steps of equal score.
    """
    order = np.argsort(-scores, kind="stable")
    scores, correct = scores[order], correct[order].astype(float)
    report: dict[str, Any] = {"answers": len(scores), "reliability": None, "ece": None}
    if len(scores) and scores[-1] >= 0 and scores[0] <= 1:
        bins = np.minimum((scores * BINS).astype(int), BINS - 1)
        count = np.bincount(bins, minlength=BINS)
        mean_score = np.bincount(bins, weights=scores, minlength=BINS) / np.maximum(count, 1)
        accuracy = np.bincount(bins, weights=correct, minlength=BINS) / np.maximum(count, 1)
        report["ece"] = float((count * np.abs(accuracy - mean_score)).sum() / len(scores))
        report["reliability"] = [
            {"low": i / BINS, "high": (i + 1) / BINS, "count": int(count[i]), "mean_score": float(mean_score[i]),
             "accuracy": float(accuracy[i])} for i in range(BINS) if count[i]]
    return report | _risk_coverage(scores, correct)


def _risk_coverage(scores: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """From scores in falling order and whether each answer is right."""
    if not len(scores):
        return {"risk_coverage": [], "aurc": None}
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # answers of one score stand or fall together
    answered = last + 1
    risk = 1 - np.cumsum(correct)[last] / answered
    coverage = answered / len(scores)
    shown = np.unique(np.linspace(0, len(last) - 1, CURVE_POINTS).round().astype(int))
    return {
        "risk_coverage": [{"score": float(scores[last[i]]), "coverage": float(coverage[i]), "risk": float(risk[i])}
                          for i in shown],
        "aurc": float((risk * np.diff(coverage, prepend=0.0)).sum()),
    }


def scored_spans(pairs: Sequence[tuple[Example, Prediction]]) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The scores of all predicted spans, whether each is a strict match, and the number of gold spans.

    Of equal predictions the surest finds the gold span. None where a span has no score, or there is no span.
    """
    predicted: list[list[Span]] = []
    for _, prediction in pairs:
        if any(span.score is None for span in prediction.spans or ()):
            return None
        predicted.append(sorted(prediction.spans or (), key=lambda span: -(span.score or 0.0)))
    gold = [example.spans or () for example, _ in pairs]
    labels = all_labels(gold, predicted)
    scores = np.array([span.score for row in predicted for span in row], dtype=float)
    if not len(scores):
        return None
    correct = np.zeros(len(scores), dtype=bool)
    correct[match_identical(columns(gold, labels), columns(predicted, labels), by_label=True).predicted] = True
    return scores, correct, sum(map(len, gold))


def best_threshold(pairs: Sequence[tuple[Example, Prediction]]) -> tuple[float, float]:
    """The score from which predicted spans are kept so that strict F1 is greatest, and that F1.

    Among equally good ones the lowest, which keeps the most.

    Raises:
        UserError: when spans have no scores.
    """
    scored = scored_spans(pairs)
    if scored is None:
        raise UserError("predicted spans without scores; a threshold can only be tuned on predictions whose every span "
                        'has a "score"')
    scores, correct, gold = scored
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(correct[order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    f1 = 2 * found[last] / (gold + last + 1)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return float(scores[last[best]]), float(f1[best])


def above(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """The predictions without the spans whose score is below the threshold."""
    return [replace(prediction, spans=tuple(span for span in prediction.spans or ()
                                            if span.score is not None and span.score >= threshold))
            for prediction in predictions]
