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


class Part:
    """Rows of one length among the tokens of a pass that reads several batches: (B, T) tokens, one after the other.

    Attributes:
        rows, length: B and T.
        mask: (B, 1, T, S), added to the scores; None where every token sees all before it.
        cache: keys and values of what the rows have read; a pass puts its own in.
    """

    def __init__(self, mask: Tensor, length: int, cache: Any, *, dtype: torch.dtype) -> None:
        """Takes (B, S) `mask`, 1 where there is a token, of all that is read and of the pass's own T columns."""
        self.rows, self.length, self.cache = len(mask), length, cache
        seen = mask.bool()[:, None, None].expand(-1, -1, length, -1).tril(mask.shape[1] - length)  # (B, 1, T, S)
        blocked = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        self.mask = blocked if blocked.any() else None


def grouped_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                      scaling: float | None = None, dropout: float = 0.0, *, parts: Sequence[Part] = (),
                      **_: Any) -> tuple[Tensor, Tensor | None]:
    """softmax(s Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1), heads sharing keys (Ainslie et al. 2023).

    Args:
        query: (B, H, T, D).
        key, value: (B, G, S, D), H a multiple of G.
        attention_mask: (B, 1, T, S), added to the scores; of S the first columns count.
        scaling: s; D^-1/2 by default.
        parts: batches that are read together, B = 1 and T the tokens of all: each attends to itself and to its cache,
            by its own mask.

    Returns:
        (B, T, H, D) and the weights (B, H, T, S), or None of `parts`.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if parts:
        layer: Any = module
        return _attend_apart(layer.layer_idx, query[0], key[0], value[0], parts, scaling)[None], None
    found, weights = _attend(query, key, value, attention_mask, scaling, dropout)
    return found.transpose(1, 2).contiguous(), weights


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float,
            dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    """(B, H, T, D), and the weights."""
    batch, heads, length, width = query.shape
    groups, keys = key.shape[1:3]
    rows = (query if scaling == 1 else query * scaling).reshape(batch, groups, -1, width)
    scores = rows @ key.transpose(2, 3)                                                     # (B, G, H / G · T, S)
    if mask is not None:
        scores = scores.view(batch, heads, length, keys) + mask[..., :keys]
    weights = scores.softmax(-1)
    if dropout:  # 0 but in training
        # Compiled code makes its own random bits.
        weights = nn.functional.dropout(weights, dropout) if torch.compiler.is_compiling() else \
            cheap_dropout(weights, dropout)
    found = (weights.view(batch, groups, -1, keys) @ value).view(query.shape)
    return found, weights.view(batch, heads, length, keys)


def _attend_apart(layer: int, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part],
                  scaling: float) -> Tensor:
    """(H, N, D) and (G, N, D), N the tokens of all parts, to (N, H, D)."""
    tokens = [part.rows * part.length for part in parts]
    found = query.new_empty(query.shape[1], query.shape[0], query.shape[2])
    for part, place, *states in zip(parts, found.split(tokens), *(every.split(tokens, dim=1) for every in
                                                                  (query, key, value)), strict=True):
        q, k, v = (every.unflatten(1, (part.rows, part.length)).transpose(0, 1) for every in states)  # (B, ., T, D)
        k, v = part.cache.layers[layer].update(k, v)
        place.view(part.rows, part.length, *place.shape[1:]).copy_(
            _attend(q, k, v, part.mask, scaling)[0].transpose(1, 2))
    return found


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, eager_mask)
