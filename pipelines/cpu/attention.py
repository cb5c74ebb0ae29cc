"""Attention by plain products, for a CPU: heads that share keys are rows of one product, and dropout is cheap.

The library's own plain attention (`eager`) copies keys and values for each head; the fused kernel has no dropout on a
CPU, and its backward pass takes five times as long on short rows (bf16, 46 tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from pipelines.cpu.dropout import dropout as cheap_dropout

NAME = "grouped"
# Models whose scores are softmax(s Q Kᵀ + mask) and nothing else: no soft cap, sink or distance.
PLAIN = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "llama", "mistral", "qwen2", "qwen3",
                   "roberta", "xlm-roberta"})


def attend_plainly(model: nn.Module) -> None:
    """Makes the networks in a model that are of `PLAIN` attend so; others are left as they are."""
    for network in model.modules():
        if isinstance(network, PreTrainedModel) and network.config.model_type in PLAIN:
            network.set_attn_implementation(NAME)


class Part(Protocol):
    """Some of the tokens of a pass, which attend to each other or to what was read before, and to no other part."""

    @property
    def tokens(self) -> int:
        """How many there are."""

    @property
    def positions(self) -> Tensor:
        """(N,), the place of each in its text."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """(H, N, D), and keys and values (G, N, D), N its tokens, to (N, H, D)."""


def grouped_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                      scaling: float | None = None, dropout: float = 0.0, *, parts: Sequence[Part] = (),
                      shared: int = 0, **_: Any) -> tuple[Tensor, Tensor | None]:
    """softmax(s Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1), heads sharing keys (Ainslie et al. 2023).

    Args:
        query: (B, H, T, D).
        key, value: (B, G, S, D), H a multiple of G.
        attention_mask: (B, 1, T, S), added to the scores; of S the first columns count.
        scaling: s; D^-1/2 by default.
        parts: for B = 1, how the T tokens fall into parts, in this order, each with an attention of its own; the mask
            is not looked at.
        shared: P of `attend_behind`; the mask is that of P + T tokens.

    Returns:
        (B, T, H, D) and the weights (B, H, T, S), or None where there are `parts` or `shared`.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if parts:
        layer: Any = module
        split = (states[0].split([part.tokens for part in parts], dim=1) for states in (query, key, value))
        return torch.cat([part.attend(layer.layer_idx, *states, scaling)
                          for part, *states in zip(parts, *split, strict=True)])[None], None
    if shared:
        assert attention_mask is not None
        found = attend_behind(query, key, value, attention_mask, scaling, dropout, shared)
        return found.transpose(1, 2).contiguous(), None
    found, weights = attend(query, key, value, attention_mask, scaling, dropout)
    return found.transpose(1, 2).contiguous(), weights


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float,
           dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    """What `grouped_attention` gives, but (B, H, T, D), and the weights."""
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


def attend_behind(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, dropout: float,
                  shared: int) -> Tensor:
    """Attention in texts of P + T tokens that all begin with the same P = `shared`, P ≤ T, which are there once.

    The first row holds these, and after them what nobody reads; each other row holds the last T tokens of a text.

    Args:
        query: (1 + B, H, T, D).
        key, value: (1 + B, G, T, D).
        mask: (1, 1, P + T, P + T), added to the scores.

    Returns:
        (1 + B, H, T, D).
    """
    first = attend(query[:1], key[:1], value[:1], mask[:, :, :-shared, :-shared], scaling, dropout)[0]
    keys, values = (torch.cat([states[:1, :, :shared].expand(states.shape[0] - 1, -1, -1, -1), states[1:]], dim=2)
                    for states in (key, value))                                                   # (B, G, P + T, D)
    return torch.cat([first, attend(query[1:], keys, values, mask[:, :, shared:], scaling, dropout)[0]])


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, eager_mask)
