"""What each example adds to the sums of a task's primary metric.

Intervals and paired tests resample these rows, so that a resample costs no second scoring.
"""

from __future__ import annotations

import numpy as np

from pipelines.errors import DataError
from pipelines.evaluation.span_scores import all_labels, match_identical, span_arrays
from pipelines.examples import Example, Prediction
from pipelines.formatting import some

Pairs = list[tuple[Example, Prediction]]


def span_f1_counts(pairs: Pairs) -> np.ndarray:
    """(correct, gold, predicted) of strict matching, of shape (n_examples, 3)."""
    gold = [example.spans or () for example, _ in pairs]
    predicted = [prediction.spans or () for _, prediction in pairs]
    labels = all_labels(gold, predicted)
    left, right = span_arrays(gold, labels), span_arrays(predicted, labels)
    correct = left.example[match_identical(left, right, by_label=True).gold]
    rows = (correct, left.example, right.example)
    return np.stack([np.bincount(examples, minlength=len(pairs)) for examples in rows], axis=1)


def class_counts(pairs: Pairs) -> np.ndarray:
    """(correct, 1), of shape (n_examples, 2)."""
    correct = [
        set(label_set(example.label)) == set(label_set(prediction.label))
        for example, prediction in pairs
    ]
    return np.array([[is_correct, 1] for is_correct in correct], dtype=float)


def squared_error_counts(pairs: Pairs) -> np.ndarray:
    """(squared error, 1), of shape (n_examples, 2)."""
    gold, predicted = gold_values(pairs), predicted_values(pairs)
    return np.stack([(predicted - gold) ** 2, np.ones(len(pairs))], axis=1)


def nats_counts(pairs: Pairs) -> np.ndarray:
    """(nats, tokens), of shape (n_examples, 2); where tokens are not counted, words are."""
    rows = []
    for example, prediction in pairs:
        scores = prediction.scores or {}
        rows.append([prediction.value, scores.get("tokens", len(example.text.split()))])
    return np.array(rows, dtype=float)


def gold_values(pairs: Pairs) -> np.ndarray:
    """The gold number of each example, of shape (n_examples,).

    Raises:
        DataError: for examples without a number.
    """
    without = [example.id for example, _ in pairs if example.label is None]
    if without:
        raise DataError(f"examples without a gold number: {some(without)}; give a labelled file")
    return np.array([example.label for example, _ in pairs], dtype=float)


def predicted_values(pairs: Pairs) -> np.ndarray:
    """The predicted number of each example, of shape (n_examples,)."""
    return np.array([prediction.value for _, prediction in pairs], dtype=float)


def label_set(label: object) -> tuple[str, ...]:
    """The classes of an example: none, one or several."""
    if label is None:
        return ()
    return tuple(map(str, label)) if isinstance(label, tuple) else (str(label),)
