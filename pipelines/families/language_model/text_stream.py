"""Training texts as parallel streams, cut into segments: truncated back-propagation through time.

In each epoch the texts are shuffled and written one after another, then laid into B columns of one
length. A step reads the next `bptt` tokens of all columns; the state goes on to the step after it,
the gradient does not (Mikolov et al. 2010; Merity et al. 2018, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipelines.networks.labels import IGNORED

Segment = dict[str, Tensor]


class TextStream(Dataset[Segment]):
    """The segments of an epoch, in the order in which they have to be read.

    An item holds `input_ids` and `labels`, both (B, bptt), the last one shorter: what is read, and
    the token that follows each. -100 stands after an end mark, since what text follows is chance,
    and at padding. `begins` is whether the segment is the first of its epoch.

    Args:
        rows: token ids of each text, marks included.
        columns: B, of this process.
        bptt: tokens that a gradient flows back.
        begin, padding: token ids.
        processes: that read different columns of the same texts.
        rank: which of them this one is.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        *,
        columns: int,
        bptt: int,
        begin: int,
        padding: int,
        seed: int = 0,
        processes: int = 1,
        rank: int = 0,
    ):
        self.rows = [torch.tensor(row) for row in rows]
        self.columns, self.bptt = columns, bptt
        self.begin, self.padding, self.seed = begin, padding, seed
        self.processes, self.rank = processes, rank
        tokens = sum(len(row) for row in self.rows)
        self.length = -(-(tokens - 1) // (columns * processes))  # tokens read in a column
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffles the texts as the epoch has them."""
        random = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(len(self.rows), generator=random).tolist()
        stream = torch.cat([self.rows[row] for row in order])  # (N,)
        columns = self.columns * self.processes
        padded = stream.new_full((columns * self.length + 1,), self.padding)
        padded[: len(stream)] = stream
        following = padded[1:].clone()
        following[(following == self.begin) | (following == self.padding)] = IGNORED
        own = slice(self.rank * self.columns, (self.rank + 1) * self.columns)
        self.inputs = padded[:-1].view(columns, self.length)[own]  # (B, length)
        self.labels = following.view(columns, self.length)[own]

    def __len__(self) -> int:
        return -(-self.length // self.bptt)

    def __getitem__(self, index: int) -> Segment:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = slice(index * self.bptt, (index + 1) * self.bptt)
        return {
            "input_ids": self.inputs[:, part],
            "labels": self.labels[:, part],
            "begins": torch.tensor(index == 0),
        }
