"""Decoding of first-order chains: the best path, and the probability of each state (NumPy).

Rabiner (1989), section III. A chain of T steps and S states is given by the (S,) scores of the
first state and the (T - 1, S, S) scores of each step from one state to the next, all as logarithms.
"""

from __future__ import annotations

import numpy as np


def viterbi(first: np.ndarray, steps: np.ndarray) -> list[int]:
    """The states of the best path.

    Args:
        first: (S,) log scores.
        steps: (T - 1, S, S) log scores of previous and next state.
    """
    score = first  # (S,)
    best_previous = []
    for step in steps:
        through = score[:, None] + step  # (S, S)
        best_previous.append(through.argmax(axis=0))
        score = through.max(axis=0)
    path = [int(score.argmax())]
    for previous in reversed(best_previous):
        path.append(int(previous[path[-1]]))
    return path[::-1]


def marginals(first: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The (T, S) probabilities of the states, by forward and backward sums."""
    forward = [first]
    for step in steps:
        forward.append(log_sum(forward[-1][:, None] + step, axis=0))
    backward = [np.zeros_like(first)]
    for step in reversed(steps):
        backward.append(log_sum(step + backward[-1][None, :], axis=1))
    together = np.stack(forward) + np.stack(backward[::-1])  # (T, S)
    return np.exp(together - log_sum(together, axis=1)[:, None])


def log_sum(scores: np.ndarray, *, axis: int) -> np.ndarray:
    """log Σ exp along an axis; minus infinity where all is."""
    largest = scores.max(axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        total: np.ndarray = np.log(np.exp(scores - largest).sum(axis=axis)) + largest.squeeze(axis)
    return total
