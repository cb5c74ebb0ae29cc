"""The number format follows from the machine."""

import os
import platform
import time

import pytest
import torch
from conftest import run_python

from pipelines.networks import precision


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
from pipelines.networks import precision

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


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch has oneDNN there")
@pytest.mark.parametrize(("given", "again"), [(None, "cache_miss"), ("1024", "cache_hit")])
def test_few_products_are_kept_unless_the_user_says_how_many(given, again):
    code = ("import torch; from pipelines import precision; precision.choose()\n"
            "for length in [*range(64, 124), 64]:\n"
            "    torch.nn.functional.conv1d(torch.ones(2, 64, length), torch.ones(64, 64, 3))")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ONEDNN")}
    environment |= {"ONEDNN_VERBOSE": "all"} | ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": given} if given else {})
    done = run_python("-c", code, env=environment)
    made = [line for line in done.stdout.splitlines() if "create:cache" in line and "convolution" in line]
    assert len(made) == 61, done.stderr
    assert again in made[-1]
