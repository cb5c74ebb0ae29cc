"""How sure a score is, and whether two differ: bootstrap, approximate randomisation, McNemar.

All tests resample *units*: documents where the ids name them, else examples. A score is a function
of corpus sums, so each unit is reduced to one row of counts and a resample is a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.corpora.splits import documents_in
from pipelines.evaluation import Report
from pipelines.examples import Example

# From sums of shape (..., n_counts) to scores.
Statistic = Callable[[np.ndarray], np.ndarray]

RESAMPLES = 2000
SEED = 0
BLOCK_BYTES = 2**26  # resamples are drawn in blocks of about this size
FEWEST_DOCUMENTS = 10  # fewer say little of how documents differ


@dataclass(frozen=True, slots=True)
class Units:
    """What is resampled: `index[i]` is the unit of example `i`, of shape (n_examples,)."""

    kind: str
    index: np.ndarray

    @property
    def count(self) -> int:
        """The number of units."""
        return int(self.index.max()) + 1 if len(self.index) else 0

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Sums the counts of examples by unit: (n_examples, n_counts) -> (n_units, n_counts)."""
        columns = [
            np.bincount(self.index, weights=column, minlength=self.count) for column in counts.T
        ]
        return np.stack(columns, axis=1)


def resampling_units(examples: Sequence[Example]) -> Units:
    """Documents where the examples name theirs (`group`, or ids `<document>-<number>`).

    Sentences of one document share their words and so their errors; resampled one by one they give
    intervals that are too narrow. With fewer than `FEWEST_DOCUMENTS` the examples are the units.
    """
    documents = documents_in(examples)
    index = {document: i for i, document in enumerate(dict.fromkeys(documents or ()))}
    if documents is None or len(index) < FEWEST_DOCUMENTS:
        return Units("example", np.arange(len(examples)))
    return Units("document", np.array([index[document] for document in documents], dtype=np.int64))


def micro_f1(sums: np.ndarray) -> np.ndarray:
    """Micro F1 from sums of (credit, gold, predicted); 1.0 with neither gold nor predictions."""
    total = sums[..., 1] + sums[..., 2]
    return np.where(total > 0, 2 * sums[..., 0] / np.maximum(total, 1), 1.0)


def mean(sums: np.ndarray) -> np.ndarray:
    """A mean from sums of (value, weight): accuracy, mean squared error, nats per token."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-300)


def mean_perplexity(sums: np.ndarray) -> np.ndarray:
    """Perplexity from sums of (nats, tokens)."""
    return np.exp(np.minimum(mean(sums), 700.0))  # beyond that a float overflows


def bootstrap_interval(
    counts: np.ndarray,
    statistic: Statistic,
    units: Units,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Any]:
    """Percentile bootstrap interval of a statistic of corpus sums.

    See Efron & Tibshirani 1993, ch. 13.

    Args:
        counts: what each example adds to the sums, of shape (n_examples, n_counts).
        statistic: such as `micro_f1`; from sums of shape (resamples, n_counts) to scores of shape
            (resamples,) or (resamples, n_scores).
        units: what is resampled, with replacement.
        confidence: of the interval.
        resamples: how many.
        seed: of the random numbers.

    Returns:
        The lower and the upper end; a pair for each score where the statistic gives several.
    """
    sums = _resampled_sums(units.sums(counts), resamples=resamples, seed=seed)
    return _percentiles(statistic(sums), confidence)


def resampled_scores(
    rows: Sequence[np.ndarray],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> np.ndarray:
    """The scores of several systems on the same resampled units.

    Args:
        rows: the counts of each system, each of shape (n_units, n_counts).
        statistic: as for `bootstrap_interval`; so are the other arguments.

    Returns:
        Array of shape (resamples, n_systems).
    """
    sums = _resampled_sums(np.hstack(rows), resamples=resamples, seed=seed)
    return statistic(sums.reshape(len(sums), len(rows), -1))


def _percentiles(scores: np.ndarray, confidence: float) -> list[object]:
    tail = (1 - confidence) / 2
    return np.quantile(scores, [tail, 1 - tail], axis=0).T.tolist()


def _resampled_sums(rows: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Sums of as many units as there are, drawn with replacement.

    Units with the same counts are drawn together, by a multinomial: of a hundred thousand
    sentences few differ.

    Args:
        rows: of shape (n_units, n_counts).
        resamples: how many.
        seed: of the random numbers.

    Returns:
        Array of shape (resamples, n_counts).
    """
    generator = np.random.default_rng(seed)
    _, first, times = np.unique(rows, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)  # so that swapping two systems' columns draws the same
    distinct, shares = rows[first[order]], times[order] / len(rows)
    blocks = [
        generator.multinomial(len(rows), shares, size=size) @ distinct
        for size in _blocks(resamples, len(distinct))
    ]
    return np.concatenate(blocks)


