"""Negative log-likelihoods of the tokens of texts under a causal language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.families.batching import length_batches
from pipelines.families.causal_lm.loading import most_tokens
from pipelines.networks.recurrent_lm import RecurrentLanguageModel

PIECE = 512  # tokens of a long text that a recurrent model reads at a time


@torch.inference_mode()
def nats_of_tokens(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
    advance: Callable[[int], object] = lambda count: None,
) -> list[np.ndarray]:
    """-log p of each token of a row but its first, given all before it.

    A recurrent model carries its state over any length. Another model reads a row that is longer
    than its context in windows that overlap by half: each token is scored with at least half a
    context before it, but for those at the beginning.

    Args:
        rows: token ids, the first of which is only read.
        batch_tokens: tokens of a batch at most, padding included; a longer row is a batch alone.
        advance: called with the number of rows that are done.

    Returns:
        An array (T - 1,) for each row, float64.
    """
    answers: list[np.ndarray] = [np.zeros(0)] * len(rows)
    recurrent = model if isinstance(model, RecurrentLanguageModel) else None
    context = None if recurrent else most_tokens(model.config)
    for batch in length_batches([len(row) for row in rows], batch_tokens):
        longest = max(len(rows[row]) for row in batch)
        if context is not None and longest > context:
            for row in batch:
                answers[row] = _in_windows(model, rows[row], context)
                advance(1)
            continue
        ids, mask = _padded([rows[row] for row in batch], model.device)
        nats = _carried(recurrent, ids) if recurrent else _whole(model, ids, mask)  # (B, T - 1)
        for row, values in zip(batch, nats.double().cpu().numpy(), strict=True):
            answers[row] = values[: len(rows[row]) - 1]
        advance(len(batch))
    return answers


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, T) ids, padded on the right with 0, and their mask."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids.to(device), mask.to(device)


def _whole(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, T - 1) nats by one call."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return _nats(logits[:, :-1], ids[:, 1:])


def _carried(model: RecurrentLanguageModel, ids: Tensor) -> Tensor:
    """(B, T - 1) nats, piece by piece with the state carried on."""
    state, parts = None, [ids.new_zeros(len(ids), 0, dtype=torch.float32)]
    for start, end in _pieces(ids.shape[1] - 1):
        outputs = model(input_ids=ids[:, start:end], past_key_values=state)
        state = outputs.past_key_values
        parts.append(_nats(outputs.logits, ids[:, start + 1 : end + 1]))
    return torch.cat(parts, dim=1)


def _pieces(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, PIECE):
        yield start, min(start + PIECE, length)


def _in_windows(model: Any, row: Sequence[int], context: int) -> np.ndarray:
    """(T - 1,) nats of a row that is longer than the context."""
    step = max(context // 2, 1)
    parts, scored = [], 1  # the first token is only read
    for start in range(0, len(row), step):
        end = min(start + context, len(row))
        ids, mask = _padded([row[start:end]], model.device)
        nats = _whole(model, ids, mask)[0].double().cpu().numpy()  # of tokens start + 1 to end - 1
        parts.append(nats[scored - start - 1 :])
        scored = end
        if end == len(row):
            break
    return np.concatenate(parts)


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    """-log softmax of logits (B, T, V) at targets (B, T)."""
    rows = logits.flatten(0, 1).float()
    nats = torch.nn.functional.cross_entropy(rows, targets.flatten(), reduction="none")
    return nats.view(targets.shape)
