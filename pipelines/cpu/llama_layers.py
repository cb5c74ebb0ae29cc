"""Llama's layers for prediction on a CPU: the library's mathematics in fewer products and fewer passes over memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipelines.cpu.attention import Part, grouped_attention


def use_lean_layers(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Replaces the layers of a Llama by lean ones, which cannot be trained or saved; other models stay as they are.

    Args:
        dtype: number format of the lean layers; where that of the model is wider, weights are rounded once.
    """
    config: Any = model.config
    if config.model_type != "llama" or config.attention_bias or config.mlp_bias or config.hidden_act != "silu":
        return
    layers = model.get_decoder().layers
    for place, layer in enumerate(layers):
        layers[place] = LeanLayer(layer, last=place == len(layers) - 1, dtype=dtype)


class LeanLayer(nn.Module):
    """One layer of a Llama: what reads the same states is one product, and residuals are added within products.

    The factors of the norms (Zhang and Sennrich 2019) and of the scores are part of the weights.

    Args:
        layer: the library's.
        last: whether no other layer reads its states.
        dtype: number format of its weights.
    """

    def __init__(self, layer: Any, *, last: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.last = last
        attention, net = layer.self_attn, layer.mlp
        self.layer_idx, self.width = attention.layer_idx, attention.head_dim
        self.heads = attention.q_proj.out_features // self.width
        self.rotated = self.heads + attention.k_proj.out_features // self.width  # queries and keys
        self.eps = layer.input_layernorm.variance_epsilon
        with torch.no_grad():
            self.qkv = _columns(layer.input_layernorm, attention.q_proj.weight * attention.scaling,
                                attention.k_proj.weight, attention.v_proj.weight).to(dtype)
            self.out = attention.o_proj.weight.t().contiguous().to(dtype)
            self.gate_up = _columns(layer.post_attention_layernorm, net.gate_proj.weight, net.up_proj.weight).to(dtype)
            self.down = net.down_proj.weight.t().contiguous().to(dtype)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *, past_key_values: Any = None,
                position_embeddings: tuple[Tensor, Tensor], parts: Sequence[Part] = (), wanted: Tensor | None = None,
                **_: Any) -> Tensor:
        """States, (B, T, H), to those of the next layer.

        Args:
            parts: see `grouped_attention`.
            wanted: places among the B · T tokens; of the last layer's states the others are not made to the end.
        """
        batch, length, size = hidden_states.shape
        heads = (_scaled(hidden_states, self.eps) @ self.qkv).view(batch, length, -1, self.width)
        rotated = _rotated(heads[:, :, :self.rotated], position_embeddings).transpose(1, 2)       # (B, heads, T, D)
        queries, keys = rotated[:, :self.heads], rotated[:, self.heads:]
        values = heads[:, :, self.rotated:].transpose(1, 2)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx)
        found = grouped_attention(self, queries, keys, values, attention_mask, 1.0, parts=parts)[0]
        states = torch.addmm(hidden_states.view(-1, size), found.view(batch * length, -1), self.out)
        if self.last and wanted is not None:
            states[wanted] = self._net(states[wanted])
        else:
            states = self._net(states)
        return states.view(batch, length, size)

    def _net(self, states: Tensor) -> Tensor:
        """(N, H) states plus what the feed-forward net makes of them, in place."""
        gates, ups = (_scaled(states, self.eps) @ self.gate_up).chunk(2, dim=-1)
        return states.addmm_(nn.functional.silu(gates, inplace=True).mul_(ups), self.down)


def _columns(norm: Any, *weights: Tensor) -> Tensor:
    """Weights that read a norm's outcome, as one, times its factors: (H, sum of rows), few rows read it fast."""
    return (torch.cat(weights) * norm.weight).t().contiguous()


def _scaled(states: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps)."""
    length = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
    return states * (length.square_().div_(states.shape[-1]).add_(eps).rsqrt_()).to(states.dtype)


def _rotated(heads: Tensor, position_embeddings: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su et al. 2021) of heads, (B, T, N, D), by cosines and sines, (B, T, D) each."""
    cosines, sines = (factors.unsqueeze(2) for factors in position_embeddings)
    half = heads.shape[-1] // 2
    rotated = heads * cosines
    rotated[..., :half].addcmul_(heads[..., half:], sines[..., :half], value=-1)
    rotated[..., half:].addcmul_(heads[..., :half], sines[..., half:])
    return rotated
