"""Each LoRA layer as one node of the graph: its sums are made inside the products, and little is kept for the way back.

peft's layer is six operations forward, four of them as large as the layer's output. A step of fine-tuning is bound by
memory there, most of all on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class AdaptedProduct(torch.autograd.Function):
    """y = x Wᵀ + x Aᵀ (s B)ᵀ (Hu et al. 2021, equation 3) with W frozen; gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """x (..., D), weight (H, D), a (R, D), b (H, R) -> (..., H), in the number format of the weight."""
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)                                  # (N, D)
        a, b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        low = rows @ a.T                                                                    # (N, R)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        return (rows @ weight.T).addmm_(low, b.T).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])                                # (N, H)
        back = gradient @ b                                                                 # (N, R)
        # Nothing trainable lies before the first layer, so nobody asks for its gradient.
        x = (gradient @ weight).addmm_(back, a).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return x, None, (back.T @ rows).float(), (low.T @ gradient).T.float() * ctx.scale, None


class FusedLinear(Linear):
    """peft's LoRA layer around a plain product, computed as one node.

    A layer changes its class, not its `forward`: compiled code asks for the class, and so serves all layers alike.
    """

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        base: Any = self.get_base_layer()
        if self.merged or self.disable_adapters:
            return base(x)
        [name] = self.active_adapters
        product: Any = AdaptedProduct.apply
        return product(x, base.weight, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name])


@contextmanager
def fused_adapters(model: nn.Module) -> Iterator[None]:
    """Computes the plain LoRA layers of a model so; others (DoRA, dropout, quantised, several adapters) stay peft's."""
    layers = [module for module in model.modules() if type(module) is Linear and _plain(module)]
    for layer in layers:
        layer.__class__ = FusedLinear
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = Linear


def _plain(layer: Linear) -> bool:
    [*names] = layer.active_adapters
    base: Any = layer.get_base_layer()
    return (len(names) == 1 and names[0] in layer.lora_A and not layer.lora_variant
            and isinstance(layer.lora_dropout[names[0]], nn.Identity) and type(base) is nn.Linear and base.bias is None
            and not base.weight.requires_grad and layer.lora_B[names[0]].bias is None)
