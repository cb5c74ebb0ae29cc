"""Attention by plain matmuls: heads that share keys are rows of one matmul, and dropout is cheap.

The library's own plain attention (`eager`) copies keys and values for each head. The fused kernel
has no dropout on a CPU, and its backward pass takes five times as long on short rows (bf16, 46
tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from pipelines.cpu.dropout import dropout as cheap_dropout

NAME = "grouped"
# Models whose scores are softmax(s Q Kᵀ + mask) and nothing else: no soft cap, sink or distance.
PLAIN = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "distilbert",
        "electra",
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "roberta",
        "xlm-roberta",
    }
)


def use_grouped_attention(model: nn.Module) -> None:
    """Sets this attention in the networks of a model that are of `PLAIN`; others are unchanged."""
    for network in _plain_networks(model):
        network.set_attn_implementation(NAME)


@contextmanager
def grouped_attention_during(model: nn.Module) -> Iterator[None]:
    """Sets this attention, and the one from before again at the end."""
    before = [(network, network.config._attn_implementation) for network in _plain_networks(model)]
    use_grouped_attention(model)
    try:
        yield
    finally:
        for network, implementation in before:
            network.set_attn_implementation(implementation)


def _plain_networks(model: nn.Module) -> list[PreTrainedModel]:
    networks = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    return [network for network in networks if network.config.model_type in PLAIN]


class Part(Protocol):
    """Some tokens of a pass, which attend to each other or to cached ones, and to no other part."""

    @property
    def tokens(self) -> int:
        """N, the number of its tokens."""

    @property
    def positions(self) -> Tensor:
        """(N,), the position of each token in its text."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """Queries (H, N, D) and keys and values (G, N, D) of a layer to (N, H, D)."""


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    parts: Sequence[Part] = (),
    **_: object,
) -> tuple[Tensor, Tensor | None]:
    """softmax(s Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1).

    Heads share keys as in Ainslie et al. (2023).

    Args:
        module: the attention layer.
        query: (B, H, T, D).
        key: (B, G, S, D), H a multiple of G.
        value: (B, G, S, D).
        attention_mask: (B, 1, T, S or more), added to the scores; the first S columns count.
        scaling: s; D^-1/2 by default.
        dropout: probability that a weight is dropped.
        parts: for B = 1, the parts that the T tokens fall into, in this order, each with an
            attention of its own; the mask is ignored.

    Returns:
        (B, T, H, D), and the weights (B, H, T, S) or None where there are `parts`.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if parts:
        return _attend_in_parts(module, query[0], key[0], value[0], scaling, parts)[None], None
    attended, weights = attend(query, key, value, attention_mask, scaling, dropout)
    return attended.transpose(1, 2).contiguous(), weights  # (B, T, H, D)


def _attend_in_parts(
    module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float, parts: Sequence[Part]
) -> Tensor:
    """Queries (H, T, D) and keys and values (G, T, D) to (T, H, D)."""
    sizes = [part.tokens for part in parts]
    states = zip(
        query.split(sizes, dim=1), key.split(sizes, dim=1), value.split(sizes, dim=1), strict=True
    )
    return torch.cat(
        [
            part.attend(module.layer_idx, *own, scaling)
            for part, own in zip(parts, states, strict=True)
        ]
    )


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """What `grouped_attention` computes, as (B, H, T, D), and the weights (B, H, T, S)."""
    batch, heads, length, width = query.shape
    groups, keys = key.shape[1:3]
    scaled = query if scaling == 1 else query * scaling
    rows = scaled.reshape(batch, groups, -1, width)  # (B, G, H / G · T, D)
    scores = rows @ key.transpose(2, 3)  # (B, G, H / G · T, S)
    if mask is not None:
        scores = scores.view(batch, heads, length, keys) + mask[..., :keys]  # (B, H, T, S)
    weights = scores.softmax(-1)
    if dropout:  # 0 except in training
        # Compiled code makes its own random bits.
        drop = nn.functional.dropout if torch.compiler.is_compiling() else cheap_dropout
        weights = drop(weights, dropout)
    attended = weights.view(batch, groups, -1, keys) @ value  # (B, G, H / G · T, D)
    return attended.view(query.shape), weights.view(batch, heads, length, keys)


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, eager_mask)
