"""An interpolated Kneser-Ney trigram over integer symbols: words, or the characters of a word.

Kneser and Ney 1995, in the interpolated form of Chen and Goodman (1999, section 2.7). With counts
c, N1+(· v w) the number of different symbols that were seen before v w, and a discount D for each
order:

    p3(w | u v) = max(c(u v w) - D3, 0) / c(u v)          + D3 N1+(u v ·) / c(u v)       p2(w | v)
    p2(w | v)   = max(N1+(· v w) - D2, 0) / N1+(· v ·)    + D2 N1+(v ·)   / N1+(· v ·)   p1(w)
    p1(w)       = max(N1+(· w) - D1, 0) / N1+(· ·)        + D1 N1+(·)     / N1+(· ·)     1 / V

D = n1 / (n1 + 2 n2), n1 and n2 the numbers of n-grams that count once and twice in their order (Ney
et al. 1994). Before the first symbol stands one begin mark, which is never predicted; nothing
precedes it, so that after it p2 reads plain counts c(v w). A context that was never seen leaves
everything to the order below it. So the probabilities of the V symbols sum to one in each context.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

BEGIN = -1  # the mark before the first symbol
Context = tuple[int, ...]


class Order(NamedTuple):
    """The counts of one order.

    Attributes:
        counts: context -> symbol -> its count after it.
        totals: context -> the sum of these.
        discount: D.
    """

    counts: Mapping[Context, Mapping[int, int]]
    totals: Mapping[Context, int]
    discount: float


class KneserNey:
    """The model of one set of sequences.

    Args:
        trigrams: (u, v, w) -> c(u v w); u is None where v is the begin mark.
        n_symbols: V; the symbols are 0 to V - 1.
    """

    def __init__(self, trigrams: Mapping[tuple[int | None, int, int], int], n_symbols: int):
        self.trigrams, self.n_symbols = dict(trigrams), n_symbols
        third: dict[Context, Counter[int]] = defaultdict(Counter)
        second: dict[Context, Counter[int]] = defaultdict(Counter)
        for (u, v, w), count in sorted(self.trigrams.items(), key=_sort_key):
            if u is None:
                second[(v,)][w] += count
            else:
                third[(u, v)][w] += count
                second[(v,)][w] += 1  # u v w is one more kind of symbol before v w
        first: dict[Context, Counter[int]] = {(): Counter()}
        for followers in second.values():
            first[()].update(dict.fromkeys(followers, 1))
        self.orders = [_order(counts) for counts in (first, second, third)]

    def sizes(self) -> dict[str, int]:
        """How many symbols there are, and how many kinds of trigrams were counted."""
        return {"symbols": self.n_symbols, "trigrams": len(self.trigrams)}

    def probability(self, symbol: int, context: Sequence[int]) -> float:
        """p(symbol | context).

        Args:
            context: all symbols before it, the begin mark not among them; the last two are read.
        """
        before: Context = (BEGIN, *context[-2:]) if len(context) < 2 else tuple(context[-2:])
        result = 1 / self.n_symbols
        for length, order in enumerate(self.orders):
            if length > len(before):
                break
            key = before[len(before) - length :]
            total = order.totals.get(key, 0)
            if not total:
                break
            counts = order.counts[key]
            discounted = max(counts.get(symbol, 0) - order.discount, 0.0)
            result = (discounted + order.discount * len(counts) * result) / total
        return result

    def nats(self, sequence: Sequence[int]) -> np.ndarray:
        """Negative natural log-likelihoods of the symbols of a sequence, (T,)."""
        probabilities = [
            self.probability(symbol, sequence[max(0, position - 2) : position])
            for position, symbol in enumerate(sequence)
        ]
        return -np.log(np.array(probabilities, dtype=float))

    def to_array(self) -> np.ndarray:
        """(N, 4) rows of u, v, w and c(u v w), int64; u is -2 before the begin mark."""
        rows = [
            (-2 if u is None else u, v, w, count)
            for (u, v, w), count in sorted(self.trigrams.items(), key=_sort_key)
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    @classmethod
    def from_array(cls, rows: np.ndarray, n_symbols: int) -> KneserNey:
        """The model of what `to_array` gave.

        Raises:
            ValueError: for an array that it cannot have given.
        """
        if rows.ndim != 2 or rows.shape[1] != 4 or n_symbols < 1:
            raise ValueError(f"got counts of shape {rows.shape} for {n_symbols} symbols")
        if rows.size and (rows[:, :3].max() >= n_symbols or rows[:, 3].min() < 1):
            raise ValueError("the counts hold symbols beyond the vocabulary, or counts below 1")
        trigrams = {(None if u == -2 else u, v, w): count for u, v, w, count in rows.tolist()}
        return cls(trigrams, n_symbols)


def fit(sequences: Iterable[Sequence[int]], *, n_symbols: int) -> KneserNey:
    """Counts the trigrams of sequences of symbols from 0 to `n_symbols` - 1."""
    trigrams: Counter[tuple[int | None, int, int]] = Counter()
    for sequence in sequences:
        before: tuple[int | None, int] = (None, BEGIN)
        for symbol in sequence:
            trigrams[(*before, symbol)] += 1
            before = (before[1], symbol)
    return KneserNey(trigrams, n_symbols)


def _order(counts: Mapping[Context, Mapping[int, int]]) -> Order:
    totals = {context: sum(followers.values()) for context, followers in counts.items()}
    how_often: Counter[int] = Counter()
    for followers in counts.values():
        how_often.update(followers.values())
    once, twice = how_often[1], how_often[2]
    # Without an n-gram that counts once the formula gives 0, and what was not seen would be
    # impossible; with none that counts twice it gives 1, and what was seen once would be forgotten.
    discount = once / (once + 2 * twice) if once and twice else 0.5
    return Order(counts, totals, discount)


def _sort_key(item: tuple[tuple[int | None, int, int], int]) -> tuple[float, int, int]:
    (u, v, w), _ = item
    return (-math.inf if u is None else u, v, w)
