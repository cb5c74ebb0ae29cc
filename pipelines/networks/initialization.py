"""How the weight matrices of our networks begin: the schemes of `torch.nn.init`, for each gate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pipelines.networks.recurrent import Cell

SCHEMES: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier_uniform": nn.init.xavier_uniform_,  # Glorot and Bengio 2010, equation 16
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),  # He et al. 2015
    "kaiming_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,  # Saxe et al. 2014
    "normal": partial(nn.init.normal_, std=0.02),
}
INITIALIZATIONS = ("default", *SCHEMES)


@torch.no_grad()
def initialize(model: nn.Module, scheme: str) -> None:
    """Draws the weight matrices anew and sets their biases to 0; `default` changes nothing.

    Word vectors, those of characters and a CRF's transitions stay as they are. A recurrent layer
    holds one matrix for all its gates; each gate's is drawn by itself, as for its own sizes.

    Args:
        scheme: one of `INITIALIZATIONS`.
    """
    if scheme == "default":
        return
    draw = SCHEMES[scheme]
    gates_of: dict[int, int] = {}  # id of a module -> matrices in its own
    for module in model.modules():
        if isinstance(module, Cell):
            gates_of |= {id(module.W): module.gates, id(module.U): module.gates}
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            for part in module.weight.chunk(gates_of.get(id(module), 1)):
                draw(part)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.RNNBase):
            gates = {"GRU": 3, "LSTM": 4}.get(module.mode, 1)
            for name, weight in module.named_parameters():
                if name.startswith("bias"):
                    weight.zero_()
                    continue
                for part in weight.chunk(gates):
                    draw(part)
