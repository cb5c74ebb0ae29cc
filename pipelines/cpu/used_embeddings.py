"""Word embeddings of which only the rows that training reads are trained.

Without weight decay the others never change: their gradient is zero in each step. For MiniLM on
5,000 sentences they are a third of all weights, for multilingual encoders nine tenths, and
clipping, optimizer and weight averaging pass over them for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

MOST_USED = 0.5  # of the rows; if more are read, all are trained


class UsedEmbeddings(nn.Module):
    """Looks up like the embedding it replaces, and is saved and loaded under its name and shape.

    Attributes:
        weight: (R, H), the rows that are trained.
        table: (V, H), all rows; those that are trained are out of date here.
        used: (R,), which rows of `table` those of `weight` are, ascending.
        index: (V,), for each row of `table` its row in `weight`, or -1.
    """

    def __init__(self, whole: nn.Embedding, used: Tensor):
        super().__init__()
        self.embedding_dim, self.num_embeddings = whole.embedding_dim, whole.num_embeddings
        self.table = whole.weight.detach()
        device = self.table.device
        self.used = used.to(device)
        self.index = torch.full((whole.num_embeddings,), -1, device=device)
        self.index[self.used] = torch.arange(len(used), device=device)
        # The row of padding has no gradient.
        padding = -1 if whole.padding_idx is None else int(self.index[whole.padding_idx])
        self.padding = padding if padding >= 0 else None
        self.weight = nn.Parameter(self.table[self.used])

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) to (…, H)."""
        rows = self.index[ids]
        looked_up = embedding(rows.clamp(min=0), self.weight, padding_idx=self.padding)
        unused = rows < 0
        if unused.any():
            frozen = self.table[ids].to(looked_up.dtype)
            looked_up = torch.where(unused[..., None], frozen, looked_up)
        return looked_up

    @torch.no_grad()
    def whole(self) -> Tensor:
        """(V, H), all rows as they are now; the next call changes them in place."""
        self.table[self.used] = self.weight.to(self.table.dtype)
        return self.table

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.whole().clone()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: list[str], *_: Any
    ) -> None:
        table = state_dict.get(f"{prefix}weight")
        if table is None:
            missing.append(f"{prefix}weight")
            return
        with torch.no_grad():
            self.table.copy_(table)
            self.weight.copy_(self.table[self.used])


@contextmanager
def train_used_embeddings(model: Any, used: Tensor) -> Iterator[None]:
    """Trains only the used rows of a model's word embeddings, where that leaves out many.

    Args:
        model: one with `get_input_embeddings`; any other is left as it is.
        used: (R,), in ascending order.
    """
    whole: Any = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if not _is_worth_it(model, whole, used):
        yield
        return
    rows = UsedEmbeddings(whole, used)
    model.set_input_embeddings(rows)
    try:
        yield
    finally:
        with torch.no_grad():
            whole.weight.copy_(rows.whole())
        model.set_input_embeddings(whole)


def _is_worth_it(model: nn.Module, whole: object, used: Tensor) -> bool:
    if type(whole) is not nn.Embedding or whole.max_norm is not None:
        return False
    parameters = model.named_parameters(remove_duplicate=False)
    tied = sum(parameter is whole.weight for _, parameter in parameters) > 1
    few = len(used) <= MOST_USED * whole.num_embeddings
    return bool(whole.weight.requires_grad) and not tied and few
