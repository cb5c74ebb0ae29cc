"""Texts of one split that stand, word for word or nearly, in another."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

SIMILAR = 0.6  # one word changed in a sentence of seven
# Shingles compared for each text, and texts compared at the least: what bounds the time where all
# texts are similar, as rows of one template are.
COMPARED_SHINGLES = 20_000
COMPARED_TEXTS = 20


class Match(NamedTuple):
    """The most similar text: index into `texts`, index into `others`, Jaccard similarity."""

    index: int
    other: int
    similarity: float


def shingles(text: str) -> frozenset[str]:
    """The words of a text and its pairs of neighbouring words, without case and punctuation."""
    words = re.findall(r"\w+", text.casefold())
    return frozenset(words) | {f"{a} {b}" for a, b in pairwise(words)}


def near_duplicates(texts: Sequence[str], others: Sequence[str], *,
                    threshold: float = SIMILAR) -> list[Match]:
    """Finds for each text the most similar one among the others, if that is similar enough.

    Exact as long as a text has few candidates: the prefix filter of Chaudhuri, Ganti and Kaushik
    (2006) and the positional filter of Xiao et al. (PPJoin, 2008) exclude only what cannot be more
    similar than the best so far. A text is compared with `COMPARED_SHINGLES` divided by its number
    of shingles candidates (at least `COMPARED_TEXTS`), those that share its rarest shingles first.
    With more candidates the most similar text may be missed, and the match be a less similar one;
    a text is passed for new only where all those compared are below the threshold.

    Time and memory grow with the shingles of all texts, not with the number of pairs.

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
    return sorted(matches, key=lambda match: (-match.similarity, match.index))


class _Index:
    """Sets of shingles by the rarest members of each.

    Attributes:
        ranks: shingle -> its rank, the rarest first.
        sets: the different sets, as ranks of their members.
        first: where each of them stood first.
        postings: rank of a shingle -> (size of a set, members from this one on) -> those sets.
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
        self.first = list(distinct.values())
        self.sets: list[frozenset[int]] = []
        self.postings: dict[int, dict[tuple[int, int], list[int]]] = {}
        for number, one in enumerate(distinct):
            ranks = sorted(self.ranks[shingle] for shingle in one)
            self.sets.append(frozenset(ranks))
            for position in range(_prefix(len(ranks), threshold)):
                groups = self.postings.setdefault(ranks[position], {})
                groups.setdefault((len(ranks), len(ranks) - position), []).append(number)

    def best(self, members: frozenset[str]) -> tuple[int, float] | None:
        """The most similar set, the first of equals, and its similarity."""
        ranks = sorted(self.ranks[shingle] for shingle in members if shingle in self.ranks)
        search = _Search(self, frozenset(ranks), size=len(members))
        # Shingles that no other text has come first: they are the rarest.
        unknown = len(members) - len(ranks)
        for position in range(unknown, _prefix(len(members), self.threshold)):
            rest = len(members) - position
            if rest / len(members) < search.similarity or not search.left:
                break
            for bound, numbers in self._groups(ranks[position - unknown], len(members), rest):
                if bound < max(search.similarity, self.threshold):
                    break
                search.compare(numbers, bound)
        return None if search.similarity < self.threshold else (search.first, search.similarity)

    def _groups(self, rank: int, size: int, rest: int) -> list[tuple[float, list[int]]]:
        """The sets with a shingle, and how similar those can be that share none that is rarer."""
        groups = []
        for (other_size, other_rest), numbers in self.postings.get(rank, {}).items():
            shared = min(rest, other_rest)
            groups.append((shared / (size + other_size - shared), numbers))
        return sorted(groups, key=lambda group: -group[0])


class _Search:
    """The search for the most similar set to one: the best so far, and how many may be compared."""

    def __init__(self, index: _Index, known: frozenset[int], *, size: int) -> None:
        self.index, self.known, self.size = index, known, size
        self.left = max(COMPARED_TEXTS, COMPARED_SHINGLES // max(1, size))
        self.compared: set[int] = set()
        self.similarity = 0.0
        self.first = -1

    def compare(self, numbers: Sequence[int], bound: float) -> None:
        """Compares with sets, in order, as long as one can be better than the best so far."""
        for number in numbers:
            first = self.index.first[number]
            if not self.left or (self.similarity == bound and first > self.first):
                return
            if number in self.compared:
                continue
            self.left -= 1
            self.compared.add(number)
            other = self.index.sets[number]
            shared = len(self.known & other)
            similarity = shared / (self.size + len(other) - shared)
            if (similarity, -first) > (self.similarity, -self.first):
                self.similarity, self.first = similarity, first


def _prefix(size: int, threshold: float) -> int:
    """Of how many of its rarest members a similar set has to share one."""
    return size - math.ceil(threshold * size) + 1
