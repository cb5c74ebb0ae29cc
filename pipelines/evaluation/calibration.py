"""Whether scores mean what they say: reliability, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.evaluation import Report
from pipelines.evaluation.classification import last_of_equals
from pipelines.evaluation.span_scores import all_labels, match_identical, span_arrays
from pipelines.examples import Example, Prediction, Span

BINS = 10
CURVE_POINTS = 100


def calibration(scores: np.ndarray, correct: np.ndarray) -> Report:
    """Reliability diagram, expected calibration error and risk–coverage curve.

    Args:
        scores: the confidence of each answer, of shape (n_answers,).
        correct: whether it is right, of shape (n_answers,).

    Returns:
        `reliability`: bins of equal width with their `count`, `mean_score` and `accuracy`; `ece`:
        the mean gap of the two, weighted by count (Guo et al. 2017, eq. 3); both None unless all
        scores are within 0 and 1. `risk_coverage`: the share of wrong answers among those with the
        highest scores, by the share that is answered (El-Yaniv & Wiener 2010), and `aurc`, the area
        under it, in steps of equal score.
    """
    order = np.argsort(-scores, kind="stable")
    scores, correct = scores[order], correct[order].astype(float)
    report: Report = {"answers": len(scores), "reliability": None, "ece": None}
    if len(scores) and scores[-1] >= 0 and scores[0] <= 1:
        report |= _reliability(scores, correct)
    return report | _risk_coverage(scores, correct)


def _reliability(scores: np.ndarray, correct: np.ndarray) -> Report:
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    size = np.maximum(count, 1)
    mean_score = np.bincount(bins, weights=scores, minlength=BINS) / size
    accuracy = np.bincount(bins, weights=correct, minlength=BINS) / size
    gap = (count * np.abs(accuracy - mean_score)).sum() / len(scores)
    rows = [
        {
            "low": i / BINS,
            "high": (i + 1) / BINS,
            "count": int(count[i]),
            "mean_score": float(mean_score[i]),
            "accuracy": float(accuracy[i]),
        }
        for i in range(BINS)
        if count[i]
    ]
    return {"reliability": rows, "ece": float(gap)}


def _risk_coverage(scores: np.ndarray, correct: np.ndarray) -> Report:
    """From scores in falling order and whether each answer is right."""
    if not len(scores):
        return {"risk_coverage": [], "aurc": None}
    last = last_of_equals(scores)
    answered = last + 1
    risk = 1 - np.cumsum(correct)[last] / answered
    coverage = answered / len(scores)
    points = np.unique(np.linspace(0, len(last) - 1, CURVE_POINTS).round().astype(int))
    curve = [
        {
            "score": float(scores[last[i]]),
            "coverage": float(coverage[i]),
            "risk": float(risk[i]),
        }
        for i in points
    ]
    area = (risk * np.diff(coverage, prepend=0.0)).sum()
    return {"risk_coverage": curve, "aurc": float(area)}


def scored_spans(
    pairs: Sequence[tuple[Example, Prediction]],
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The scores of all predicted spans, whether each is a strict match, and the gold spans' count.

    Of equal predictions the one with the highest score is the match. None where a span has no
    score, or there is no span.
    """
    predicted: list[list[Span]] = []
    for _, prediction in pairs:
        if any(span.score is None for span in prediction.spans or ()):
            return None
        by_score = sorted(prediction.spans or (), key=lambda span: -(span.score or 0.0))
        predicted.append(by_score)
    gold = [example.spans or () for example, _ in pairs]
    labels = all_labels(gold, predicted)
    scores = np.array([span.score for spans in predicted for span in spans], dtype=float)
    if not len(scores):
        return None
    left, right = span_arrays(gold, labels), span_arrays(predicted, labels)
    correct = np.zeros(len(scores), dtype=bool)
    correct[match_identical(left, right, by_label=True).predicted] = True
    return scores, correct, sum(map(len, gold))
