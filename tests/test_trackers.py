"""Trackers: a missing one is one line before anything is loaded, and what is tracked is what the log has."""

import json
import os

import pytest
from conftest import ROOT, load_recipe, run_python

from pipelines.errors import UserError
from pipelines.runs import options as config
from pipelines.runs import trackers

RECIPES = {
    "sft_tinyllama": ("RecipeArguments", "TrainingArguments", "ModelArguments"),
    "finetune_token_tagger": ("RecipeArguments", "TrainingArguments"),
    "finetune_classifier": ("RecipeArguments", "TrainingArguments"),
    "distil_tagger": ("RecipeArguments", "TrainingArguments"),
    "pretrain_encoder": ("RecipeArguments", "TrainingArguments"),
    "pretrain_lm": ("RecipeArguments", "TrainingArguments", "ModelArguments"),
    "train_tagger": ("RecipeArguments", "TaggerTrainingArguments"),
    "train_text_classifier": ("RecipeArguments", "TextTrainingArguments"),
    "train_language_model": ("RecipeArguments", "LanguageTrainingArguments"),
    "train_sequence_regressor": ("RecipeArguments", "RegressorTrainingArguments"),
    "train_image_classifier": ("RecipeArguments", "ImageTrainingArguments"),
}


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_missing_tracker_is_named_with_what_installs_it(recipe, no_package):
    classes = [getattr(load_recipe(recipe), name) for name in RECIPES[recipe]]
    with pytest.raises(UserError, match=r"mlflow is not installed; run `pip install mlflow`"):
        config.parse(classes, arguments=["--report_to", "mlflow"])


def test_all_missing_trackers_are_named_at_once(no_package):
    with pytest.raises(UserError, match=r"comet_ml, wandb are not installed"):
        trackers.refuse_missing(["comet_ml", "wandb"])


def test_an_unknown_tracker_is_refused_and_none_needs_no_package(no_package):
    with pytest.raises(UserError, match=r"got --report_to tensorbord; wanted none, or some of ten"):
        trackers.refuse_missing(["tensorbord"])
    for value in (None, "none", [], ["none"], "all"):
        trackers.refuse_missing(value)


def test_tensorboard_writes_into_the_run_unless_the_user_says_where(tmp_path, monkeypatch):
    variable = trackers.TENSORBOARD_FOLDER
    monkeypatch.delenv(variable, raising=False)
    for name in ("a", "b"):  # of several runs in one process each has its own
        with trackers.tensorboard_in(tmp_path / name):
            assert os.environ[variable] == str(tmp_path / name)
    assert variable not in os.environ
    monkeypatch.setenv(variable, "mine")
    with trackers.tensorboard_in(tmp_path):
        assert os.environ[variable] == "mine"
    assert os.environ[variable] == "mine"


def trained(corpus, run, *arguments, **environment):
    """The log of a tiny tagger's training."""
    files = [part for split in ("train", "dev") for part in (f"--{split}_file", corpus[split])]
    small = ["--network", "ffnn", "--hidden_size", 8, "--num_train_epochs", 2]
    recipe = ROOT / "recipes" / "train_tagger.py"
    command = [recipe, *small, *files, "--run_dir", run, *arguments]
    done = run_python(*command, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return json.loads((run / "trainer_log.json").read_text())


@pytest.mark.slow
def test_tensorboard_has_the_scores_of_the_log(corpus, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = trained(corpus, tmp_path / "run", "--report_to", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "eval/loss", "eval/strict_f1"} <= set(events.Tags()["scalars"])
    scores = [entry["eval_strict_f1"] for entry in log if "eval_strict_f1" in entry]
    tracked = [event.value for event in events.Scalars("eval/strict_f1")]
    assert tracked == pytest.approx(scores, abs=1e-6)
    assert len(tracked) == 2


@pytest.mark.slow
def test_trackio_has_the_scores_of_the_log(corpus, tmp_path):
    pytest.importorskip("trackio")
    folder = str(tmp_path / "trackio")
    log = trained(corpus, tmp_path / "ffnn-8", "--report_to", "trackio", TRACKIO_DIR=folder)
    code = """
import json
from trackio.sqlite_storage import SQLiteStorage
[name] = SQLiteStorage.get_runs("huggingface")
print(json.dumps([name, SQLiteStorage.get_logs("huggingface", name)]))
"""
    done = run_python("-c", code, env=os.environ | {"TRACKIO_DIR": folder})
    assert done.returncode == 0, done.stderr
    name, rows = json.loads(done.stdout.splitlines()[-1])
    assert name == "ffnn-8"
    scores = [entry["eval_strict_f1"] for entry in log if "eval_strict_f1" in entry]
    tracked = [row["eval/strict_f1"] for row in rows if "eval/strict_f1" in row]
    assert tracked == pytest.approx(scores, abs=1e-6)
    assert len(tracked) == 2
