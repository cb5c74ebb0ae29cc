"""`submit --with_source`: which files of a project go into a package."""

from __future__ import annotations

import os

import pytest
from conftest import ROOT

from pipelines.errors import UserError
from pipelines.submission.source import LARGEST, source_files

KEPT = ["Makefile", "pipelines/cli.py", "pyproject.toml", "recipes/train.py", ".ci/run"]
LEFT_OUT = [
    ".git/config",
    ".venv/lib/a.py",
    ".env",
    "runs/a/config.yaml",
    "pipelines/__pycache__/cli.pyc",
    "experiments/first/provenance.json",
    "experiments/second/config.yaml",
    "experiments/second/report.json",
    "other/pyvenv.cfg",
    "other/lib.py",
    "build/a.py",
    "pipelines.egg-info/PKG-INFO",
    "weights/model.safetensors",
    "package.zip",
    "kaggle.json",
    "server.pem",
]


@pytest.fixture
def project(tmp_path):
    for name in [*KEPT, *LEFT_OUT]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "large.json").write_bytes(b"0" * (LARGEST + 1))
    os.symlink("/", tmp_path / "link")
    return tmp_path


def test_what_is_source(project, caplog):
    caplog.set_level("INFO")
    assert sorted(source_files(project)) == sorted(KEPT)
    assert "leaves out files over 1 MiB: large.json" in caplog.text


def test_the_source_of_this_project():
    files = source_files()
    assert {"README.md", "pipelines/submission/source.py", "recipes/train_tagger.py"} <= set(files)
    assert files["README.md"] == ROOT / "README.md"
    assert not [
        name for name in files if "__pycache__" in name or name.startswith((".git/", "runs/"))
    ]


def test_an_installed_package_has_no_source(tmp_path):
    with pytest.raises(UserError, match="--with_source wants the project's checkout, got"):
        source_files(tmp_path)
