"""What a run costs: work a token, power and energy, by hand; and what the reports show of it."""

import sys
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from pipelines import job
from pipelines.commands.composites import MembersCost
from pipelines.examples import Example
from pipelines.formatting import energy as written
from pipelines.reporting import choice
from pipelines.runs import energy
from pipelines.runs.cost import CostMeter, matmul_peak, training_flops_a_token
from pipelines.runs.data import Data


def test_energy_is_hours_times_watts():
    # An hour and a half of two busy cores at 10 W, and of a GPU at 300 W.
    power = energy.Power(cores=2.0, gpu=300.0, gpu_source="NVML")
    found = energy.energy({"training": 3600.0, "predict_dev": 1800.0}, power)
    assert found["energy_watt_hours"] == 1.5 * (2 * 10 + 300)
    assert found["energy_basis"] == "2 busy cores at 10 W and 300 W of GPU (NVML)"
    assert energy.energy({}, energy.Power(1.0))["energy_watt_hours"] == 0


def test_busy_cores_are_core_seconds_by_seconds(monkeypatch):
    clock, cores = iter([100.0, 110.0]), iter([7.0, 22.0])
    monkeypatch.setattr(energy.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(energy, "cpu_seconds", lambda: next(cores))
    monkeypatch.setattr(energy, "_has_gpu", lambda: False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert energy.PowerMeter().power() == energy.Power(1.5)


@pytest.mark.parametrize(
    ("joules", "limit", "expected"),
    [
        ([5_000.0, 9_000.0], 700.0, (400.0, "NVML")),
        ([None, None], 700.0, (700.0, "its power limit")),
        ([None, None], None, (energy.WATTS_A_GPU, "an assumption")),
    ],
)
def test_a_gpu_is_measured_or_else_taken_at_its_limit(joules, limit, expected, monkeypatch):
    clock, readings = iter([0.0, 10.0]), iter(joules)
    monkeypatch.setattr(energy.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(energy, "cpu_seconds", lambda: 0.0)
    monkeypatch.setattr(energy, "_has_gpu", lambda: True)
    monkeypatch.setattr(energy, "gpu_joules", lambda: next(readings))
    monkeypatch.setattr(energy, "power_limit", lambda: limit)
    assert energy.PowerMeter().power() == energy.Power(0.0, *expected)
    # Of two processes of a run one writes the report.
    clock, readings = iter([0.0, 10.0]), iter(joules)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert energy.PowerMeter().power().gpu == 2 * expected[0]


def test_nvml_counts_in_millijoules(monkeypatch):
    class NVMLError(Exception):
        pass

    NVMLError.__module__ = "pynvml"

    def refuses(_):
        raise NVMLError("not supported")

    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 2_500 * (handle == "GPU-a1"),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(energy, "_has_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="a1"))
    assert energy.gpu_joules() == 2.5
    nvml.nvmlDeviceGetTotalEnergyConsumption = refuses
    assert energy.gpu_joules() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy.gpu_joules() is None


def test_the_limit_is_read_from_nvidia_smi(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 700.00\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert energy.power_limit() == 700.0
    program.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert energy.power_limit() is None
    program.unlink()
    assert energy.power_limit() is None


def test_work_of_a_token_is_six_times_the_weights_or_four_of_frozen_ones():
    model = nn.Sequential(nn.Embedding(50, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    weights = 4 * 6 + 6 * 3
    assert training_flops_a_token(model) == 6 * weights
    model[1].requires_grad_(False)
    assert training_flops_a_token(model) == 4 * weights + 2 * 6 * 3


def test_adapters_are_trained_beside_frozen_weights_and_heads_may_be_left_out(network):
    layers = [m for m in network.model.modules() if isinstance(m, nn.Linear)]
    frozen = sum(layer.weight.numel() for layer in layers)
    adapters = sum(2 * sum(layer.weight.shape) for layer in layers)  # A (2, in) and B (out, 2)
    adapted = get_peft_model(
        network, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    expected = 4 * (frozen + adapters) + 2 * adapters
    assert training_flops_a_token(adapted, with_head=False) == expected
    head = network.lm_head.weight.numel()
    assert training_flops_a_token(adapted) == expected + 4 * head


def test_the_peak_is_of_a_matmul():
    assert matmul_peak(rounds=1) > 1e8


def test_prediction_is_counted_in_words_over_all_splits(tmp_path):
    splits = {
        "train": [Example("0", "left out")],
        "dev": [Example("1", "a b c")],
        "test": [Example("2", "d e"), Example("3", "f")],
    }
    work = job.Job(job.Run(tmp_path), Data("spans", {}, splits), None, CostMeter())
    assert "prediction_words_per_second" not in work.cost()
    work.meter.seconds |= {"predict_dev": 1.0, "predict_test": 3.0}
    cost = work.cost()
    assert cost["prediction_examples_per_second"] == 3 / 4
    assert cost["prediction_words_per_second"] == 6 / 4
    assert cost["energy_watt_hours"] >= 0
    work.meter.seconds["predict_test"] = 0.0  # was there already
    assert work.cost()["prediction_words_per_second"] == 3.0


def test_a_share_of_the_peak_is_work_by_time_by_peak(tmp_path):
    work = job.Job(job.Run(tmp_path), Data("spans", {}, {}), None, CostMeter())
    work.record(seconds=10.0, tokens=500, flops=4_000, peak_flops=1_000)
    cost = work.cost()
    assert cost["training_share_of_peak"] == 0.4
    assert cost["training_tokens_per_second"] == 50
    assert "flops" not in cost


@pytest.mark.parametrize(
    ("watt_hours", "text"),
    [(None, ""), (0.0123, "12 mWh"), (1.234, "1.23 Wh"), (512.0, "512 Wh"), (2500.0, "2.50 kWh")],
)
def test_energies_are_written_in_a_unit_that_suits(watt_hours, text):
    assert written(watt_hours) == text


def test_a_choice_shows_energy_where_all_is_known():
    def table(*watt_hours):
        rungs = [
            {"name": name, "status": "finished", "cost": {"watt_hours": value, "disk": 1}}
            for name, value in zip("ab", watt_hours, strict=True)
        ]
        return choice.cost_table({"rungs": rungs, "price_per_hour": None})

    shown = table(1.5, None)
    assert shown.head == ["model", "disk", "energy"]
    assert [row[2] for row in shown.rows] == ["1.5 Wh", ""]
    assert "estimate" in shown.note
    assert "estimate" not in table(None, None).note


def test_runs_that_are_joined_took_what_their_members_took():
    members = [{"energy_watt_hours": 1.0}, {"energy_watt_hours": 2.5}]
    assert MembersCost(members).energy({})["energy_watt_hours"] == 3.5
    assert "busy cores" in MembersCost([{}, *members]).energy({"training": 1.0})["energy_basis"]
