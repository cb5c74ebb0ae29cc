"""Attention by plain products, for a CPU: heads that share keys are rows of one product, and dropout is cheap.

The library's own plain attention (`eager`) copies keys and values for each head; the fused kernel has no dropout on a
CPU, and its backward pass takes five times as long on short rows (bf16, 46 tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from pipelines.networks.dropout import dropout as cheap_dropout

NAME = "grouped"
# Models whose scores are softmax(s Q Kᵀ + mask) and nothing else: no soft cap, sink or distance.
PLAIN = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "llama", "mistral", "qwen2", "qwen3",
                   "roberta", "xlm-roberta"})


def attend_plainly(model: nn.Module) -> None:
    """Makes the networks in a model that are of `PLAIN` attend so; others are left as they are."""
    for network in model.modules():
        if isinstance(network, PreTrainedModel) and network.config.model_type in PLAIN:
            network.set_attn_implementation(NAME)


def grouped_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                      scaling: float | None = None, dropout: float = 0.0, batches: Sequence[Attending] = (),
                      **_: Any) -> tuple[Tensor, Tensor]:
    """softmax(s Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1), heads sharing keys (Ainslie et al. 2023).

    Args:
        query: (B, H, T, D).
        key, value: (B, G, S, D), H a multiple of G.
        attention_mask: (B, 1, T, S), added to the scores; of S the first columns count.
        scaling: s; D^-1/2 by default.

    Returns:
        (B, T, H, D) and the weights (B, H, T, S).
    """
    if batches:
        return _apart(module, query, key, value, batches, scaling), None
    batch, heads, length, width = query.shape
    groups, keys = key.shape[1:3]
    rows = (query * (width ** -0.5 if scaling is None else scaling)).reshape(batch, groups, -1, width)
    scores = rows @ key.transpose(2, 3)                                                     # (B, G, H / G · T, S)
    if attention_mask is not None:
        scores = scores.view(batch, heads, length, keys) + attention_mask[..., :keys]
    weights = scores.softmax(-1)
    if dropout:  # 0 but in training
        # Compiled code makes its own random bits.
        weights = nn.functional.dropout(weights, dropout) if torch.compiler.is_compiling() else \
            cheap_dropout(weights, dropout)
    found = (weights.view(batch, groups, -1, keys) @ value).view(query.shape)
    return found.transpose(1, 2).contiguous(), weights.view(batch, heads, length, keys)


class Attending:
    """What rows of one batch attend to: (B, 1, T, S) added to scores, and the cache."""

    def __init__(self, mask: Tensor, length: int, cache: Any) -> None:
        self.rows, self.length, self.cache = len(mask), length, cache
        read = mask.shape[1]
        seen = mask.bool()[:, None, None]                                    # (B, 1, 1, S)
        if length > 1:
            seen = seen & torch.ones(length, read, dtype=torch.bool).tril(read - length)
        self.mask = None if bool(seen.all()) else torch.where(seen, 0.0, torch.finfo(torch.float32).min)


def _apart(module: Any, query: Tensor, key: Tensor, value: Tensor, batches: Sequence[Attending],
           scaling: float | None) -> Tensor:
    """(1, H, N, D) → (1, N, H, D)."""
    tokens = [batch.rows * batch.length for batch in batches]
    found = []
    for batch, *parts in zip(batches, *(states[0].split(tokens, dim=1) for states in (query, key, value)), strict=True):
        q, k, v = (part.unflatten(1, (batch.rows, batch.length)).transpose(0, 1) for part in parts)  # (B, ., T, D)
        k, v = batch.cache.layers[module.layer_idx].update(k, v)
        found.append(grouped_attention(module, q, k, v, batch.mask, scaling)[0].flatten(0, 1))    # (B · T, H, D)
    return torch.cat(found)[None]


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, eager_mask)
