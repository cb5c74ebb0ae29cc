"""Scores of classes: accuracy, F1, Matthews, ROC-AUC, average precision; one label or several an example.

Written in numpy, because importing scikit-learn alone would take longer than a thousand examples; the tests hold every
number against scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.evaluation.span_scores import averages, precision_recall_f1


def confusion_matrix(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """How often each gold label (row) was given each predicted label (column), of shape (n_labels, n_labels)."""
    number = {label: i for i, label in enumerate(labels)}
    rows = np.fromiter((number[label] for label in gold), dtype=np.int64, count=len(gold))
    cols = np.fromiter((number[label] for label in predicted), dtype=np.int64, count=len(predicted))
    size = len(labels)
    return np.bincount(rows * size + cols, minlength=size * size).reshape(size, size)


def accuracy(matrix: np.ndarray) -> float:
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def class_report(matrix: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Precision, recall and F1 ``per_class``, with their ``macro``, ``micro`` and ``weighted`` means.

    Args:
        matrix: confusion matrix of shape (n_labels, n_labels), gold rows.
    """
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    per_class = {label: precision_recall_f1(matrix[i, i], support[i], predicted[i]) for i, label in enumerate(labels)}
    micro = precision_recall_f1(np.trace(matrix), support.sum(), predicted.sum())
    return {"per_class": per_class, "micro": micro} | averages(per_class)


def matthews(matrix: np.ndarray) -> float:
    """Matthews correlation of a confusion matrix, for any number of classes (Gorodkin 2004, eq. 8)."""
    counts = matrix.astype(float)
    gold, predicted, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    covariance = np.trace(counts) * total - gold @ predicted
    spread = (total ** 2 - predicted @ predicted) * (total ** 2 - gold @ gold)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """The chance that a positive outscores a negative, ties counting one half (Mann–Whitney).

    Args:
        positive: of shape (n_examples,), boolean.
        scores: of shape (n_examples,).

    Returns:
        None where there are only positives or only negatives.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    ranks = mean_rank[inverse][positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Precision at each distinct score, weighted by the recall it adds; None without a positive."""
    n_positive = int(positive.sum())
    if not n_positive:
        return None
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(positive[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = found[last] / (last + 1)
    return float((precision * np.diff(found[last], prepend=0)).sum() / n_positive)


def class_scores(gold: Sequence[str], predicted: Sequence[str],
                 scores: Sequence[Mapping[str, float]] | None = None) -> dict[str, Any]:
    """Scores one label an example.

    Args:
        scores: for each example the probability of each class; a class that is left out has 0.

    Returns:
        ``accuracy``, ``matthews``, ``macro``, ``micro``, ``weighted``, ``per_class`` (with one-against-rest
        ``roc_auc`` and ``average_precision`` where there are scores, and their means over the classes in ``macro``)
        and the ``confusion`` matrix, gold rows.
    """
    labels = sorted({*gold, *predicted})
    matrix = confusion_matrix(gold, predicted, labels)
    report = {"accuracy": accuracy(matrix), "matthews": matthews(matrix)} | class_report(matrix, labels)
    report["confusion"] = {"labels": labels, "matrix": matrix.tolist()}
    if scores is not None:
        _add_ranking(report, [[label] for label in gold], scores)
    return report


def _add_ranking(report: dict[str, Any], gold: Sequence[Sequence[str]], scores: Sequence[Mapping[str, float]]) -> None:
    for name, measure in (("roc_auc", roc_auc), ("average_precision", average_precision)):
        for label, row in report["per_class"].items():
            positive = np.array([label in labels for labels in gold])
            row[name] = measure(positive, np.array([given.get(label, 0.0) for given in scores], dtype=float))
        known = [row[name] for row in report["per_class"].values() if row[name] is not None]
        report["macro"][name] = float(np.mean(known)) if known else None


def multilabel_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]],
                      scores: Sequence[Mapping[str, float]] | None = None) -> dict[str, Any]:
    """Scores sets of labels; ``accuracy`` is the share of examples whose whole set is right."""
    labels = sorted({label for row in (*gold, *predicted) for label in row})
    sets = [(set(wanted), set(given)) for wanted, given in zip(gold, predicted, strict=True)]
    per_class = {label: precision_recall_f1(
        sum(label in wanted and label in given for wanted, given in sets),
        sum(label in wanted for wanted, _ in sets), sum(label in given for _, given in sets)) for label in labels}
    correct = sum(len(wanted & given) for wanted, given in sets)
    report: dict[str, Any] = {
        "accuracy": sum(wanted == given for wanted, given in sets) / max(len(sets), 1),
        "per_class": per_class,
        "micro": precision_recall_f1(correct, sum(len(wanted) for wanted, _ in sets),
                                     sum(len(given) for _, given in sets)),
    } | averages(per_class)
    if scores is not None:
        _add_ranking(report, gold, scores)
    return report
