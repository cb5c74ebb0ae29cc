"""Energy of a run, as an estimate: seconds times a power figure.

A CPU is taken by its busy cores, so that a machine that is shared counts what this run uses. A GPU
says by NVML what it took since the start; where it does not, its power limit stands for it, an
upper bound. Cooling, disks and idle cores are left out. After CodeCarbon's method
(https://mlco2.github.io/codecarbon/methodology.html).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from typing import NamedTuple

from pipelines.examples import JsonObject

WATTS_A_CORE = 10.0  # of a busy core with its memory, by assumption: 4 in a server, 15 in a desktop
WATTS_A_GPU = 300.0  # of a GPU of which nothing is known, by assumption


class Power(NamedTuple):
    """The mean power of a run.

    Attributes:
        cores: busy cores, on average.
        gpu: watts of its GPUs; 0 without one.
        gpu_source: where that is from.
    """

    cores: float
    gpu: float = 0.0
    gpu_source: str = ""

    @property
    def watts(self) -> float:
        return self.cores * WATTS_A_CORE + self.gpu

    def basis(self) -> str:
        """What the estimate was made of, in words."""
        cpu = f"{self.cores:.2g} busy cores at {WATTS_A_CORE:g} W"
        return f"{cpu} and {self.gpu:.0f} W of GPU ({self.gpu_source})" if self.gpu else cpu


class PowerMeter:
    """Mean power of this process and those that it starts, from its making on."""

    def __init__(self) -> None:
        self.start, self.cpu_start = time.perf_counter(), cpu_seconds()
        self.joules = gpu_joules()

    def power(self) -> Power:
        """The mean power until now; several processes of a run are taken as equal."""
        wall = max(time.perf_counter() - self.start, 1e-9)
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        cores = processes * (cpu_seconds() - self.cpu_start) / wall
        if not _has_gpu():
            return Power(cores)
        now = gpu_joules()
        if now is not None and self.joules is not None:
            return Power(cores, processes * (now - self.joules) / wall, "NVML")
        limit = power_limit()
        if limit is not None:
            return Power(cores, processes * limit, "its power limit")
        return Power(cores, processes * WATTS_A_GPU, "an assumption")


def energy(seconds: Mapping[str, float], power: Power) -> JsonObject:
    """Watt-hours of all stages together, and what they were estimated from.

    Args:
        seconds: of each stage.
        power: mean power during them.
    """
    hours = sum(seconds.values()) / 3600
    return {"energy_watt_hours": round(hours * power.watts, 4), "energy_basis": power.basis()}


def cpu_seconds() -> float:
    """Seconds of all cores that this process and its finished children used."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def gpu_joules() -> float | None:
    """What the GPU of this process took since its driver started; None where it does not say."""
    if not _has_gpu():
        return None
    import torch

    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except (ImportError, AttributeError, RuntimeError):
        return None
    except Exception as error:
        # NVML's own errors derive from Exception alone.
        if type(error).__module__ != "pynvml":
            raise
        return None


def power_limit() -> float | None:
    """The power limit of the first GPU in watts, by `nvidia-smi`; None where it does not say."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return float(done.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
