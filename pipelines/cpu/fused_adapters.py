"""Each LoRA layer as one node of the graph: fewer passes over memory, less kept for backward.

peft's layer is six operations forward, four of them as large as the layer's output, and a step of
fine-tuning on a CPU is bound by memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class AdaptedLinear(torch.autograd.Function):
    """y = x Wᵀ + x Aᵀ (s B)ᵀ (Hu et al. 2021, equation 3), W frozen; gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """x (..., D), weight (H, D), a (R, D), b (H, R) to (..., H), in the dtype of the weight."""
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)  # (N, D)
        a, b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        low = rows @ a.T  # (N, R)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        adapted = (rows @ weight.T).addmm_(low, b.T)  # (N, H)
        return adapted.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])  # (N, H)
        low_gradient = gradient @ b  # (N, R)
        x_gradient = None
        if ctx.needs_input_grad[0]:  # not in the first layer: nothing trainable lies before it
            x_gradient = (gradient @ weight).addmm_(low_gradient, a).view(ctx.shape)
        a_gradient = (low_gradient.T @ rows).float()  # (R, D)
        b_gradient = (low.T @ gradient).T.float() * ctx.scale  # (H, R)
        return x_gradient, None, a_gradient, b_gradient, None


class FusedLinear(Linear):
    """peft's LoRA layer around a linear layer, computed as one node.

    A layer changes its class, not its `forward`: compiled code guards on the class, so one
    compilation serves all layers.
    """

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        base: Any = self.get_base_layer()
        if self.merged or self.disable_adapters:
            return base(x)
        [name] = self.active_adapters
        adapted: Any = AdaptedLinear.apply
        return adapted(
            x, base.weight, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
        )


@contextmanager
def fused_adapters(model: nn.Module) -> Iterator[None]:
    """Fuses the plain LoRA layers of a model, and makes them peft's again at the end.

    Other layers (DoRA, dropout, quantised, several adapters) stay peft's throughout.
    """
    layers = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.__class__ = FusedLinear
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = Linear


def _is_plain(layer: Linear) -> bool:
    names = layer.active_adapters
    if len(names) != 1 or names[0] not in layer.lora_A or layer.lora_variant:
        return False
    name = names[0]
    base = layer.get_base_layer()
    frozen_linear = type(base) is nn.Linear and base.bias is None and not base.weight.requires_grad
    no_dropout = isinstance(layer.lora_dropout[name], nn.Identity)
    return frozen_linear and no_dropout and layer.lora_B[name].bias is None
