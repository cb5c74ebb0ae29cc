"""Batches of rows of about one length: hardly any padding, and a budget in tokens, not rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
# Rounding depends on the shape of a batch, so `predict` forms batches within this many examples. A
# caller that predicts a file in parts of a multiple of it gets the bytes that the whole file gives.
CHUNK = 256


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cuts a sequence into parts of `CHUNK` items; the last may be shorter."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def progress_bar(total: int, what: str, *, show: bool) -> tqdm:
    """A bar that counts texts, on a terminal only."""
    return tqdm(total=total, desc=what, unit="text", disable=None if show else True)


def length_cuts(sorted_lengths: Sequence[int], batch_tokens: int) -> list[tuple[int, int]]:
    """Cuts rows in order of length where rows x longest would pass the budget.

    A row that is longer than the budget is a batch alone.
    """
    cuts, start = [], 0
    for end, length in enumerate(sorted_lengths):
        if end > start and length * (end + 1 - start) > batch_tokens:
            cuts.append((start, end))
            start = end
    return [*cuts, (start, len(sorted_lengths))] if sorted_lengths else []


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of rows in batches of about one length, the shortest first: for prediction."""
    in_order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cuts = length_cuts([lengths[row] for row in in_order], batch_tokens)
    return [in_order[start:end] for start, end in cuts]
