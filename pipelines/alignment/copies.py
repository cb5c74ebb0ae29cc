"""Aligns a text with a copy that a model wrote of it, perhaps altered, character by character."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

# Up to this product of their numbers of words, texts are compared by longest blocks first, which
# can take cubic time; longer ones by the shortest edit path.
MAX_BLOCKWISE = 10_000
# Insertions and deletions of words that are followed in a long text: time grows with their square.
MAX_EDITS = 1000


def offsets_in(text: str, copy: str, *, cut_off: bool) -> tuple[list[int | None], bool]:
    """Finds the offset in the text of each character of a copy.

    Words are compared without case. In a long text that differs by more than `MAX_EDITS` words
    only the words before those are aligned.

    Args:
        cut_off: whether the copy may end early.

    Returns:
        The offset in `text` of each character of `copy`, None for what was added, and whether
        half of the words are the same: whether it is a copy at all.
    """
    if copy.strip() == text.strip():
        shift = _n_leading_blanks(text) - _n_leading_blanks(copy)
        shifted = range(shift, shift + len(copy))
        return [offset if 0 <= offset < len(text) else None for offset in shifted], True
    words, starts = _words(text)
    copied_words, copied_starts = _words(copy)
    offsets: list[int | None] = [None] * len(copy)
    n_matched = 0
    for position, copied_position in _matches(words, copied_words):
        n_matched += 1
        start, copied_start = starts[position], copied_starts[copied_position]
        # Lower case may be longer than what is written: İ.
        length = min(len(words[position]), len(copy) - copied_start, len(text) - start)
        offsets[copied_start : copied_start + length] = range(start, start + length)
    n_words = len(copied_words) if cut_off else (len(words) + len(copied_words)) / 2
    return offsets, n_matched >= n_words / 2


def _n_leading_blanks(string: str) -> int:
    return len(string) - len(string.lstrip())


def _words(string: str) -> tuple[list[str], list[int]]:
    """The words of a string in lower case, and where they start."""
    matches = list(re.finditer(r"\w+|[^\w\s]", string))
    return [match[0].lower() for match in matches], [match.start() for match in matches]


def _matches(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of positions of equal words, in order on both sides."""
    if len(left) * len(right) > MAX_BLOCKWISE:
        yield from _on_shortest_path(left, right)
        return
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for block in matcher.get_matching_blocks():
        for index in range(block.size):
            yield block.a + index, block.b + index


def _on_shortest_path(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """The equal words on the shortest path of insertions and deletions from left to right.

    The greedy algorithm of Myers, "An O(ND) Difference Algorithm and Its Variations" (1986),
    section 3. `furthest[k]` is the position in `left` that the paths reach on diagonal k, where
    the position in `right` is k less.
    """
    furthest = {1: 0}
    before: list[dict[int, int]] = []  # what was reached with one edit less, for each number
    for n_edits in range(MAX_EDITS + 1):
        before.append(furthest.copy())
        for diagonal in range(-n_edits, n_edits + 1, 2):
            start = _step(furthest, diagonal, n_edits)[1]
            position = start + _n_equal(left, right, start, start - diagonal)
            furthest[diagonal] = position
            if position >= len(left) and position - diagonal >= len(right):
                return _equal_words(before, diagonal, position)
    reached = []
    for diagonal, position in furthest.items():
        is_within = position <= len(left) and position - diagonal <= len(right)
        if is_within and (diagonal - MAX_EDITS) % 2 == 0:
            reached.append((2 * position - diagonal, diagonal))
    diagonal = max(reached)[1] if reached else 0
    return _equal_words(before, diagonal, furthest[diagonal]) if reached else []


def _n_equal(left: Sequence[str], right: Sequence[str], start: int, other_start: int) -> int:
    """The number of equal words from two positions on."""
    limit = min(len(left) - start, len(right) - other_start)
    n = 0
    while n < limit and left[start + n] == right[other_start + n]:
        n += 1
    return n


def _step(furthest: dict[int, int], diagonal: int, n_edits: int) -> tuple[int, int]:
    """The diagonal that a path comes from with its last edit, and the position it starts at."""
    is_insertion = diagonal == -n_edits
    if not is_insertion and diagonal != n_edits:
        is_insertion = furthest[diagonal - 1] < furthest[diagonal + 1]
    if is_insertion:
        return diagonal + 1, furthest[diagonal + 1]
    return diagonal - 1, furthest[diagonal - 1] + 1


def _equal_words(
    before: Sequence[dict[int, int]], diagonal: int, position: int
) -> list[tuple[int, int]]:
    """Walks a path back to its start."""
    pairs: list[tuple[int, int]] = []
    for n_edits in range(len(before) - 1, -1, -1):
        previous, start = _step(before[n_edits], diagonal, n_edits)
        pairs += [(i, i - diagonal) for i in range(position - 1, start - 1, -1)]
        position = before[n_edits][previous]
        diagonal = previous
    return pairs[::-1]
