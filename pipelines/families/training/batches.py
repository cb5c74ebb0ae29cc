"""Training batches of rows of about one length: hardly any padding, and a budget in tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import BatchRebalanceSampler

from pipelines.families.batching import length_cuts
from pipelines.families.training import TrainerMixin


class LengthBatchSampler(BatchRebalanceSampler):
    """Batches of rows of one length, as many as `batch_tokens` admits, in random order.

    Rows are sorted by length, ties shuffled anew in each epoch, and cut where rows x longest would
    pass the budget: every epoch has the same number of batches. With several processes, neighbours
    in length go to the processes of one step. `Trainer` takes a `BatchRebalanceSampler` as it is,
    without sharding it again.

    Args:
        lengths: tokens of each row.
        batch_tokens: tokens of a batch at most, padding included; a longer row is a batch alone.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_tokens: int,
        processes: int = 1,
        rank: int = 0,
        seed: int = 0,
    ):
        self.row_lengths = torch.tensor(lengths)
        self.cuts = length_cuts(sorted(lengths), batch_tokens)
        self.processes, self.rank, self.seed, self.epoch = processes, rank, seed, 0

    def __iter__(self) -> Iterator[list[int]]:
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self.row_lengths), generator=random)
        in_order = shuffled[self.row_lengths[shuffled].argsort(stable=True)].tolist()
        batches = [in_order[start:end] for start, end in self.cuts]
        starts = range(0, len(batches), self.processes)
        groups = [batches[start : start + self.processes] for start in starts]
        for group in torch.randperm(len(groups), generator=random).tolist():
            # The last group may be short: its first batches are repeated, since each process
            # needs one.
            yield groups[group][self.rank % len(groups[group])]

    def __len__(self) -> int:
        return -(-len(self.cuts) // self.processes)


class LengthBatches(TrainerMixin):
    """Trains on batches of rows of one length instead of a fixed number of random rows.

    Args:
        batch_tokens: tokens of a batch at most, padding included; without it, the trainer's own
            batches.
    """

    def __init__(self, *arguments: Any, batch_tokens: int | None = None, **keywords: Any):
        self.batch_tokens = batch_tokens
        super().__init__(*arguments, **keywords)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.batch_tokens is None:
            return super()._get_train_sampler(train_dataset)
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return LengthBatchSampler(
            lengths_of(rows),
            batch_tokens=self.batch_tokens,
            processes=self.args.world_size,
            rank=self.args.process_index,
            seed=self.args.seed,
        )


def lengths_of(rows: Any) -> Sequence[int]:
    """Tokens of each row; rows that lie on disk know them, as `lengths`."""
    known: Sequence[int] | None = getattr(rows, "lengths", None)
    return [len(ids) for ids in input_ids(rows)] if known is None else known


def input_ids(rows: Any) -> Any:
    """The column `input_ids` of a `datasets.Dataset` or of a list of rows."""
    if isinstance(rows, Sequence):
        return [row["input_ids"] for row in rows]
    return rows["input_ids"]
