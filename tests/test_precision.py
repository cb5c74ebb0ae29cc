"""The number format follows from the machine."""

import platform
import time

import pytest
import torch
from conftest import run_python

from pipelines import precision


def machine(monkeypatch, *, cuda=None, mps=False, bf16=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: cuda)
    # What a T4 says, though it computes none of it in hardware.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(precision, "_product_seconds", {torch.float32: 2.0, torch.bfloat16: 1.0 if bf16 else 3.0}.get)


@pytest.mark.parametrize(("has", "device", "weights", "autocast"), [
    ({"cuda": (9, 0)}, "cuda", torch.bfloat16, "bf16"), ({"cuda": (8, 0)}, "cuda", torch.bfloat16, "bf16"),
    ({"cuda": (7, 5)}, "cuda", torch.float16, "fp16"), ({"mps": True}, "mps", torch.float32, None),
    ({"bf16": True}, "cpu", torch.bfloat16, "bf16"), ({}, "cpu", torch.float32, None)])
def test_number_format_of_a_machine(has, device, weights, autocast, monkeypatch):
    machine(monkeypatch, **has)
    chosen = precision.choose()
    assert (chosen.device, chosen.weights) == (device, weights)
    assert [name for name in ("bf16", "fp16") if chosen.training[name]] == ([autocast] if autocast else [])
    assert chosen.training.get("use_cpu", False) == (device == "cpu")


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
def test_a_cpu_is_asked_by_trying(fast, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, _: time.sleep(0 if x.dtype == fast else 0.01))
    precision._product_seconds.cache_clear()
    try:
        assert precision.choose().weights == fast
    finally:
        precision._product_seconds.cache_clear()


PLACES = """
import torch
from pipelines import precision

def in_heap():
    start = torch.empty(6_000_000).data_ptr()
    heap = next(line for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")).split()[0]
    first, past = (int(end, 16) for end in heap.split("-"))
    return first <= start < past

if %s:
    precision.keep_freed_memory()
print(in_heap())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
@pytest.mark.parametrize("kept", [False, True])
def test_large_tensors_come_from_the_heap_where_freed_memory_is_kept(kept):
    done = run_python("-c", PLACES % kept)
    assert done.stdout.split() == [str(kept)], done.stderr
