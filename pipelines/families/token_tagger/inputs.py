"""The inputs of a network that tags tokens: what each token brings, and rows as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from pipelines.examples import Fields
from pipelines.networks.labels import IGNORED


def extra_inputs(model: PreTrainedModel, words: Sequence[str]) -> dict[str, list[Any]]:
    """What a model takes beside token ids: (T,) numbers or (T, F) rows of them by name.

    Args:
        words: (T,), the string that each token covers.
    """
    own = getattr(model, "extra_inputs", None)
    return own(words) if own else {}


def collate(rows: Sequence[Fields], *, pad: int, padding_side: str = "right") -> dict[str, Tensor]:
    """Pads rows to the longest and adds `attention_mask`.

    Args:
        rows: of each row its inputs by name, (T,) or (T, F).
        pad: pads `input_ids`; labels are padded with -100, all else with 0.

    Returns:
        (B, T) or (B, T, F) by name.
    """
    values = {"input_ids": pad, "labels": IGNORED}
    batch = {}
    for name in rows[0]:
        columns = [torch.as_tensor(row[name]) for row in rows]
        batch[name] = pad_sequence(
            columns,
            batch_first=True,
            padding_value=values.get(name, 0),
            padding_side=padding_side,
        )
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])[:, None]  # (B, 1)
    mask = torch.arange(batch["input_ids"].shape[1]) < lengths  # (B, T)
    batch["attention_mask"] = (mask.flip(1) if padding_side == "left" else mask).long()
    return batch
