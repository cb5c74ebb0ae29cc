"""Texts of one split that stand, word for word or nearly, in another."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

SIMILAR = 0.6  # one word changed in a sentence of seven


def shingles(text: str) -> frozenset[str]:
    """The words of a text and its pairs of neighbouring words, without case and punctuation."""
    words = re.findall(r"\w+", text.casefold())
    return frozenset(words) | {f"{a} {b}" for a, b in pairwise(words)}


def near_duplicates(texts: Sequence[str], others: Sequence[str], *,
                    threshold: float = SIMILAR) -> list[tuple[int, int, float]]:
    """Finds all pairs of similar texts, by an inverted index.

    Two sets with a Jaccard similarity of t or more share one of the rarest |a| - ceil(t |a|) + 1 members of each (the
    prefix filter of Chaudhuri, Ganti and Kaushik 2006), so that only those are looked up and none is missed.

    Args:
        texts: those to look for.
        others: those to look among.
        threshold: least Jaccard similarity of the shingles, above 0.

    Returns:
        (index into ``texts``, index into ``others``, similarity), the most similar first.
    """
    left, right = [shingles(text) for text in texts], [shingles(text) for text in others]
    frequency = Counter(shingle for members in right for shingle in members)
    index: defaultdict[str, list[int]] = defaultdict(list)
    for j, members in enumerate(right):
        for shingle in _rarest(members, frequency, threshold):
            index[shingle].append(j)
    pairs = []
    for i, members in enumerate(left):
        candidates = {j for shingle in _rarest(members, frequency, threshold) for j in index.get(shingle, ())}
        for j in candidates:
            shared = len(members & right[j])
            similarity = shared / (len(members) + len(right[j]) - shared)
            if similarity >= threshold:
                pairs.append((i, j, similarity))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def _rarest(members: frozenset[str], frequency: Counter[str], threshold: float) -> list[str]:
    n = len(members) - math.ceil(threshold * len(members)) + 1
    return sorted(members, key=lambda shingle: (frequency[shingle], shingle))[:n]
