"""Errors of predicted numbers: their distribution, and by the length of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.evaluation.regression import value_scores
from pipelines.examples import Example, JsonObject, Steps

POINTS = 500  # pairs of gold and predicted numbers kept for a picture, evenly spread
PARTS = 4  # lengths are cut into quarters


def residuals(gold: np.ndarray, predicted: np.ndarray) -> JsonObject:
    """The distribution of predicted − gold, of arrays of shape (n_examples,).

    Returns:
        `mean` (the bias), `sd` with n, quantiles `p05`, `p50`, `p95`, the `correlation` of the
        error with the gold number (None where either is constant; below 0 where large numbers are
        predicted too small), and `points`, [gold, predicted] of at most `POINTS` examples.
    """
    errors = predicted - gold
    p05, p50, p95 = np.quantile(errors, [0.05, 0.5, 0.95]).tolist()
    varies = len(gold) > 1 and errors.std() > 0 and gold.std() > 0
    shown = np.linspace(0, len(gold) - 1, min(len(gold), POINTS)).round().astype(int)
    return {
        "mean": float(errors.mean()),
        "sd": float(errors.std()),
        "p05": p05,
        "p50": p50,
        "p95": p95,
        "correlation": float(np.corrcoef(errors, gold)[0, 1]) if varies else None,
        "points": np.stack([gold[shown], predicted[shown]], axis=1).tolist(),
    }


def mse_by_length(
    examples: Sequence[Example], gold: np.ndarray, predicted: np.ndarray
) -> dict[str, JsonObject]:
    """Scores of sequences of similar length, `4–8` steps for example, the shortest first.

    Returns:
        `examples`, and `value_scores`, of each of up to four parts; empty where examples are no
        sequences, or all of one length.
    """
    steps = [example.features for example in examples if isinstance(example.features, Steps)]
    if len(steps) < len(examples):
        return {}
    lengths = np.array(list(map(len, steps)))
    quantiles = np.quantile(lengths, np.arange(1, PARTS) / PARTS, method="higher")
    part_of = np.searchsorted(np.unique(quantiles), lengths, side="right")
    parts: dict[str, JsonObject] = {}
    if len(set(part_of.tolist())) < 2:
        return parts
    for part in np.unique(part_of):
        rows = part_of == part
        low, high = int(lengths[rows].min()), int(lengths[rows].max())
        name = f"{low}–{high}" if low < high else f"{low}"
        parts[name] = {"examples": int(rows.sum()), **value_scores(gold[rows], predicted[rows])}
    return parts
