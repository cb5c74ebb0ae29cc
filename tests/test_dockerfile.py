"""The Dockerfile: it copies what there is, and all that a build of the package reads."""

from __future__ import annotations

import re
import tomllib

import pytest
from conftest import ROOT

LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
COPIED = [source for line in LINES if line.startswith("COPY ") for source in line.split()[1:-1]]


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_exists_and_is_not_ignored(source):
    assert (ROOT / source).exists()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert source not in ignored


def test_all_that_the_build_reads_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    read = {"pyproject.toml", "setup.py", "pipelines", "recipes", "data", project["readme"]}
    assert read | set(project["license-files"]) <= set(COPIED)


def test_torch_is_pinned_and_its_index_is_a_build_argument():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"^torch==", constraints, re.MULTILINE)) == 1
    assert any(line.startswith("ARG TORCH_INDEX=") for line in LINES)
    assert '"$TORCH_INDEX"' in "\n".join(LINES)


def test_the_container_does_not_run_as_root():
    users = [line.split()[1] for line in LINES if line.startswith("USER ")]
    assert users
    assert users[-1] != "root"