def _blocks(resamples: int, units: int) -> Iterator[int]:
    size = max(1, BLOCK_BYTES // (8 * max(units, 1)))
    for first in range(0, resamples, size):
        yield min(size, resamples - first)


def paired_bootstrap(
    counts_a: np.ndarray,
    counts_b: np.ndarray,
    statistic: Statistic,
    units: Units,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Report:
    """Interval of the difference of two systems on the same examples, drawn with the same units.

    Args:
        counts_a: of the first system, of shape (n_examples, n_counts).
        counts_b: of the second.
        statistic: as for `bootstrap_interval`; so are the other arguments.

    Returns:
        `delta` (a − b), its `interval` and a two-sided `p`: twice the share of resamples on the far
        side of zero, counting the observed one (Davison & Hinkley 1997, eq. 4.11).
    """
    rows = np.hstack([units.sums(counts_a), units.sums(counts_b)])
    width = counts_a.shape[1]
    sums = _resampled_sums(rows, resamples=resamples, seed=seed)
    deltas = statistic(sums[:, :width]) - statistic(sums[:, width:])
    tail = min(int((deltas <= 0).sum()), int((deltas >= 0).sum()))
    total = rows.sum(axis=0)
    return {
        "delta": float(statistic(total[:width]) - statistic(total[width:])),
        "interval": _percentiles(deltas, confidence),
        "p": min(1.0, 2 * (tail + 1) / (resamples + 1)),
    }


def approximate_randomisation(
    counts_a: np.ndarray,
    counts_b: np.ndarray,
    statistic: Statistic,
    units: Units,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> float:
    """Two-sided p of the difference when the answers to each unit are swapped at random.

    Noreen 1989; Yeh 2000. With so few units that all swaps can be enumerated, p is exact.

    Args:
        counts_a: of the first system, of shape (n_examples, n_counts).
        counts_b: of the second.
        statistic: as for `bootstrap_interval`; so are the other arguments.
    """
    rows_a, rows_b = units.sums(counts_a), units.sums(counts_b)
    difference = rows_a - rows_b
    total_a, total_b = rows_a.sum(axis=0), rows_b.sum(axis=0)
    observed = abs(statistic(total_a) - statistic(total_b))
    n = len(rows_a)
    is_exact = 2**n <= resamples
    generator = np.random.default_rng(seed)
    first = as_far = 0
    for size in _blocks(2**n if is_exact else resamples, n):
        if is_exact:
            swaps = (np.arange(first, first + size)[:, None] >> np.arange(n)) & 1
        else:
            swaps = generator.integers(0, 2, size=(size, n), dtype=np.int8)
        moved = swaps @ difference
        deltas = np.abs(statistic(total_a - moved) - statistic(total_b + moved))
        as_far += int((deltas >= observed - 1e-12).sum())
        first += size
    return as_far / 2**n if is_exact else (as_far + 1) / (resamples + 1)


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Exact two-sided p of McNemar's test: a binomial test where just one system is right.

    Args:
        correct_a: whether the first system is right, of shape (n_examples,).
        correct_b: whether the second is.
    """
    from scipy.special import bdtr

    correct_a, correct_b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    return float(min(1.0, 2 * bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
