"""Aligns a text with a copy of it that a model wrote, perhaps altered, character for character."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

# Texts up to this product of their numbers of words are compared block by block, longest first,
# whose time can be cubic; longer ones by the shortest edit path.
BLOCKWISE = 10_000
# Words inserted or deleted up to which a long text is followed: time grows with their square.
MOST_EDITS = 1000


def offsets_in(text: str, copy: str, *, cut_off: bool) -> tuple[list[int | None], bool]:
    """Finds where each character of a copy stands in the text.

    Words are compared without case. In a long text that differs by more than `MOST_EDITS` words
    only the words before those are aligned.

    Args:
        cut_off: whether the copy may end early.

    Returns:
        The offset in `text` of each character of `copy`, None for what was added, and whether
        half of the words are the same: whether it is a copy at all.
    """
    if copy.strip() == text.strip():
        shift = (len(text) - len(text.lstrip())) - (len(copy) - len(copy.lstrip()))
        return [index + shift if 0 <= index + shift < len(text) else None
                for index in range(len(copy))], True
    words, copied = _words(text), _words(copy)
    offsets: list[int | None] = [None] * len(copy)
    matched = 0
    for position, copy_position in _matches([w for w, _ in words], [w for w, _ in copied]):
        matched += 1
        word, start = words[position]
        copy_start = copied[copy_position][1]
        # Lower case may be longer than what is written: İ.
        for index in range(min(len(word), len(copy) - copy_start, len(text) - start)):
            offsets[copy_start + index] = start + index
    whole = len(copied) if cut_off else (len(words) + len(copied)) / 2
    return offsets, matched >= whole / 2


def _words(string: str) -> list[tuple[str, int]]:
    return [(word[0].lower(), word.start()) for word in re.finditer(r"\w+|[^\w\s]", string)]


def _matches(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of positions of equal words, in order on both sides."""
    if len(left) * len(right) > BLOCKWISE:
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
    for edits in range(MOST_EDITS + 1):
        before.append(furthest.copy())
        for diagonal in range(-edits, edits + 1, 2):
            position = _step(furthest, diagonal, edits)[1]
            while (position < len(left) and position - diagonal < len(right)
                   and left[position] == right[position - diagonal]):
                position += 1
            furthest[diagonal] = position
            if position >= len(left) and position - diagonal >= len(right):
                return _equal_words(before, diagonal, position)
    within = [(2 * position - diagonal, diagonal) for diagonal, position in furthest.items()
              if position <= len(left) and position - diagonal <= len(right)
              and (diagonal - MOST_EDITS) % 2 == 0]
    diagonal = max(within)[1] if within else 0
    return _equal_words(before, diagonal, furthest[diagonal]) if within else []


def _step(furthest: dict[int, int], diagonal: int, edits: int) -> tuple[int, int]:
    """The diagonal that a path comes from with its last edit, and the position it starts at."""
    inserted = diagonal == -edits or (
        diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
    if inserted:
        return diagonal + 1, furthest[diagonal + 1]
    return diagonal - 1, furthest[diagonal - 1] + 1


def _equal_words(before: Sequence[dict[int, int]], diagonal: int,
                 position: int) -> list[tuple[int, int]]:
    """Walks a path back to its start."""
    pairs: list[tuple[int, int]] = []
    for edits in range(len(before) - 1, -1, -1):
        previous, start = _step(before[edits], diagonal, edits)
        pairs += [(i, i - diagonal) for i in range(position - 1, start - 1, -1)]
        position = before[edits][previous]
        diagonal = previous
    return pairs[::-1]
