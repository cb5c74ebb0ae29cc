"""The number format follows from the machine."""

import pytest
import torch

from pipelines import precision


def machine(monkeypatch, *, cuda=None, mps=False, bf16=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: cuda)
    # What a T4 says, though it computes none of it in hardware.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)


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


def test_a_cpu_that_torch_cannot_tell_counts_as_one_without_bf16(monkeypatch):
    machine(monkeypatch)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert precision.choose().weights == torch.float32
