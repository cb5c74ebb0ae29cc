"""The main job from the command line: it goes on after a stop, and in two processes."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run_python
from recipe_cases import call, one_error

from pipelines.corpora.predictions import read_predictions

CPU2 = ROOT / "recipes" / "accelerate" / "cpu2.yaml"


def raws(path):
    return [(prediction.id, prediction.raw) for prediction in read_predictions(path)]


def with_small_disk(largest, *arguments):
    """Runs where no file may exceed that many bytes: what is beyond fails as on a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return run_python(*arguments, preexec_fn=limit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("largest", "strategy"),
    [pytest.param(12_000, "no", marks=pytest.mark.extensive), (60_000, "steps")],
)
def test_a_full_disk_is_one_line(largest, strategy, smoke_arguments, tmp_path):
    done = with_small_disk(
        largest,
        *smoke_arguments,
        "--run_dir",
        tmp_path / "run",
        "--eval_strategy",
        "no",
        "--load_best_model_at_end",
        "false",
        "--save_strategy",
        strategy,
        "--save_merged",
        "true",
        "--lora_r",
        "8",
    )
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in one_error(done.stderr)
    assert (tmp_path / "run" / "config.yaml").is_file()
    assert not (tmp_path / "run" / "model" / "prompt.json").exists() or strategy == "steps"


def killed_at_a_checkpoint(arguments, folder):
    """Starts a run and kills it as soon as it has saved a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 500
    while not list(folder.glob("checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it saved a checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "model" / "prompt.json").exists()


# tests/test_interruptions.py kills the trainer itself in each CI run.
@pytest.mark.extensive
@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_checkpoint(smoke_arguments, tmp_path):
    run = tmp_path / "run"
    arguments = [
        *smoke_arguments,
        "--run_dir",
        run,
        "--eval_strategy",
        "no",
        "--load_best_model_at_end",
        "false",
        "--max_steps",
        40,
        "--save_steps",
        10,
    ]
    killed_at_a_checkpoint(arguments, run)
    done = run_python(*arguments, "--resume_from_checkpoint", "true")
    assert done.returncode == 0, done.stderr
    log = json.loads((run / "trainer_log.json").read_text())
    assert [entry["step"] for entry in log if "loss" in entry] == list(range(1, 41))
    assert (run / "report.json").is_file()
    assert len(read_predictions(run / "predictions" / "test.jsonl")) == 8


@pytest.mark.slow
def test_a_checkpoint_that_was_cut_off_is_passed_over(smoke_run, smoke_arguments, tmp_path):
    # What a kill in the middle of a save leaves.
    shutil.copytree(
        smoke_run / "checkpoints" / "checkpoint-2",
        tmp_path / "run" / "checkpoints" / "checkpoint-2",
    )
    cut = tmp_path / "run" / "checkpoints" / "checkpoint-3"
    cut.mkdir()
    shutil.copy(smoke_run / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors", cut)
    assert (
        call(
            "sft_tinyllama",
            *smoke_arguments[1:],
            "--run_dir",
            tmp_path / "run",
            "--resume_from_checkpoint",
            "true",
        )
        == 0
    )
    assert raws(tmp_path / "run" / "predictions" / "test.jsonl") == raws(
        smoke_run / "predictions" / "test.jsonl"
    )


def processes(run):
    """How many there were: a checkpoint keeps the random state of each."""
    return len({file.name for file in run.glob("checkpoints/*/rng_state_*.pth")})


@pytest.mark.extensive
@pytest.mark.slow
def test_two_processes_train_one_tagger(tiny_bert, corpus, tmp_path):
    done = run_python(
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        CPU2,
        ROOT / "recipes" / "finetune_token_tagger.py",
        "--config",
        ROOT / "recipes" / "configs" / "tagger_minilm.yaml",
        "--model_name_or_path",
        tiny_bert,
        "--train_file",
        corpus["train"],
        "--dev_file",
        corpus["dev"],
        "--decode",
        "crf",
        "--num_train_epochs",
        1,
        "--run_dir",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr
    assert processes(tmp_path / "run") == 2
    assert len(read_predictions(tmp_path / "run" / "predictions" / "dev.jsonl")) == 6
