"""Fine-tune and compare models for entities and classes, from a dictionary to an LLM."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.api import compare, evaluate, fit, predict, read

__all__ = ["compare", "evaluate", "fit", "predict", "read"]
__version__ = "0.1.0"

# On import bitsandbytes warns that a CPU kernel for 4-bit matmuls is missing; it computes without
# it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def __getattr__(name: str) -> object:
    """The functions of `pipelines.api`, imported when they are asked for."""
    if name in __all__:
        return getattr(import_module("pipelines.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
