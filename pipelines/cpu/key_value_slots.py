"""Keys and values of answers in progress, each in a slot of its own, and attention over them.

A row that ends leaves a free slot, which the next prompt takes. So keys and values are copied only
where a row outgrows its slot or few rows are left in many slots, and little padding is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from pipelines.cpu.attention import attend

SPARE = 16  # columns of a block beyond its longest prompt; most answers are shorter
SPARSE = 3  # times as many slots as rows: then all rows move into one block


class Block:
    """R slots of C columns each, numbered from `first`.

    Attributes:
        lengths: (R,), the number of tokens in each slot; 0 where it is free.
        layers: for each layer (2, R, G, C, D), keys and values.
    """

    def __init__(
        self, first: int, size: int, columns: int, config: PreTrainedConfig, dtype: torch.dtype
    ):
        width = getattr(config, "head_dim", None)
        width = width or config.hidden_size // config.num_attention_heads
        self.first, self.size, self.columns = first, size, columns
        self.lengths = torch.zeros(size, dtype=torch.long)
        # Zeros, since what is masked has to be finite.
        shape = 2, size, config.num_key_value_heads, columns, width
        self.layers = [torch.zeros(shape, dtype=dtype) for _ in range(config.num_hidden_layers)]


class Located(NamedTuple):
    """Those of some slots that lie in one block.

    Attributes:
        block: the block.
        which: (n,), their indices among the slots that were asked for.
        rows: (n,), their rows in the block.
    """

    block: Block
    which: Tensor
    rows: Tensor


class Slots:
    """Slots for keys and values: blocks are allocated as needed, and dropped once they are empty.

    Args:
        config: of the model.
        dtype: of keys and values.
        prefix_length: P, the number of tokens that all prompts begin with; they are read once.

    Attributes:
        blocks: those with a slot in use.
        allocated: how many slots there ever were; a slot's number among these names it.
        prefix: for each layer (2, G, P, D), keys and values of the shared prefix, once it is read.
    """

    def __init__(self, config: PreTrainedConfig, *, dtype: torch.dtype, prefix_length: int = 0):
        self.config, self.dtype, self.prefix_length = config, dtype, prefix_length
        self.blocks: list[Block] = []
        self.allocated = 0
        self.prefix: list[Tensor] = []

    def take(self, lengths: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        """Takes slots for new prompts, and room for one more token of each running row.

        Args:
            lengths: (B,), tokens of each new prompt.
            running: (N,), slots of the rows that go on.

        Returns:
            (N,) and (B,), the slots of these rows and of the new ones from now on.
        """
        size = sum(block.size for block in self.blocks)
        sparse = size >= SPARSE * (len(running) + len(lengths))
        moving = torch.full(running.shape, sparse)
        for block, which, rows in self.locate(running):
            block.lengths[rows] += 1
            moving[which] |= block.lengths[rows] > block.columns
        old = running[moving]
        outgrown = self.lengths_of(old)
        taken = self._allocate(torch.cat([outgrown, lengths]), only_new=sparse)
        new, prompts = taken[: len(old)], taken[len(old) :]
        self._move(old, new)
        self.release(old)
        return running.masked_scatter(moving, new), prompts

    def release(self, slots: Tensor) -> None:
        """Frees slots, and drops the blocks that this leaves empty."""
        for block, _, rows in self.locate(slots):
            block.lengths[rows] = 0
        self.blocks = [block for block in self.blocks if block.lengths.any()]

    def lengths_of(self, slots: Tensor) -> Tensor:
        """(N,), the number of tokens in each slot."""
        lengths = torch.zeros_like(slots)
        for block, which, rows in self.locate(slots):
            lengths[which] = block.lengths[rows]
        return lengths

    def locate(self, slots: Tensor) -> Iterator[Located]:
        """Sorts (N,) slots by the blocks that they lie in."""
        for block in self.blocks:
            inside = (slots >= block.first) & (slots < block.first + block.size)
            which = inside.nonzero()[:, 0]
            if len(which):
                yield Located(block, which, slots[which] - block.first)

    def _allocate(self, lengths: Tensor, *, only_new: bool) -> Tensor:
        """(B,) slots for rows of these lengths: free ones, the narrowest first, then new ones."""
        slots = torch.full(lengths.shape, -1)
        narrowest_first = sorted(self.blocks, key=lambda block: block.columns)
        for block in [] if only_new else narrowest_first:
            fits = (slots < 0) & (lengths + SPARE // 2 <= block.columns)
            which = fits.nonzero()[:, 0]
            free = (block.lengths == 0).nonzero()[: len(which), 0]
            which = which[: len(free)]
            slots[which] = block.first + free
            block.lengths[free] = lengths[which]
        left = slots < 0
        if left.any():
            size, columns = int(left.sum()), int(lengths[left].max()) + SPARE
            block = Block(self.allocated, size, columns, self.config, self.dtype)
            block.lengths[:] = lengths[left]
            slots[left] = block.first + torch.arange(size)
            self.allocated += size
            self.blocks.append(block)
        return slots

    def _move(self, old: Tensor, new: Tensor) -> None:
        """Copies keys and values from (N,) slots to others."""
        for source, moved, source_rows in self.locate(old):
            for target, which, target_rows in self.locate(new[moved]):
                columns = min(source.columns, target.columns)
                rows = source_rows[which]
                for states, copy in zip(source.layers, target.layers, strict=True):
                    copy[:, target_rows, :, :columns] = states[:, rows, :, :columns]


class SharedPrefix:
    """The P tokens that all prompts begin with, as a part of the first pass.

    Attributes:
        tokens: P.
        positions: (P,).
    """

    def __init__(self, slots: Slots):
        self.slots, self.tokens = slots, slots.prefix_length
        self.positions = torch.arange(self.tokens)
        self.mask = causal_mask(self.tokens, slots.dtype)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """Queries (H, P, D), and keys and values (G, P, D), to (P, H, D)."""
        self.slots.prefix.append(torch.stack([key, value]))  # (2, G, P, D)
        attended, _ = attend(query[None], key[None], value[None], self.mask, scaling)
        return attended[0].transpose(0, 1)  # (P, H, D)


class Prompts:
    """B prompts of P + T tokens as a part of a pass: the last T of each, one prompt after another.

    Attributes:
        tokens: B · T.
        positions: (B · T,), of each token in its prompt.
        copies: R, how many slots each prompt is kept in.
    """

    def __init__(self, slots: Slots, taken: Tensor, length: int, copies: int = 1):
        """taken: (B · R,), the slots of the prompts; length: P + T."""
        self.slots, self.count, self.length = slots, len(taken) // copies, length
        self.copies = copies
        first = slots.prefix_length
        self.positions = torch.arange(first, length).repeat(self.count)
        self.tokens = len(self.positions)
        self.located = list(slots.locate(taken))
        self.mask = causal_mask(length, slots.dtype)[:, :, first:]  # (1, 1, T, P + T)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """Queries (H, B · T, D), and keys and values (G, B · T, D), to (B · T, H, D)."""
        query, key, value = map(self._by_prompt, (query, key, value))  # (B, ., T, D)
        if self.slots.prefix_length:
            keys, values = self.slots.prefix[layer]  # (G, P, D)
            key, value = _behind(keys, key), _behind(values, value)  # (B, G, P + T, D)
        for block, which, rows in self.located:
            for cached, states in zip(block.layers[layer], (key, value), strict=True):
                cached[rows, :, : self.length] = states[which // self.copies]
        attended, _ = attend(query, key, value, self.mask, scaling)  # (B, H, T, D)
        return attended.transpose(1, 2).flatten(0, 1)  # (B · T, H, D)

    def _by_prompt(self, states: Tensor) -> Tensor:
        """(., B · T, D) to (B, ., T, D)."""
        return states.unflatten(1, (self.count, -1)).transpose(0, 1)


class LastTokens:
    """The last token of each of N running rows as a part of a pass.

    Attributes:
        tokens: N.
        positions: (N,), of each token in its row.
    """

    def __init__(self, slots: Slots, running: Tensor):
        """running: (N,), the slots of the rows."""
        self.tokens = len(running)
        self.positions = slots.lengths_of(running) - 1
        lowest = torch.finfo(slots.dtype).min
        self.located = []
        for located in slots.locate(running):
            lengths = located.block.lengths
            beyond = torch.arange(int(lengths.max())) >= lengths[:, None]  # (R, S)
            mask = torch.zeros(beyond.shape, dtype=slots.dtype).masked_fill_(beyond, lowest)
            self.located.append((located, mask[:, None, None]))  # (R, 1, 1, S)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """Queries (H, N, D), and keys and values (G, N, D), to (N, H, D)."""
        query, key, value = (states.transpose(0, 1) for states in (query, key, value))  # (N, ., D)
        attended = torch.empty_like(query)
        for (block, which, rows), mask in self.located:
            for cached, states in zip(block.layers[layer], (key, value), strict=True):
                cached[rows, :, self.positions[which]] = states[which]
            keys, values = block.layers[layer][:, :, :, : mask.shape[-1]]  # (R, G, S, D)
            # Free slots are asked too, since selecting rows would copy keys and values.
            queries = query.new_zeros(block.size, query.shape[1], 1, query.shape[2])
            queries[rows, :, 0] = query[which]  # (R, H, 1, D)
            attended[which] = attend(queries, keys, values, mask, scaling)[0][rows, :, 0]
        return attended


def causal_mask(length: int, dtype: torch.dtype) -> Tensor:
    """(1, 1, length, length), added to scores: rules out later tokens."""
    lowest = torch.finfo(dtype).min
    return torch.full((length, length), lowest, dtype=dtype).triu(1)[None, None]


def _behind(prefix: Tensor, states: Tensor) -> Tensor:
    """(G, P, D) before each of (B, G, T, D): (B, G, P + T, D)."""
    return torch.cat([prefix.expand(len(states), -1, -1, -1), states], dim=2)
