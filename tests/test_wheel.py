"""The wheel: what it holds, and that a recipe trains from it, with no checkout in sight."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from test_seams import tracked

import pipelines

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy: setuptools leaves its `build/` in the folder that it builds."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for path in tracked():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--no-index", "--wheel-dir", str(out), str(copy)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of the wheel and of the libraries that the tests run with."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    install = ["-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    done = subprocess.run(
        [sys.executable, *install, "--no-deps", "--no-index", str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [site] = folder.glob("lib/python3*/site-packages")
    # Python reads no `.pth` files of a folder that is itself added by one: neither does it see an
    # editable installation there.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def run(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed command in a folder."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(environment / "bin" / "pipelines"), *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=variables,
    )


def test_the_wheel_holds_recipes_configs_and_samples(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("recipes", "data/samples"):
        wanted = {path.relative_to(ROOT).as_posix() for path in tracked()}
        wanted = {f"pipelines/_project/{name}" for name in wanted if name.startswith(f"{folder}/")}
        assert wanted
        assert wanted <= names
    assert "pipelines/py.typed" in names
    templates = {path.name for path in (ROOT / "pipelines/reporting/templates").iterdir()}
    assert {f"pipelines/reporting/templates/{name}" for name in templates} <= names
    tops = {name.split("/")[0] for name in names}
    assert all(top == "pipelines" or top.endswith(".dist-info") for top in tops), tops


def test_the_wheel_has_the_distribution_s_name_and_the_package_s_version(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = project["name"].replace("-", "_")
    assert wheel.name == f"{name}-{pipelines.__version__}-py3-none-any.whl"


def test_an_installed_wheel_trains_the_sample(environment, tmp_path):
    version = run(environment, tmp_path, "--version")
    assert version.stdout == f"pipelines {pipelines.__version__}\n", version.stderr
    listed = run(environment, tmp_path, "train")
    assert {line.split()[0] for line in listed.stdout.splitlines()} == {
        path.stem for path in (ROOT / "recipes").glob("*.py")
    }
    words = ("--network", "crf", "--max_iterations", "20", "--run_dir", "runs/crf")
    done = run(environment, tmp_path, "train", "train_tagger", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs" / "crf" / "report.json").read_text(encoding="utf-8"))
    assert report["split"] == "test"
    assert report["strict"]["f1"] > 0.7
    config = (tmp_path / "runs" / "crf" / "config.yaml").read_text(encoding="utf-8")
    assert "_project/data/samples/disease_ner/train.json" in config
    assert str(ROOT) not in config
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_config_of_the_project_is_found_from_anywhere(environment, tmp_path):
    config = ("--config", "recipes/configs/tagger_ffnn.yaml", "--num_train_epochs", "many")
    done = run(environment, tmp_path, "train", "train_tagger", *config)
    assert done.returncode == 2
    assert "num_train_epochs" in done.stderr, done.stderr
    missing = run(environment, tmp_path, "train", "train_tagger", "--config", "recipes/no.yaml")
    assert "no such file" in missing.stderr
