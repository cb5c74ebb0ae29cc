"""Texts of one split that are, word for word or nearly, in another."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

SIMILAR = 0.6  # one word changed in a sentence of seven
# These bound the time for each text where all are similar, as rows of one template are: entries of
# the index that are counted, shingles that are compared, and the least number of texts compared.
COUNTED_ENTRIES = 200_000
COMPARED_SHINGLES = 20_000
COMPARED_TEXTS = 20


class Match(NamedTuple):
    """The most similar text: position in `texts`, position in `others`, Jaccard similarity."""

    position: int
    other: int
    similarity: float


def shingles(text: str) -> frozenset[str]:
    """The words of a text and its pairs of neighbouring words, without case and punctuation."""
    words = re.findall(r"\w+", text.casefold())
    return frozenset(words) | {f"{a} {b}" for a, b in pairwise(words)}


def near_duplicates(
    texts: Sequence[str], others: Sequence[str], *, threshold: float = SIMILAR
) -> list[Match]:
    """Finds for each text the most similar one among the others, if that is similar enough.

    A set that is similar enough shares one of the `_prefix` rarest members of a text (the prefix
    filter of Chaudhuri, Ganti and Kaushik 2006). How many of them it shares bounds its similarity;
    candidates are compared from the highest bound down, until none can beat the best so far.

    This is exact unless a text has very many candidates: more than `COUNTED_ENTRIES` entries of the
    index for its rarest shingles, or more than `COMPARED_SHINGLES` divided by its number of
    shingles (at least `COMPARED_TEXTS`) that could be better. Then the match may be a less similar
    one, or be missed. Time and memory grow with the shingles of all texts, not with the number of
    pairs.

    Args:
        texts: those to look for.
        others: those to look among.
        threshold: least Jaccard similarity of the shingles, above 0.

    Returns:
        One match for each text that has one, the most similar first.
    """
    index = _Index([shingles(other) for other in others], threshold)
    known: dict[frozenset[str], tuple[int, float] | None] = {}
    matches = []
    for position, text in enumerate(texts):
        members = shingles(text)
        if members and members not in known:
            known[members] = index.best(members)
        if best := known.get(members):
            matches.append(Match(position, *best))
    return sorted(matches, key=lambda match: (-match.similarity, match.position))


class _Index:
    """Sets of shingles, each different one once, with an inverted index.

    Attributes:
        ranks: shingle -> its rank, the rarest first.
        sets: the ranks of the members of each set.
        sizes: ndarray of shape (n_sets,).
        first: the position at which each set occurs first.
        entries: ndarray of shape (n_members,), the sets that have each shingle, by rank.
        offsets: ndarray of shape (n_shingles + 1,), the first entry of each rank.
    """

    def __init__(self, members: Sequence[frozenset[str]], threshold: float) -> None:
        self.threshold = threshold
        distinct: dict[frozenset[str], int] = {}
        for index, one in enumerate(members):
            if one:
                distinct.setdefault(one, index)
        frequency = Counter(shingle for one in distinct for shingle in one)
        by_rarity = sorted(frequency, key=lambda shingle: (frequency[shingle], shingle))
        self.ranks = {shingle: rank for rank, shingle in enumerate(by_rarity)}
        self.sets = [frozenset(map(self.ranks.__getitem__, one)) for one in distinct]
        self.sizes = np.array([len(one) for one in self.sets], dtype=np.int64)
        self.first = list(distinct.values())
        ranks = np.fromiter((rank for one in self.sets for rank in one), dtype=np.int32)
        by_rank = np.argsort(ranks, kind="stable")
        self.entries = np.repeat(np.arange(len(self.sets), dtype=np.int32), self.sizes)[by_rank]
        self.offsets = np.searchsorted(ranks[by_rank], np.arange(len(by_rarity) + 1))

    def best(self, members: frozenset[str]) -> tuple[int, float] | None:
        """The most similar set, the first of equals, and its similarity."""
        known = frozenset(self.ranks[shingle] for shingle in members if shingle in self.ranks)
        numbers, bounds = self._candidates(known, len(members))
        most = max(COMPARED_TEXTS, COMPARED_SHINGLES // len(members))
        if len(numbers) > most:
            top = np.sort(np.argpartition(-bounds, most)[:most])
            numbers, bounds = numbers[top], bounds[top]
        best = 0.0
        best_number = -1
        for position in np.argsort(-bounds, kind="stable").tolist():
            number = int(numbers[position])
            if (-bounds[position], number) > (-best, best_number):
                break
            other = self.sets[number]
            shared = len(known & other)
            similarity = shared / (len(members) + len(other) - shared)
            if (-similarity, number) < (-best, best_number):
                best, best_number = similarity, number
        return None if best < self.threshold else (self.first[best_number], best)

    def _candidates(self, known: frozenset[int], size: int) -> tuple[np.ndarray, np.ndarray]:
        """Sets that can be similar enough, in order, and an upper bound of the similarity of each.

        Args:
            known: the ranks of those of the members of a set of this size that have one.
        """
        # Shingles without a rank come first: they are the rarest.
        rarest = sorted(known)[: max(0, _prefix(size, self.threshold) - (size - len(known)))]
        entries = [self.entries[self.offsets[rank] : self.offsets[rank + 1]] for rank in rarest]
        counts = np.cumsum(list(map(len, entries)))
        counted = max(1, int(np.searchsorted(counts, COUNTED_ENTRIES, side="right")))
        entries = entries[:counted]
        if not entries:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        together = np.concatenate(entries)
        numbers: np.ndarray
        shared: np.ndarray
        if len(together) * 8 < len(self.sets):
            numbers, shared = np.unique(together, return_counts=True)
        else:
            all_shared = np.bincount(together, minlength=len(self.sets))
            numbers = np.flatnonzero(all_shared)
            shared = all_shared[numbers]
        sizes = self.sizes[numbers]
        shared = np.minimum(shared + len(known) - len(entries), sizes)
        bounds = shared / (size + sizes - shared)
        enough = bounds >= self.threshold
        return numbers[enough], bounds[enough]


def _prefix(size: int, threshold: float) -> int:
    """The number of its rarest members of which a similar set shares at least one."""
    return size - math.ceil(threshold * size) + 1
