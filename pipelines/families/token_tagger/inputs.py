"""The inputs of a network that tags tokens: what each token brings, and rows as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from pipelines.examples import Fields
from pipelines.families.token_tagger.units import Encoded, Window
from pipelines.networks.labels import IGNORED


def extra_inputs(model: PreTrainedModel, words: Sequence[str]) -> dict[str, list[Any]]:
    """What a model takes beside token ids: (T,) numbers or (T, F) rows of them by name.

    Args:
        words: (T,), the words of a text, of which each is one token.
    """
    return _asked(model, "extra_inputs", words) | word_inputs(model, words)


def word_inputs(model: Any, words: Sequence[str]) -> dict[str, list[Any]]:
    """What a model takes of the (W,) words of a whole text: (W,) numbers by name."""
    return _asked(model, "word_inputs", words)


def window_row(
    model: Any, window: Window, of_words: Mapping[str, Sequence[int]]
) -> dict[str, list[Any]]:
    """What a model takes for a window: (T,) numbers or (T, F) rows of them by name.

    Args:
        of_words: from `word_inputs`, of the whole text: a match may cross the border of two
            windows.
    """
    row = {"input_ids": window.input_ids, **_asked(model, "extra_inputs", window.words)}
    for name, values in of_words.items():
        row[name] = [values[word] if word >= 0 else 0 for word in window.word_of]
    return row


def window_inputs(model: Any, text: Encoded) -> list[dict[str, list[Any]]]:
    """The `window_row` of each window of a text."""
    of_words = word_inputs(model, text.words)
    return [window_row(model, window, of_words) for window in text.windows]


def _asked(model: Any, method: str, words: Sequence[str]) -> dict[str, list[Any]]:
    own = getattr(model, method, None)
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
