"""The commands of README, pasted from top to bottom."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
# `make` builds its environment, which CI does by itself; a launch on GPUs needs some.
ELSEWHERE = ("make ", "accelerate ", "sft_tinyllama.yaml")


def commands(page=README):
    """The commands in the order of the page, those of several lines in one."""
    lines = "".join(BLOCK.findall(page)).replace("\\\n", " ").splitlines()
    found = [" ".join(line.split()) for line in lines]
    return [line for line in found if line.startswith(("pipelines ", "python ", "make "))]


def test_readme_shows_the_path_of_a_user():
    first = [command.split()[1] for command in commands()]
    assert first[:7] == ["demo", "choose", "check", "train", "predict", "evaluate", "choose"]


def paste(command, folder):
    """Runs a command as a user does in a checkout, and returns what it printed."""
    for name in ("data", "recipes"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
def test_each_command_runs_as_it_stands(tmp_path):
    pasted = [c for c in commands() if not any(word in c for word in ELSEWHERE)]
    assert len(pasted) >= 5
    for line in pasted:
        # More models and learning curves take minutes; they have tests of their own.
        command = (
            f"{line} --rungs dictionary --fractions 1"
            if line.startswith("pipelines choose")
            else line
        )
        paste(command, tmp_path)
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "runs" / "choice" / "choice.html").is_file()
    shutil.rmtree(tmp_path / "runs")
