"""Whole and damaged checkpoints, the one to resume from, differing options, and totals."""

import itertools
import json
import logging
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, run_python
from safetensors.torch import load_file
from tiny_training import tiny_trainer
from transformers import TrainerCallback

from pipelines.errors import UserError
from pipelines.runs import checkpoints, sessions
from pipelines.runs.checkpoints import (
    checkpoint_to_resume,
    last_whole_checkpoint,
    write_manifest,
)
from pipelines.runs.resuming import asks_for_more, differences

FILES = (
    "config.json",
    "model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
    "manifest.json",
)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of six steps that was not interrupted."""
    run = tmp_path_factory.mktemp("whole")
    tiny_trainer(run).train()
    return run


@pytest.fixture
def run(whole_run, tmp_path):
    """A copy of the run as it was after step 5, with the checkpoints of steps 2 and 4."""
    for number in (2, 4):
        name = f"checkpoints/checkpoint-{number}"
        shutil.copytree(whole_run / name, tmp_path / name)
    return tmp_path


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def weights(run):
    return load_file(run / "checkpoints" / "checkpoint-6" / "model.safetensors")


def losses(run):
    state = json.loads((run / "checkpoints" / "checkpoint-6" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def assert_same_training(run, other):
    torch.testing.assert_close(weights(run), weights(other), rtol=0, atol=0)
    assert len(losses(run)) == 6
    assert losses(run) == losses(other)


# Which checkpoint


def test_the_files_of_a_checkpoint_are_those_that_are_damaged_here(run):
    checkpoint = run / "checkpoints" / "checkpoint-4"
    assert {path.name for path in checkpoint.iterdir()} == set(FILES)
    assert set(json.loads((checkpoint / "manifest.json").read_text())) == {*FILES} - {
        "manifest.json"
    }


def test_the_last_checkpoint_is_the_one_of_the_most_steps(run):
    folder = run / "checkpoints"
    shutil.copytree(folder / "checkpoint-4", folder / "checkpoint-10")
    (folder / "checkpoint-final").mkdir()
    assert last_whole_checkpoint(folder) == folder / "checkpoint-10"


FLIPPED = [(flip_a_bit, file) for file in FILES[:-1]]


@pytest.mark.parametrize(
    ("damage", "file"), [*itertools.product((cut, Path.unlink), FILES), *FLIPPED]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(damage, file, run, caplog):
    damage(run / "checkpoints" / "checkpoint-4" / file)
    assert last_whole_checkpoint(run / "checkpoints") == run / "checkpoints" / "checkpoint-2"
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert str(run / "checkpoints" / "checkpoint-4") in warning.getMessage()
    assert file in warning.getMessage()


@pytest.mark.parametrize("file", FILES)
def test_a_run_resumed_from_the_one_before_ends_as_if_nothing_had_been(file, run, whole_run):
    cut(run / "checkpoints" / "checkpoint-4" / file)
    start = checkpoint_to_resume("true", run / "checkpoints")
    assert Path(start).name == "checkpoint-2"
    tiny_trainer(run).train(resume_from_checkpoint=start)
    assert_same_training(run, whole_run)


def test_a_damaged_best_checkpoint_is_named(tmp_path, caplog):
    trainer = tiny_trainer(
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # it falls, so that the first checkpoint is the best
    )
    trainer.train()
    folder = tmp_path / "checkpoints"
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-2"
    assert last_whole_checkpoint(folder).name == "checkpoint-6"
    cut(folder / "checkpoint-2" / "model.safetensors")
    assert last_whole_checkpoint(folder).name == "checkpoint-6"
    assert not caplog.messages
    assert checkpoint_to_resume("true", folder, with_best=True) is None
    assert "checkpoint-2, is damaged: model.safetensors has" in caplog.text
    with pytest.raises(UserError, match="checkpoint-2, is damaged"):
        checkpoint_to_resume(str(folder / "checkpoint-6"), folder, with_best=True)


def test_the_line_says_where_it_goes_on(run, caplog):
    caplog.set_level(logging.INFO)
    folder = run / "checkpoints"
    assert checkpoint_to_resume("True", folder) == str(folder / "checkpoint-4")
    assert caplog.messages == [f"resuming from {folder / 'checkpoint-4'}"]
    caplog.clear()
    assert checkpoint_to_resume("true", run / "nothing") is None
    assert caplog.messages == [f"no whole checkpoint in {run / 'nothing'}: training from the start"]
    caplog.clear()
    path = str(folder / "checkpoint-2")
    assert checkpoint_to_resume(path, folder) == path
    assert checkpoint_to_resume("false", folder) is checkpoint_to_resume(None, folder) is None
    assert len(caplog.messages) == 1


def test_a_path_that_is_damaged_or_missing_is_refused(run):
    checkpoint = run / "checkpoints" / "checkpoint-4"
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(UserError, match=r"checkpoint-4: optimizer\.pt is missing; give"):
        checkpoint_to_resume(str(checkpoint), run)
    with pytest.raises(UserError, match="checkpoint-9: no such folder; give a whole checkpoint-N"):
        checkpoint_to_resume(str(run / "checkpoint-9"), run)


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("file", ["optimizer.pt", "rng_state.pth", "scheduler.pt"])
def test_nothing_in_a_checkpoint_is_run(file, run):
    checkpoint = run / "checkpoints" / "checkpoint-4"
    torch.save(Payload(run / "ran"), checkpoint / file)
    write_manifest(checkpoint)
    start = checkpoint_to_resume("true", run / "checkpoints")
    with pytest.raises(pickle.UnpicklingError):
        tiny_trainer(run).train(resume_from_checkpoint=start)
    assert not (run / "ran").exists()


# Deleting old checkpoints


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_old_checkpoints_are_deleted_once_the_new_one_is_whole(tmp_path, monkeypatch):
    kept = []

    def write(checkpoint):
        kept.append(names(tmp_path))
        write_manifest(checkpoint)

    monkeypatch.setattr(checkpoints, "write_manifest", write)
    trainer = tiny_trainer(tmp_path, save_total_limit=1)
    trainer.train()
    assert kept == [
        ["checkpoint-2"],
        ["checkpoint-2", "checkpoint-4"],
        ["checkpoint-4", "checkpoint-6"],
    ]
    assert names(tmp_path) == ["checkpoint-6"]
    assert trainer.args.save_total_limit == 1


def test_a_later_checkpoint_that_was_skipped_does_not_displace_a_new_one(run):
    cut(run / "checkpoints" / "checkpoint-4" / "optimizer.pt")
    start = checkpoint_to_resume("true", run / "checkpoints")
    options = {"save_total_limit": 1, "max_steps": 3, "save_steps": 1}
    tiny_trainer(run, **options).train(resume_from_checkpoint=start)
    assert names(run) == ["checkpoint-3"]


@pytest.mark.slow
def test_two_processes_agree_on_the_checkpoint(tmp_path):
    code = """
