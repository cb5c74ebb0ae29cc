"""A cache of keys and values with room behind what is read: a step writes its own columns and copies no others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 8  # columns that are made at a time; most answers are shorter


class RoomyLayer(DynamicLayer):
    """The library's growing layer, (B, G, T, D), within larger tensors; rows leave by the last ones taking their place.

    Attributes:
        rooms: the tensors that `keys` and `values` are the first rows and columns of.
    """

    rooms: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        past = used + key_states.shape[2]
        if not self.rooms or self.rooms[0].shape[2] < past:
            self.resize([[self.keys], [self.values]] if used else [[], []], like=(key_states, value_states),
                        columns=used, room=past - used + ROOM)
        for room, states in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, used:past] = states
        self.keys, self.values = (room[:, :, :past] for room in self.rooms)
        return self.keys, self.values

    def resize(self, parts: Any, *, like: tuple[Tensor, Tensor], columns: int, room: int = ROOM) -> None:
        """Puts the keys of some batches, and their values, one below the other, each in the last of these columns."""
        rows = sum(map(len, parts[0])) or len(like[0])
        rooms = []
        for states, example in zip(parts, like, strict=True):
            made = example.new_empty(rows, example.shape[1], columns + room, example.shape[3])
            start = 0
            for part in states:
                kept = min(columns, part.shape[2])
                made[start:start + len(part), :, :columns - kept] = 0  # masked, but not to be infinite
                made[start:start + len(part), :, columns - kept:columns] = part[:, :, part.shape[2] - kept:]
                start += len(part)
            rooms.append(made)
        self.rooms = tuple(rooms)
        self.keys, self.values = (made[:, :, :columns] for made in self.rooms)

    def keep(self, count: int, holes: Tensor, others: Tensor) -> None:
        """Keeps the first rows, after those in `holes` are replaced by the `others`."""
        columns = self.get_seq_length()
        for room in self.rooms:
            room[holes, :, :columns] = room[others, :, :columns]
        self.rooms = tuple(room[:count] for room in self.rooms)
        self.keys, self.values = (room[:, :, :columns] for room in self.rooms)


def roomy_cache(config: Any) -> DynamicCache:
    """A cache for a model, whose growing layers are roomy; those of sliding windows are the library's."""
    cache = DynamicCache(config=config)
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = RoomyLayer
    return cache


def keep_rows(cache: DynamicCache, kept: list[int], device: torch.device) -> list[int]:
    """Keeps the rows that are named in ascending order, and gives the order in which they stand from now on."""
    count, stay = len(kept), set(kept)
    holes, others = [place for place in range(count) if place not in stay], [place for place in kept if place >= count]
    order = list(range(count))
    for hole, other in zip(holes, others, strict=True):
        order[hole] = other
    where = [torch.tensor(places, dtype=torch.long, device=device) for places in (holes, others, order)]
    layers: Any = cache.layers
    for layer in layers:
        if isinstance(layer, RoomyLayer):
            layer.keep(count, where[0], where[1])
        else:
            layer.batch_select_indices(where[2])
    return order
