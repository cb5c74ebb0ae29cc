"""Keys and values of answers that are being written, each in a slot of its own, and attention over them.

A row that ends leaves a free slot behind, which another prompt takes. So what was read is copied only where a row
outgrows its slot or few rows are left in much room, and little is padded to the length of a longer row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pipelines.cpu.attention import attend

ROOM = 16  # columns of a block beyond its longest prompt; most answers are shorter
SPARSE = 3  # times as many slots as rows: then the rows move together


class Block:
    """R slots of C columns each, numbered from `first`.

    Attributes:
        lengths: (R,), tokens that each slot holds; 0 where it is free.
        layers: for each layer (2, R, G, C, D), keys and values.
    """

    def __init__(self, first: int, rows: int, columns: int, config: Any, dtype: torch.dtype):
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.first, self.rows, self.columns = first, rows, columns
        self.lengths = torch.zeros(rows, dtype=torch.long)
        # What is masked has to be a number.
        self.layers = [torch.zeros(2, rows, config.num_key_value_heads, columns, width, dtype=dtype)
                       for _ in range(config.num_hidden_layers)]


class Slots:
    """Slots for the keys and values of rows: blocks are made as they are needed, and dropped once nobody is there.

    Args:
        shared: P, tokens that all prompts begin with; they are read once.

    Attributes:
        blocks: those that hold a row.
        made: how many slots there ever were. A slot's number among these is called its place.
        beginning: for each layer (2, G, P, D), keys and values of what all prompts begin with, once it is read.
    """

    def __init__(self, config: Any, *, dtype: torch.dtype, shared: int = 0):
        self.config, self.dtype, self.shared = config, dtype, shared
        self.blocks: list[Block] = []
        self.made = 0
        self.beginning: list[Tensor] = []

    def take(self, lengths: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        """Takes places for prompts of (B,) tokens and room for one token more of each running row.

        Args:
            running: (N,), places of the rows that go on.

        Returns:
            (N,) and (B,), where these rows and the new ones are from now on.
        """
        sparse = sum(block.rows for block in self.blocks) >= SPARSE * (len(running) + len(lengths))
        moving = torch.full(running.shape, sparse)
        for block, here, slots in self.holding(running):
            block.lengths[slots] += 1
            moving[here] |= block.lengths[slots] > block.columns
        longer = self.lengths_at(running[moving])
        found = self._free(torch.cat([longer, lengths]), anew=sparse)
        old, new = running[moving], found[:len(longer)]
        self._move(old, new)
        self.leave(old)
        return running.masked_scatter(moving, new), found[len(longer):]

    def leave(self, places: Tensor) -> None:
        for block, _, slots in self.holding(places):
            block.lengths[slots] = 0
        self.blocks = [block for block in self.blocks if block.lengths.any()]

    def lengths_at(self, places: Tensor) -> Tensor:
        """(N,), tokens that each place holds."""
        lengths = torch.zeros_like(places)
        for block, here, slots in self.holding(places):
            lengths[here] = block.lengths[slots]
        return lengths

    def holding(self, places: Tensor) -> Iterator[tuple[Block, Tensor, Tensor]]:
        """The blocks that hold (N,) places: which of these each holds, and their slots in it."""
        for block in self.blocks:
            here = ((places >= block.first) & (places < block.first + block.rows)).nonzero()[:, 0]
            if len(here):
                yield block, here, places[here] - block.first

    def _free(self, lengths: Tensor, *, anew: bool) -> Tensor:
        """(B,) places for rows of so many tokens: free ones, the narrowest first, else those of a new block."""
        places = torch.full(lengths.shape, -1)
        for block in [] if anew else sorted(self.blocks, key=lambda block: block.columns):
            fitting = ((places < 0) & (lengths + ROOM // 2 <= block.columns)).nonzero()[:, 0]
            slots = (block.lengths == 0).nonzero()[:len(fitting), 0]
            places[fitting[:len(slots)]] = block.first + slots
            block.lengths[slots] = lengths[fitting[:len(slots)]]
        left = places < 0
        if left.any():
            block = Block(self.made, int(left.sum()), int(lengths[left].max()) + ROOM, self.config, self.dtype)
            self.made += block.rows
            block.lengths[:] = lengths[left]
            places[left] = block.first + torch.arange(block.rows)
            self.blocks.append(block)
        return places

    def _move(self, old: Tensor, new: Tensor) -> None:
        for source, moved, out in self.holding(old):
            for target, here, into in self.holding(new[moved]):
                columns = min(source.columns, target.columns)
                for states, made in zip(source.layers, target.layers, strict=True):
                    made[:, into, :, :columns] = states[:, out[here], :, :columns]


class Beginning:
    """The P tokens that all prompts begin with, among the tokens of the first pass."""

    def __init__(self, slots: Slots):
        self.slots, self.tokens, self.positions = slots, slots.shared, torch.arange(slots.shared)
        self.later = _later(slots.shared, slots)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(H, P, D), and keys and values (G, P, D), to (P, H, D)."""
        self.slots.beginning.append(torch.stack([key, value]))
        return attend(query[None], key[None], value[None], self.later, scaling)[0][0].transpose(0, 1)