import sys; sys.path.insert(0, "tests")
from pathlib import Path
from accelerate import PartialState
from tiny_training import tiny_trainer
from pipelines.runs.checkpoints import checkpoint_to_resume
run = Path(sys.argv[1])
tiny_trainer(run).train()
PartialState().wait_for_everyone()
rank = PartialState().process_index
if rank == 0:
    (run / "checkpoints" / "checkpoint-6" / "optimizer.pt").unlink()
(run / f"{rank}.txt").write_text(checkpoint_to_resume("true", run / "checkpoints"))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    config = ROOT / "recipes" / "accelerate" / "cpu2.yaml"
    done = run_python(
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        config,
        script,
        tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    last = tmp_path / "checkpoints" / "checkpoint-4"
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [str(last)] * 2
    manifest = json.loads((last / "manifest.json").read_text())
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= manifest.keys()


# Options


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"learning_rate": 0.1, "seed": 1}, {"learning_rate": 0.1, "seed": 1}, []),
        (
            {"learning_rate": 0.1, "seed": 1},
            {"learning_rate": 0.2, "seed": 2},
            ["--learning_rate 0.1, now 0.2", "--seed 1, now 2"],
        ),
        ({"dev_file": None}, {"dev_file": "dev.json"}, ["--dev_file None, now dev.json"]),
        ({"run_dir": "a", "logging_steps": 1}, {"run_dir": "b", "logging_steps": 2}, []),
        (
            {"dataloader_drop_last": False},
            {"dataloader_drop_last": True},
            ["--dataloader_drop_last False, now True"],
        ),
        ({"num_train_epochs": 2, "max_steps": 5}, {"num_train_epochs": 3.0, "max_steps": 6}, []),
        ({"num_train_epochs": 3}, {"num_train_epochs": 2}, ["--num_train_epochs 3, now 2"]),
        ({"max_steps": -1}, {"max_steps": 5}, ["--max_steps -1, now 5"]),
        ({"max_steps": 5}, {"max_steps": -1}, ["--max_steps 5, now -1"]),
        ({"modules": ["a"]}, {"modules": ("a",)}, []),
        ({"removed": 1}, {"added": 2}, []),
    ],
)
def test_differences_are_named(old, new, expected):
    assert differences(old, new) == expected


