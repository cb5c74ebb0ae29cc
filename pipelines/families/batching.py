"""Batches of rows of one length: hardly any padding, and a budget in tokens instead of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from tqdm.auto import tqdm
from transformers.trainer_pt_utils import BatchRebalanceSampler

Item = TypeVar("Item")
# How numbers are rounded depends on the shape of a batch, so `predict` forms batches within so many examples. A caller
# that predicts a file in parts of a multiple of CHUNK gets the very bytes that the whole file gives.
CHUNK = 256


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cuts a sequence into parts of `CHUNK` items; the last may be shorter."""
    for start in range(0, len(items), CHUNK):
        yield items[start:start + CHUNK]


def progress_bar(total: int, what: str, *, show: bool) -> Any:
    """A bar that counts texts, on a terminal only."""
    return tqdm(total=total, desc=what, unit="text", disable=None if show else True)


def length_cuts(sorted_lengths: Sequence[int], batch_tokens: int) -> list[tuple[int, int]]:
    """Cuts rows in order of length where rows x longest would pass the budget; a longer row stands alone."""
    cuts, start = [], 0
    for end, length in enumerate(sorted_lengths):
        if end > start and length * (end + 1 - start) > batch_tokens:
            cuts.append((start, end))
            start = end
    return [*cuts, (start, len(sorted_lengths))] if sorted_lengths else []


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Row numbers in batches of one length, the shortest first: for prediction, where no order has to be random."""
    in_order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [in_order[start:end] for start, end in length_cuts([lengths[row] for row in in_order], batch_tokens)]


class LengthBatchSampler(BatchRebalanceSampler):
    """Batches of rows of one length, as many as `batch_tokens` admits, in random order.

    Rows are sorted by length, ties shuffled anew in each epoch, and cut where rows x longest would pass the budget:
    every epoch has the same number of batches and hardly any padding. With several processes, neighbours in length go
    to the processes of one step. The trainer takes a BatchRebalanceSampler as it is, without sharding it again.
    """

    def __init__(self, lengths: Sequence[int], *, batch_tokens: int, processes: int = 1, rank: int = 0, seed: int = 0):
        self.sizes = torch.tensor(lengths)
        self.cuts = length_cuts(sorted(lengths), batch_tokens)
        self.processes, self.rank, self.seed, self.epoch = processes, rank, seed, 0

    def __iter__(self) -> Iterator[list[int]]:
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self.sizes), generator=random)
        in_order = shuffled[self.sizes[shuffled].argsort(stable=True)].tolist()
        batches = [in_order[start:end] for start, end in self.cuts]
        groups = [batches[start:start + self.processes] for start in range(0, len(batches), self.processes)]
        for group in torch.randperm(len(groups), generator=random).tolist():
            # The last group may be short: its first batches are seen twice, for each process needs one.
            yield groups[group][self.rank % len(groups[group])]

    def __len__(self) -> int:
        return -(-len(self.cuts) // self.processes)
