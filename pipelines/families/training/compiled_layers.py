"""Layers of a causal language model, compiled once for batches of any length."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn


def compile_each_layer(network: nn.Module) -> None:
    """Compiles a network layer by layer, so that one compilation serves them all.

    Without a C++ compiler the network is left as it is.

    Args:
        network: a model of `transformers`, without what wraps it.
    """
    compilers = os.environ.get("CXX", "c++"), "g++", "clang++"
    if not any(map(shutil.which, compilers)):
        return
    base: Any = getattr(network, "base_model", network)
    for layer in getattr(base, "layers", []):
        layer.compile(dynamic=True)


def compiled_if(is_worth_it: bool) -> AbstractContextManager[Any]:
    """Runs compiled layers as such, or as they are written: a batch may need a compilation alone.

    Args:
        is_worth_it: for layers that are not compiled, without effect.
    """
    stance: AbstractContextManager[Any] = torch.compiler.set_stance(
        "default" if is_worth_it else "force_eager"
    )
    return stance