@pytest.mark.parametrize(
    ("old", "new", "more"),
    [
        ({"num_train_epochs": 2}, {"num_train_epochs": 3}, True),
        ({"num_train_epochs": 2}, {"num_train_epochs": 2.0}, False),
        ({"num_train_epochs": 2, "max_steps": 5}, {"num_train_epochs": 3, "max_steps": 5}, False),
        ({"num_train_epochs": 2, "max_steps": 5}, {"num_train_epochs": 2, "max_steps": 6}, True),
        ({"num_train_epochs": 2, "max_steps": -1}, {"num_train_epochs": 2, "max_steps": 6}, False),
        ({}, {"num_train_epochs": 3}, False),
    ],
)
def test_more_training_is_more_steps_or_more_epochs(old, new, more):
    assert asks_for_more(old, new) is more


# Totals


class Stop(TrainerCallback):
    """Stops a training at the end of a step, as an error would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise InterruptedError


@pytest.mark.slow
def test_totals_over_three_sessions(tmp_path, monkeypatch):
    # Each look at the clock is a second later.
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)
    monkeypatch.setattr(sessions, "time", clock)
    for step in (4, 5):
        trainer = tiny_trainer(tmp_path)
        trainer.add_callback(Stop(step))
        start = checkpoint_to_resume("true", tmp_path / "checkpoints")
        with pytest.raises(InterruptedError):
            trainer.train(resume_from_checkpoint=start)
    start = checkpoint_to_resume("true", tmp_path / "checkpoints")
    tiny_trainer(tmp_path).train(resume_from_checkpoint=start)
    sessions.record(tmp_path, parameters=100, tokens=384)

    first, second, third = sessions.sessions(tmp_path)
    assert [first["steps"], second["steps"], third["steps"]] == [3, 4, 6]
    # At its beginning, three logs and a checkpoint; in the last session the summary and the end.
    assert [first["seconds"], second["seconds"], third["seconds"]] == [5, 4, 6]
    assert sessions.total(tmp_path) == {
        "seconds": 15,
        "epochs": 3.0,
        "steps": 6,
        "parameters": 100,
        "tokens": 384,
    }


def test_a_training_without_a_trainer_has_totals_too(tmp_path):
    assert sessions.total(tmp_path) == {}
    sessions.record(tmp_path, seconds=2.5)
    sessions.record(tmp_path, parameters=7)
    assert sessions.total(tmp_path) == {"seconds": 2.5, "parameters": 7}
    (tmp_path / "training.json").write_text('{"sess')
    with pytest.raises(UserError, match=r"training\.json is damaged; delete it"):
        sessions.total(tmp_path)
