"""Steps that compute in bf16 copies of float32 weights, norms and activations included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch
from torch import nn
from torch.func import functional_call

from pipelines.networks.crf import LinearChainCRF


@contextmanager
def compute_in_half_copies(model: nn.Module) -> Iterator[None]:
    """Makes `forward` compute in bf16 copies of the weights while the model is in training mode.

    The copies are made in each call, so gradients reach the float32 weights. A CRF keeps float32:
    its sums run over whole texts.
    """
    own = model.__dict__.get("forward")
    forward = model.forward
    holder = _Forward(model, forward)
    exact = [
        f"network.{name}."
        for name, module in model.named_modules()
        if isinstance(module, LinearChainCRF)
    ]

    @wraps(forward)
    def in_half(*arguments: object, **keywords: object) -> object:
        if not model.training:
            return forward(*arguments, **keywords)
        halves = {
            name: weight.to(torch.bfloat16)
            for name, weight in holder.named_parameters()
            # Not the packed integers of weights in 4 bits.
            if weight.is_floating_point() and not name.startswith(tuple(exact))
        }
        return functional_call(holder, halves, arguments, keywords)

    model.forward = in_half
    try:
        yield
    finally:
        if own is None:
            del model.forward
        else:
            model.forward = own


class _Forward(nn.Module):
    """A network's own `forward`, past whatever wraps it meanwhile, as a module."""

    def __init__(self, network: nn.Module, forward: Callable[..., object]) -> None:
        super().__init__()
        self.network = network
        self.own_forward = forward

    def forward(self, *arguments: object, **keywords: object) -> object:
        return self.own_forward(*arguments, **keywords)
