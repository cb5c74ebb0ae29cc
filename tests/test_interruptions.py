"""Trainings that are killed or interrupted, in the middle of each write too, and then resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run_python
from safetensors.torch import load_file
from tiny_training import tiny_trainer

from pipelines.runs.checkpoints import checkpoint_to_resume

pytestmark = pytest.mark.slow
TESTS = str(ROOT / "tests")

# Kills itself in the middle of writing a file of the second checkpoint; one child for each file.
KILLED_WRITES = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {TESTS!r})
import torch
from tiny_training import tiny_trainer
from transformers import PretrainedConfig, TrainerState, modeling_utils

def killing(write, name):
    def cut(*arguments, **keywords):
        write(*arguments, **keywords)
        for path in map(str, arguments):
            if path.endswith("checkpoint-4/" + name):
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
    return cut

def killing_before(replace, name):
    def cut(source, target, **keywords):
        if str(target).endswith("checkpoint-4/" + name):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **keywords)
    return cut

WRITERS = ((torch, "save"), (modeling_utils, "safe_save_file"),
           (PretrainedConfig, "to_json_file"), (TrainerState, "save_to_json"))

for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        for owner, function in WRITERS:
            setattr(owner, function, killing(getattr(owner, function), name))
        os.replace = killing_before(os.replace, name)
        tiny_trainer(Path(sys.argv[1], name)).train()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(name, os.WIFSIGNALED(status) and os.WTERMSIG(status))
"""
FILES = (
    "config.json",
    "model.safetensors",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "manifest.json",
)

# Trains until it is stopped.
ENDLESS = f"""
import sys
from pathlib import Path
sys.path.insert(0, {TESTS!r})
from tiny_training import tiny_trainer
from pipelines.runs.lock import interruptible
from pipelines.runs.log import log_to_terminal
log_to_terminal()
run = Path(sys.argv[1])
with interruptible(run):
    options = dict(max_steps=10**6, save_steps=20, disable_tqdm=False, logging_steps=1000)
    tiny_trainer(run, **options).train()
"""


def state(run, step):
    return json.loads((run / f"checkpoints/checkpoint-{step}/trainer_state.json").read_text())


def losses(run, step):
    return [entry["loss"] for entry in state(run, step)["log_history"] if "loss" in entry]


def weights(run, step):
    return load_file(run / f"checkpoints/checkpoint-{step}/model.safetensors")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The run that nothing interrupts."""
    run = tmp_path_factory.mktemp("whole")
    tiny_trainer(run).train()
    return run


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    """A folder with a run for each file of a checkpoint, killed as it wrote that file."""
    folder = tmp_path_factory.mktemp("killed")
    done = run_python("-c", KILLED_WRITES, folder, *FILES)
    assert done.returncode == 0, done.stderr
    kills = [line for line in done.stdout.splitlines() if line.startswith(FILES)]
    assert kills == [f"{name} {signal.SIGKILL.value}" for name in FILES]
    return folder


@pytest.mark.parametrize("file", FILES)
def test_a_write_that_is_killed_costs_two_steps_and_nothing_else(
    file, killed_runs, whole_run, caplog
):
    run = killed_runs / file
    assert not (run / "checkpoints" / "checkpoint-4" / "manifest.json").exists()
    start = checkpoint_to_resume("true", run / "checkpoints")
    assert Path(start).name == "checkpoint-2"
    assert "checkpoint-4 is damaged and skipped: no manifest.json" in caplog.text
    tiny_trainer(run).train(resume_from_checkpoint=start)
    assert losses(run, 6) == losses(whole_run, 6)
    torch.testing.assert_close(weights(run, 6), weights(whole_run, 6), rtol=0, atol=0)
    # What it wrote over what the kill had left is whole too.
    assert Path(checkpoint_to_resume("true", run / "checkpoints")).name == "checkpoint-6"


def started(run):
    """A training that has written its second checkpoint, at step 40, and goes on."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(run)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 300
    while not (run / "checkpoints/checkpoint-40/manifest.json").is_file():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def continued(run):
    """The step it was resumed at, and the step it was then trained to."""
    start = checkpoint_to_resume("true", run / "checkpoints")
    step = int(start.rpartition("-")[2])
    options = {"max_steps": step + 2, "save_steps": 20, "logging_steps": 1000}
    tiny_trainer(run, **options).train(resume_from_checkpoint=start)
    return step, state(run, step + 2)["global_step"]


def test_a_killed_training_is_resumed(tmp_path):
    process = started(tmp_path)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    step, last = continued(tmp_path)
    assert step >= 40
    assert last == step + 2


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.extensive), (signal.SIGTERM, 143)],
)
def test_an_interrupted_training_ends_with_one_line_and_is_resumed(number, code, tmp_path):
    process = started(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    [line] = [line for line in errors.splitlines() if "interrupted by" in line]
    begin = f"interrupted by {number.name}: {tmp_path} holds checkpoints/checkpoint-"
    assert line.startswith(begin)
    assert errors.endswith(f"{line}\n")
    assert "Traceback" not in errors
    named = line.removeprefix(begin).partition(";")[0]
    step, last = continued(tmp_path)
    assert step == int(named)
    assert last == step + 2
