"""Keys and values of answers that are being written, each in a slot of its own, and attention over them.

A row that ends leaves a free slot behind, which the next prompt takes: no step copies what was read before, and no row
is padded to the length of another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.networks.cpu_attention import attend

ROOM = 16  # columns beyond what is needed when slots are laid out; most answers are shorter


class Slots:
    """R slots of C columns for the keys and values of each layer.

    Attributes:
        lengths: (R,), tokens that each slot holds; 0 where it is free.
        layers: keys and values, (R, G, C, D) each.
    """

    def __init__(self, config: Any, *, dtype: torch.dtype):
        groups = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.lengths = torch.zeros(0, dtype=torch.long)
        self.layers = [(torch.zeros(0, groups, 0, width, dtype=dtype), torch.zeros(0, groups, 0, width, dtype=dtype))
                       for _ in range(config.num_hidden_layers)]

    def take(self, lengths: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        """Takes slots for prompts of (B,) tokens and for one token more of each running row.

        Args:
            running: (N,), slots of the rows that go on.

        Returns:
            (N,) and (B,), where these rows and the new ones are from now on.
        """
        self.lengths[running] += 1
        count = len(running) + len(lengths)
        longest = int(torch.cat([lengths, self.lengths[running]]).max())
        if count > len(self.lengths) or count < len(self.lengths) // 2 or longest > self.layers[0][0].shape[2]:
            running = self._lay_out(running, rows=count + count // 4, columns=longest + ROOM)
        new = (self.lengths == 0).nonzero()[:len(lengths), 0]
        self.lengths[new] = lengths
        return running, new

    def leave(self, slots: Tensor) -> None:
        self.lengths[slots] = 0

    def _lay_out(self, running: Tensor, *, rows: int, columns: int) -> Tensor:
        """Makes so many slots, the first of which are those of the running rows."""
        held = self.lengths[running]
        read = int(held.max()) - 1 if len(held) else 0
        for number, pair in enumerate(self.layers):
            # What is masked has to be a number.
            made = [states.new_zeros(rows, states.shape[1], columns, states.shape[3]) for states in pair]
            for states, old in zip(made, pair, strict=True):
                states[:len(running), :, :read] = old[running, :, :read]
            self.layers[number] = made[0], made[1]
        self.lengths = torch.cat([held, held.new_zeros(rows - len(held))])
        return torch.arange(len(held))


class Prompts:
    """Prompts of one length T among the tokens of a pass: (B, T) tokens, one after the other.

    Attributes:
        places: (B,), their slots.
        tokens: B · T.
        positions: (B · T,), of each token in its prompt.
    """

    def __init__(self, slots: Slots, places: Tensor, length: int):
        self.slots, self.places, self.length = slots, places, length
        self.tokens, self.positions = len(places) * length, torch.arange(length).repeat(len(places))
        dtype = slots.layers[0][0].dtype
        self.later = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype).triu(1)[None, None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(H, B · T, D), and keys and values (G, B · T, D), to (B · T, H, D)."""
        query, key, value = (states.unflatten(1, (len(self.places), self.length)).transpose(0, 1)
                             for states in (query, key, value))                                   # (B, ., T, D)
        for held, states in zip(self.slots.layers[layer], (key, value), strict=True):
            held[self.places, :, :self.length] = states
        return attend(query, key, value, self.later, scaling)[0].transpose(1, 2).flatten(0, 1)


class LastTokens:
    """The last token of each running row among the tokens of a pass, (N,) of them.

    Attributes:
        places: (N,), their slots.
        tokens: N.
        positions: (N,), of each token in its row.
    """

    def __init__(self, slots: Slots, places: Tensor):
        self.slots, self.places, self.tokens = slots, places, len(places)
        self.rows = int(places.max()) + 1
        lengths = slots.lengths[:self.rows]
        self.positions = slots.lengths[places] - 1
        self.columns = int(lengths[places].max())
        dtype = slots.layers[0][0].dtype
        free = torch.arange(self.columns) >= lengths[:, None]                                      # (R, S)
        self.free = torch.zeros(free.shape, dtype=dtype).masked_fill_(free, torch.finfo(dtype).min)[:, None, None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(H, N, D), and keys and values (G, N, D), to (N, H, D)."""
        for held, states in zip(self.slots.layers[layer], (key, value), strict=True):
            held[self.places, :, self.positions] = states.transpose(0, 1)
        keys, values = (held[:self.rows, :, :self.columns] for held in self.slots.layers[layer])
        asked = query.new_zeros(self.rows, query.shape[0], 1, query.shape[2])
        asked[self.places, :, 0] = query.transpose(0, 1)
        return attend(asked, keys, values, self.free, scaling)[0][self.places, :, 0]
