"""Scores of numbers, and perplexity: sums over the corpus, divided once."""

from __future__ import annotations

import math

import numpy as np


def value_scores(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """Mean squared and absolute error and R², of arrays of shape (n_examples,).

    R² is None where all gold values are equal: there is no variance to explain.
    """
    error = predicted - gold
    variance = float(((gold - gold.mean()) ** 2).sum())
    squared = float((error**2).sum())
    return {
        "mse": squared / len(gold),
        "mae": float(np.abs(error).sum() / len(gold)),
        "r2": 1 - squared / variance if variance else None,
    }


def perplexity(nats: float, count: int) -> float:
    """e to the mean negative log-likelihood; infinite where a float overflows.

    Args:
        nats: negative natural log-likelihood, summed over the corpus.
        count: number of tokens, or words, that it was summed over.
    """
    try:
        return math.exp(nats / count)
    except OverflowError:
        return math.inf
