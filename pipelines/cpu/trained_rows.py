"""Word embeddings of which only the rows that training reads are trained.

Without weight decay the others never change: their gradient is zero in each step. For MiniLM on 5,000 sentences they
are a third of all weights, for multilingual encoders nine tenths, and clipping, optimizer and running mean pass over
them for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

WORTH = 0.5  # of the rows; if more are read, all are trained


class TrainedRows(nn.Module):
    """Looks rows up like the embedding it stands for, under whose name and shape it is saved and loaded.

    Attributes:
        weight: (R, H), the rows that are trained.
        table: (V, H), all rows; those that are trained are out of date here.
        place: (V,), the place of each row in `weight`, or -1.
    """

    def __init__(self, whole: nn.Embedding, used: Tensor):
        """whole: what it stands for, which shares its table; used: (R,), rows in ascending order."""
        super().__init__()
        self.embedding_dim, self.num_embeddings = whole.embedding_dim, whole.num_embeddings
        self.used, self.table = used.to(whole.weight.device), whole.weight.detach()
        self.place = torch.full((whole.num_embeddings,), -1, device=self.table.device)
        self.place[self.used] = torch.arange(len(used), device=self.table.device)
        # The row of padding has no gradient.
        padding = -1 if whole.padding_idx is None else int(self.place[whole.padding_idx])
        self.padding = padding if padding >= 0 else None
        self.weight = nn.Parameter(self.table[self.used])

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) -> (…, H)."""
        places = self.place[ids]
        found = embedding(places.clamp(min=0), self.weight, padding_idx=self.padding)
        others = places < 0
        if others.any():
            found = torch.where(others[..., None], self.table[ids].to(found.dtype), found)
        return found

    @torch.no_grad()
    def whole(self) -> Tensor:
        """(V, H), all rows as they are now; the next call changes them in place."""
        self.table[self.used] = self.weight.to(self.table.dtype)
        return self.table

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.whole().clone()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: list[str],
                              *_: Any) -> None:
        given = state_dict.get(f"{prefix}weight")
        if given is None:
            missing.append(f"{prefix}weight")
            return
        with torch.no_grad():
            self.table.copy_(given)
            self.weight.copy_(self.table[self.used])


@contextmanager
def only_rows(model: Any, used: Tensor) -> Iterator[None]:
    """Trains, of a model's word embeddings, the rows that are used alone, where that leaves many out.

    Args:
        used: (R,), in ascending order.
    """
    whole = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if type(whole) is not nn.Embedding or not whole.weight.requires_grad or whole.max_norm is not None or \
            sum(parameter is whole.weight for _, parameter in model.named_parameters(remove_duplicate=False)) > 1 or \
            len(used) > WORTH * whole.num_embeddings:
        yield
        return
    rows = TrainedRows(whole, used)
    model.set_input_embeddings(rows)
    try:
        yield
    finally:
        with torch.no_grad():
            whole.weight.copy_(rows.whole())
        model.set_input_embeddings(whole)
