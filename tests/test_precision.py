"""Device and dtypes follow from the machine, and are the same in all processes of a run."""

import os
import platform
import time

import pytest
import torch
from conftest import ROOT, run_python

from pipelines.networks import precision


@pytest.fixture(autouse=True)
def not_chosen_yet():
    precision.choose.cache_clear()
    yield
    precision.choose.cache_clear()


def machine(monkeypatch, *, cuda=None, mps=False, bf16=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: cuda)
    # What a T4 says, though it computes none of it in hardware.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    seconds = {torch.float32: 2.0, torch.bfloat16: 1.0 if bf16 else 3.0}
    monkeypatch.setattr(precision, "_matmul_seconds", seconds.get)


@pytest.mark.parametrize(
    ("has", "device", "weights", "autocast"),
    [
        ({"cuda": (9, 0)}, "cuda", "bfloat16", "bf16"),
        ({"cuda": (8, 0)}, "cuda", "bfloat16", "bf16"),
        ({"cuda": (7, 5)}, "cuda", "float16", "fp16"),
        ({"mps": True}, "mps", "float32", "no"),
        ({"bf16": True}, "cpu", "bfloat16", "bf16"),
        ({}, "cpu", "float32", "no"),
    ],
)
def test_the_precision_of_a_machine(has, device, weights, autocast, monkeypatch):
    machine(monkeypatch, **has)
    chosen = precision.choose()
    assert chosen.weights == getattr(torch, weights)
    assert chosen.training.get("use_cpu", False) == (device == "cpu")
    assert precision.described() == {
        "device": device,
        "frozen_weights": weights,
        "autocast": autocast,
    }


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
def test_the_dtype_of_a_cpu_is_measured_once(fast, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    trials = []

    def linear(states, _):
        trials.append(states.dtype)
        time.sleep(0 if states.dtype == fast else 0.01)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    assert precision.choose().weights == fast
    assert precision.choose().weights == fast
    assert len(trials) == 2 * 8


MEASURES_DIFFERENTLY = """
import os
import torch
from pipelines.networks import precision

first = os.environ["RANK"] == "0"
precision._matmul_seconds = lambda dtype: 1.0 if (dtype == torch.bfloat16) == first else 2.0
print(os.environ["RANK"], precision.described()["frozen_weights"])
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is measured on a GPU")
def test_all_processes_take_the_choice_of_the_first(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MEASURES_DIFFERENTLY)
    two = ROOT / "recipes" / "accelerate" / "cpu2.yaml"
    done = run_python("-m", "accelerate.commands.launch", "--config_file", two, script)
    assert sorted(done.stdout.splitlines()) == ["0 bfloat16", "1 bfloat16"], done.stderr


IN_HEAP = """
import torch
from pipelines.cpu import memory

def in_heap():
    start = torch.empty(6_000_000).data_ptr()
    heap = next(line for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")).split()[0]
    first, past = (int(end, 16) for end in heap.split("-"))
    return first <= start < past

if %s:
    memory.keep_freed_memory()
print(in_heap())
"""


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
@pytest.mark.parametrize("kept", [False, True])
def test_large_tensors_come_from_the_heap_where_freed_memory_is_kept(kept):
    done = run_python("-c", IN_HEAP % kept)
    assert done.stdout.split() == [str(kept)], done.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch has oneDNN there")
@pytest.mark.parametrize(("capacity", "again"), [(None, "cache_miss"), ("1024", "cache_hit")])
def test_few_matmuls_are_cached_unless_the_user_says_how_many(capacity, again):
    code = (
        "import torch; from pipelines.networks import precision; precision.choose()\n"
        "for length in [*range(64, 124), 64]:\n"
        "    torch.nn.functional.conv1d(torch.ones(2, 64, length), torch.ones(64, 64, 3))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ONEDNN")}
    environment["ONEDNN_VERBOSE"] = "all"
    if capacity:
        environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = capacity
    done = run_python("-c", code, env=environment)
    made = [
        line
        for line in done.stdout.splitlines()
        if "create:cache" in line and "convolution" in line
    ]
    assert len(made) == 61, done.stderr
    assert again in made[-1]
