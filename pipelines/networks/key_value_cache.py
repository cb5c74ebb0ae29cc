"""A cache of keys and values with spare columns, so that a step copies no others than its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SPARE = 8  # columns that are allocated at a time; most answers are shorter


class PreallocatedLayer(DynamicLayer):
    """The library's growing layer, (B, G, T, D), as a view of larger tensors.

    Rows are removed by moving the last ones into their places.

    Attributes:
        buffers: the tensors that `keys` and `values` are the first rows and columns of.
    """

    buffers: tuple[Tensor, ...] = ()

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        end = used + key_states.shape[2]
        if not self.buffers or self.buffers[0].shape[2] < end:
            spare = end - used + SPARE
            if used:
                self.stack([self], columns=used, spare=spare)
            else:
                self._view(
                    [_buffer(states, len(states), spare) for states in (key_states, value_states)],
                    columns=0,
                )
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, used:end] = states  # (B, G, T', D)
        return self._view(self.buffers, columns=end)

    def stack(self, layers: Sequence[Any], *, columns: int, spare: int = SPARE) -> None:
        """Takes the rows of several layers, one below the other, each in the last of its columns.

        Args:
            layers: with keys and values; this layer may be among them.
            columns: how many columns of each row are kept, counted from the right.
            spare: columns to allocate behind them.
        """
        buffers = []
        for parts in ([layer.keys for layer in layers], [layer.values for layer in layers]):
            buffer = _buffer(parts[0], sum(map(len, parts)), columns + spare)
            start = 0
            for part in parts:
                kept = min(columns, part.shape[2])
                rows = buffer[start : start + len(part)]
                rows[:, :, : columns - kept] = 0  # masked, but it has to be finite
                rows[:, :, columns - kept : columns] = part[:, :, part.shape[2] - kept :]
                start += len(part)
            buffers.append(buffer)
        self._view(buffers, columns=columns)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Puts copies of each row behind it: (B, G, T, D) to (B · repeats, G, T, D)."""
        columns = self.get_seq_length()
        buffers = [buffer.repeat_interleave(repeats, 0) for buffer in self.buffers]
        self._view(buffers, columns=columns)

    def keep(self, count: int, gaps: Tensor, others: Tensor) -> None:
        """Keeps the first `count` rows, after those in `gaps` are replaced by the `others`."""
        columns = self.get_seq_length()
        for buffer in self.buffers:
            buffer[gaps, :, :columns] = buffer[others, :, :columns]
        self._view([buffer[:count] for buffer in self.buffers], columns=columns)

    def _view(self, buffers: Sequence[Tensor], *, columns: int) -> tuple[Tensor, Tensor]:
        self.buffers = tuple(buffers)
        keys, values = (buffer[:, :, :columns] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values


def _buffer(like: Tensor, rows: int, columns: int) -> Tensor:
    """An empty tensor (rows, G, columns, D) like one of (B, G, T, D)."""
    return like.new_empty(rows, like.shape[1], columns, like.shape[3])


def preallocated_cache(config: Any) -> DynamicCache:
    """A cache whose growing layers are preallocated; those of sliding windows are the library's."""
    cache = DynamicCache(config=config)
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = PreallocatedLayer
    return cache


def is_preallocated(cache: DynamicCache) -> bool:
    """Whether all layers are; else the cache holds a window of each row only."""
    return all(isinstance(layer, PreallocatedLayer) for layer in cache.layers)


def keep_rows(cache: DynamicCache, kept: Sequence[int], device: torch.device) -> list[int]:
    """Removes all rows from a cache except those of the given ascending indices.

    Returns:
        The indices of the rows that stay, in the order in which they now stand.
    """
    count, stay = len(kept), set(kept)
    gaps = [row for row in range(count) if row not in stay]
    others = [row for row in kept if row >= count]
    order = list(range(count))
    for gap, other in zip(gaps, others, strict=True):
        order[gap] = other
    index = [torch.tensor(rows, dtype=torch.long, device=device) for rows in (gaps, others, order)]
    layers: Any = cache.layers
    for layer in layers:
        if isinstance(layer, PreallocatedLayer):
            layer.keep(count, index[0], index[1])
        else:
            layer.batch_select_indices(index[2])
    return order
