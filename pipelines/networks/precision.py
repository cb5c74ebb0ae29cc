"""The device and the dtypes of this machine, chosen once for all processes of a run."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list


class Precision(NamedTuple):
    """The dtype of frozen weights, and the precision in which training computes.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        weights: dtype of frozen weights; trained ones stay float32.
        training: arguments for `TrainingArguments` that make training compute in this precision.
    """

    device: str
    weights: torch.dtype
    training: dict[str, Any]


@cache
def choose() -> Precision:
    """Chooses the fastest dtype that the machine computes in hardware.

    Every process of a run gets the choice of the first one: on a CPU it is measured, and two
    processes must not measure differently. So all of them have to call this, before anything that
    only some of them do.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return _fastest()
    state = PartialState(cpu=not torch.cuda.is_available())
    chosen = [_fastest() if state.is_main_process else None]
    [precision] = broadcast_object_list(chosen)
    return precision


def described() -> dict[str, str]:
    """The choice as it stands in a run's provenance."""
    chosen = choose()
    autocast = [name for name in ("bf16", "fp16") if chosen.training[name]]
    return {
        "device": chosen.device,
        "frozen_weights": str(chosen.weights).removeprefix("torch."),
        "autocast": autocast[0] if autocast else "no",
    }


def _fastest() -> Precision:
    # A T4 (capability 7.5) has no bf16, whatever `torch.cuda.is_bf16_supported()` says.
    if torch.cuda.is_available():
        if torch.cuda.get_device_capability()[0] >= 8:
            # Products of float32 in TF32, whose 10 bits are those of fp16: encoders predict so.
            torch.backends.cuda.matmul.allow_tf32 = True
            return Precision("cuda", torch.bfloat16, {"bf16": True, "fp16": False})
        return Precision("cuda", torch.float16, {"bf16": False, "fp16": True})
    if torch.backends.mps.is_available():
        return Precision("mps", torch.float32, {"bf16": False, "fp16": False})
    # oneDNN caches code and tables of each matmul for each shape, 1,024 of them by default:
    # gigabytes with AMX. A training step has about thirty, the same in each layer. The variable is
    # read once, before the first matmul.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "48")
    # What a CPU says of itself does not decide: with AVX512-bf16 an AMD EPYC does 410 GFLOP/s in
    # bf16 and 190 in float32, a Xeon 163 and 295.
    weights = min((torch.float32, torch.bfloat16), key=_matmul_seconds)
    # Autocast is for the adapters, trained in float32; weights in bf16 are used as they are.
    training = {"bf16": weights == torch.bfloat16, "fp16": False, "use_cpu": True}
    return Precision("cpu", weights, training | {"dataloader_pin_memory": False})


def _matmul_seconds(dtype: torch.dtype) -> float:
    """Seconds of a linear layer of a small network on the CPU, the best of 8 trials."""
    states = torch.ones(256, 512, dtype=dtype)
    weight = torch.ones(1024, 512, dtype=dtype)
    seconds = []
    for _ in range(8):  # the first one generates the code
        start = time.perf_counter()
        torch.nn.functional.linear(states, weight)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
