"""What a run costs: seconds of each stage, and memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.examples import JsonObject

if TYPE_CHECKING:
    from torch import nn


class CostMeter:
    """Seconds of each stage, and the peak memory of this process (and of its GPU)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def to_json(self) -> JsonObject:
        """Seconds of each stage; memory in bytes, the largest so far, of process and GPU."""
        import torch

        unit = 1 if sys.platform == "darwin" else 1024
        cost: JsonObject = {
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        }
        if torch.cuda.is_available():
            cost["peak_gpu_memory"] = torch.cuda.max_memory_allocated()
        return cost


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """How many parameters a model has, and how many of them are trained."""
    count = getattr(model, "get_nb_trainable_parameters", None)
    if count is not None:  # of peft, which counts packed 4-bit weights rightly
        trained, every = count()
        return every, trained
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
