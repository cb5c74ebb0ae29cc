"""Memory on a CPU: where weights lie, and what happens to memory that tensors free."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
TRIM_SECONDS = 60.0


def lay_out_for_few_rows(model: nn.Module) -> None:
    """Lays out the weights of linear layers column by column; their values and shapes stay.

    A matmul of 8 to 64 rows, as in generation of a batch, takes half the time (float32, MKL: 16
    rows of 576 by 1,536 take 0.36 ms instead of 1.1 ms); 1 row and 1,000 rows take as long.
    """
    for module in model.modules():
        if type(module) is nn.Linear:  # not the packed weights of a quantised one
            module.weight.data = module.weight.data.t().contiguous().t()


def keep_freed_memory() -> None:
    """Keeps what tensors free for the next ones, for the rest of the process; on glibc only.

    By default glibc returns large tensors to the system and takes them anew page by page: a sixth
    of the time that SmolLM2 takes to read 1,000 tokens. Two settings are needed: up to 32 MiB
    (glibc's limit) come from the heap, and the heap's end is not returned.
    """
    set_option = _glibc("mallopt")
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, 32 << 20)
        set_option(M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def return_freed_memory(model: nn.Module) -> Iterator[None]:
    """Returns freed memory to the system once a minute of training; on glibc only.

    Batches of ever different shapes leave holes in glibc's heap, which grows by gigabytes an hour.
    """
    trim = _glibc("malloc_trim")
    if trim is None:
        yield
        return
    last = time.monotonic()

    def before_forward(*_: object) -> None:
        nonlocal last
        if model.training and time.monotonic() - last >= TRIM_SECONDS:
            trim(0)
            last = time.monotonic()

    hook = model.register_forward_pre_hook(before_forward)
    try:
        yield
    finally:
        hook.remove()


def _glibc(function: str) -> Callable[..., int] | None:
    """A function of glibc, or None where the system has another C library."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
