"""Scores of classes: accuracy, F1, Matthews, ROC-AUC, average precision; one label or several.

Written in NumPy, because importing scikit-learn takes longer than scoring a thousand examples; the
tests compare every number with scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.evaluation import Report
from pipelines.evaluation.span_scores import averages, precision_recall_f1, scores_by_label

Scores = Sequence[Mapping[str, float]]


def confusion_matrix(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> np.ndarray:
    """How often each gold label (row) got each predicted label (column), of shape (C, C)."""
    index = {label: i for i, label in enumerate(labels)}
    rows = np.fromiter((index[label] for label in gold), dtype=np.int64, count=len(gold))
    cols = np.fromiter((index[label] for label in predicted), dtype=np.int64, count=len(predicted))
    return count_pairs(rows, cols, len(labels))


def count_pairs(gold: np.ndarray, predicted: np.ndarray, size: int) -> np.ndarray:
    """The confusion matrix, of shape (C, C), of class indices of shape (N,)."""
    return np.bincount(gold * size + predicted, minlength=size * size).reshape(size, size)


def accuracy(matrix: np.ndarray) -> float:
    """Share of the examples on the diagonal of a confusion matrix."""
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def class_report(matrix: np.ndarray, labels: Sequence[str]) -> Report:
    """Precision, recall and F1 `per_class`, with their `macro`, `micro` and `weighted` means.

    Args:
        matrix: confusion matrix of shape (C, C), gold rows.
        labels: names of the classes.
    """
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    per_class = scores_by_label(labels, np.diag(matrix), support, predicted)
    micro = precision_recall_f1(np.trace(matrix), support.sum(), predicted.sum())
    return {"per_class": per_class, "micro": micro} | averages(per_class)


def matthews(matrix: np.ndarray) -> float:
    """Matthews correlation, for any number of classes (Gorodkin 2004, eq. 8)."""
    counts = matrix.astype(float)
    gold, predicted, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    covariance = np.trace(counts) * total - gold @ predicted
    spread = (total**2 - predicted @ predicted) * (total**2 - gold @ gold)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """The chance that a positive scores above a negative, ties counting one half (Mann–Whitney).

    Args:
        positive: of shape (N,), boolean.
        scores: of shape (N,).

    Returns:
        None where there are only positives or only negatives.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = mean_rank[inverse][positive].sum()
    wins = rank_sum - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def last_of_equals(scores: np.ndarray) -> np.ndarray:
    """The last index of each distinct score, of scores in order.

    A threshold keeps or drops all answers of one score together.
    """
    return np.flatnonzero(np.append(scores[1:] != scores[:-1], True))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Precision at each distinct score, weighted by the recall it adds; None without a positive.

    Args:
        positive: of shape (N,), boolean.
        scores: of shape (N,).
    """
    n_positive = int(positive.sum())
    if not n_positive:
        return None
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(positive[order])
    last = last_of_equals(scores[order])
    precision = true_positives[last] / (last + 1)
    added = np.diff(true_positives[last], prepend=0)
    return float((precision * added).sum() / n_positive)


RANKING = {"roc_auc": roc_auc, "average_precision": average_precision}


def class_scores(
    gold: Sequence[str], predicted: Sequence[str], scores: Scores | None = None
) -> Report:
    """Scores one label an example.

    Args:
        gold: the gold label of each example.
        predicted: the predicted label of each example.
        scores: for each example the probability of each class; a missing class has 0.

    Returns:
        `accuracy`, `matthews`, `macro`, `micro`, `weighted`, `per_class` (with one-against-rest
        `roc_auc` and `average_precision` where there are scores, and their means over the classes
        in `macro`) and the `confusion` matrix, gold rows.
    """
    labels = sorted({*gold, *predicted})
    matrix = confusion_matrix(gold, predicted, labels)
    report: Report = {"accuracy": accuracy(matrix), "matthews": matthews(matrix)}
    report |= class_report(matrix, labels)
    report["confusion"] = {"labels": labels, "matrix": matrix.tolist()}
    if scores is not None:
        _add_ranking(report, [[label] for label in gold], scores)
    return report


def multilabel_scores(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scores: Scores | None = None,
) -> Report:
    """Scores sets of labels; `accuracy` is the share of examples whose whole set is right."""
    labels = sorted(set().union(*gold, *predicted))
    gold_marks, predicted_marks = _marks(gold, labels), _marks(predicted, labels)  # (N, C)
    report: Report = {"accuracy": exact_matches(gold_marks, predicted_marks)}
    report |= mark_report(gold_marks, predicted_marks, labels)
    if scores is not None:
        _add_ranking(report, gold, scores)
    return report


def mark_report(gold: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> Report:
    """Scores `per_class`, with their means, from booleans of shape (N, C)."""
    correct, support, n_predicted = (
        marks.sum(axis=0) for marks in (gold & predicted, gold, predicted)
    )
    per_class = scores_by_label(labels, correct, support, n_predicted)
    micro = precision_recall_f1(correct.sum(), support.sum(), n_predicted.sum())
    return {"per_class": per_class, "micro": micro} | averages(per_class)


def exact_matches(gold: np.ndarray, predicted: np.ndarray) -> float:
    """The share of examples whose set of classes is right, from booleans of shape (N, C)."""
    right = (gold == predicted).all(axis=1)
    return float(right.sum() / max(len(right), 1))


def _marks(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """Which labels each example has, boolean of shape (N, C)."""
    marks = [[label in row for label in labels] for row in map(set, rows)]
    return np.array(marks, dtype=bool).reshape(len(rows), len(labels))


def _add_ranking(report: Report, gold: Sequence[Sequence[str]], scores: Scores) -> None:
    for label, row in report["per_class"].items():
        positive = np.array([label in labels for labels in gold])
        column = np.array([given.get(label, 0.0) for given in scores], dtype=float)
        for name, measure in RANKING.items():
            row[name] = measure(positive, column)
    for name in RANKING:
        known = [row[name] for row in report["per_class"].values() if row[name] is not None]
        report["macro"][name] = float(np.mean(known)) if known else None