class Prompts:
    """Prompts of P + T tokens among the tokens of a pass: (B, T) tokens, one prompt after the other.

    Attributes:
        places: (B,), of their keys and values.
        tokens: B · T.
        positions: (B · T,), of each token in its prompt.
    """

    def __init__(self, slots: Slots, places: Tensor, length: int):
        self.slots, self.places, self.length = slots, places, length
        self.positions = torch.arange(slots.shared, length).repeat(len(places))
        self.tokens = len(self.positions)
        self.held = list(slots.holding(places))
        self.later = _later(length, slots)[:, :, slots.shared:]                                   # (1, 1, T, P + T)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(H, B · T, D), and keys and values (G, B · T, D), to (B · T, H, D)."""
        query, key, value = (states.unflatten(1, (len(self.places), -1)).transpose(0, 1)
                             for states in (query, key, value))                                   # (B, ., T, D)
        if self.slots.shared:
            key, value = (torch.cat([shared.expand(len(states), -1, -1, -1), states], dim=2)
                          for shared, states in zip(self.slots.beginning[layer], (key, value), strict=True))
        for block, here, slots in self.held:
            for held, states in zip(block.layers[layer], (key, value), strict=True):
                held[slots, :, :self.length] = states[here]
        return attend(query, key, value, self.later, scaling)[0].transpose(1, 2).flatten(0, 1)


def _later(length: int, slots: Slots) -> Tensor:
    """(1, 1, length, length), a mask of what comes later."""
    return torch.full((length, length), torch.finfo(slots.dtype).min, dtype=slots.dtype).triu(1)[None, None]


class LastTokens:
    """The last token of each running row among the tokens of a pass, (N,) of them.

    Attributes:
        places: (N,), of their keys and values.
        tokens: N.
        positions: (N,), of each token in its row.
    """

    def __init__(self, slots: Slots, places: Tensor):
        self.places, self.tokens = places, len(places)
        self.positions = slots.lengths_at(places) - 1
        self.held = []
        for block, here, own in slots.holding(places):
            free = torch.arange(int(block.lengths.max())) >= block.lengths[:, None]                   # (R, S)
            blocked = torch.zeros(free.shape, dtype=slots.dtype).masked_fill_(free, torch.finfo(slots.dtype).min)
            self.held.append((block, here, own, blocked[:, None, None]))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(H, N, D), and keys and values (G, N, D), to (N, H, D)."""
        query, key, value = (states.transpose(0, 1) for states in (query, key, value))            # (N, ., D)
        found = torch.empty_like(query)
        for block, here, slots, blocked in self.held:
            for held, states in zip(block.layers[layer], (key, value), strict=True):
                held[slots, :, self.positions[here]] = states[here]
            keys, values = block.layers[layer][:, :, :, :blocked.shape[-1]]                          # (R, G, S, D)
            asked = query.new_zeros(block.rows, query.shape[1], 1, query.shape[2])                  # free slots too
            asked[slots, :, 0] = query[here]
            found[here] = attend(asked, keys, values, blocked, scaling)[0][slots, :, 0]
        return found
