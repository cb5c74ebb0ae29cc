"""What this machine can do: device, number format, and the layout of weights."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from functools import cache
from typing import Any, NamedTuple

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class Precision(NamedTuple):
    """How weights are held and how training computes.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        weights: the format in which frozen weights are held; trained ones stay float32.
        training: arguments for `TrainingArguments` that make training compute so.
    """

    device: str
    weights: torch.dtype
    training: dict[str, Any]


def choose() -> Precision:
    """The fastest number format that this machine computes in hardware.

    A T4 (capability 7.5) has no bf16, whatever `torch.cuda.is_bf16_supported()` says. A CPU is asked by trying, since
    what it says of itself does not tell: with AVX512-bf16 an AMD EPYC does 410 GFLOP/s in bf16 and 190 in float32, a
    Xeon 163 and 295.
    """
    if torch.cuda.is_available():
        if torch.cuda.get_device_capability()[0] >= 8:
            return Precision("cuda", torch.bfloat16, {"bf16": True, "fp16": False})
        return Precision("cuda", torch.float16, {"bf16": False, "fp16": True})
    if torch.backends.mps.is_available():
        return Precision("mps", torch.float32, {"bf16": False, "fp16": False})
    # oneDNN keeps code and tables of each product for each shape that it has seen, of 1,024 in all: gigabytes with AMX.
    # A step of training has about thirty, the same ones in each layer. It is read once, before the first product.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "48")
    weights = min((torch.float32, torch.bfloat16), key=_product_seconds)
    # Autocast is for the adapters, which are trained in float32; weights held in bf16 are not converted anew by it.
    return Precision("cpu", weights, {"bf16": weights == torch.bfloat16, "fp16": False, "use_cpu": True,
                                      "dataloader_pin_memory": False})


@cache
def _product_seconds(dtype: torch.dtype) -> float:
    """Seconds that a linear layer of a small network takes on the CPU, the best of a few tries."""
    states, weight = torch.ones(256, 512, dtype=dtype), torch.ones(1024, 512, dtype=dtype)
    seconds = []
    for _ in range(8):  # the first one makes the code
        start = time.perf_counter()
        torch.nn.functional.linear(states, weight)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def lay_out_for_few_rows(model: torch.nn.Module) -> None:
    """Lays the weights of linear layers out column by column; their values and shapes stay.

    A product of 8 to 64 rows, as in generating for a batch, takes half the time so (float32, MKL: 16 rows of 576 by
    1,536 take 0.36 ms instead of 1.1 ms); one row takes as long, and 1,000 rows do too.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()


def keep_freed_memory() -> None:
    """Keeps what a CPU's tensors free for the next ones, on Linux, from now on.

    By default glibc gives large tensors back to the system and takes them anew, page by page: a sixth of the time that
    SmolLM2 takes to read 1,000 tokens. It is told so twice: up to 32 MiB (its limit) come from the heap, and the
    heap's end is not given back.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tell is not None:
        tell(M_MMAP_THRESHOLD, 32 << 20)
        tell(M_TRIM_THRESHOLD, (1 << 31) - 1)
