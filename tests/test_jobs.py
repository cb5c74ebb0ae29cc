"""What every recipe promises of its run folder, whatever it trains: a table of recipes against a list of promises."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from recipe_cases import (  # noqa: F401 - fixtures among them
    CONFIGS,
    PREDICTING,
    RECIPES,
    TEXTS,
    TRAINING,
    WITH_TRAINER,
    arguments_of,
    call,
    classes,
    copied,
    data,
    models,
    one_error,
    pictures,
    runs,
    sequences,
    slow_but,
)

from pipelines import cli, job
from pipelines.runs import push
from pipelines.runs.run import Run


@pytest.mark.parametrize("name", RECIPES)
def test_it_leaves_options_provenance_model_and_cost(name, runs):
    run = runs(name)
    files = {path.name for path in run.iterdir()}
    assert {"config.yaml", "provenance.json", "report.json", "model"} <= files
    assert not [file for file in files if file.endswith((".partial", ".old"))]
    assert json.loads((run / "report.json").read_text())["cost"]["seconds"]
    provenance = json.loads((run / "provenance.json").read_text())
    assert len(provenance["data"]) == 3 + (name == "distil_tagger")  # and the unlabelled texts
    assert provenance["precision"]


@pytest.mark.parametrize("name", RECIPES)
def test_it_leaves_a_model_card_without_paths(name, runs, data):
    run = runs(name)
    card = ModelCard.load(run / "README.md")
    assert card.data.library_name in ("pipelines", "peft", "transformers")
    report = json.loads((run / "report.json").read_text())
    scored = {result.dataset_split for result in card.data.eval_results or ()}
    assert scored == ({"dev", "test"} if "task" in report else set())
    assert "## Limits" in card.text
    assert "| train |" in card.text
    assert not re.search(r"(?<![\w./<:-])/\w+/\w", card.content)
    staged = run.parent / f"{run.name}-staged"
    staged.mkdir()
    files = push.stage(Run.open(run), staged, "me/model", with_predictions="untrained" in name)
    assert {"README.md", "config.yaml"} <= {str(file) for file in files}
    # An adapter's base model is a folder here: its name is all that is left of it.
    for file in staged.glob("*.json"):
        assert str(data["spans"]["train"].parents[1]) not in file.read_text(), file


@pytest.mark.parametrize("name", PREDICTING)
def test_predict_gives_what_the_run_itself_gave(name, runs, data, tmp_path):
    run, out = runs(name), tmp_path / "p.jsonl"
    test = data[RECIPES[name][0]]["test"]
    assert cli.main(["predict", "--run", str(run), "--input", str(test), "--output", str(out)]) == 0
    assert out.read_bytes() == (run / "predictions" / "test.jsonl").read_bytes()


@pytest.mark.parametrize("name", RECIPES)
def test_a_finished_run_is_not_overwritten(name, runs, models, data, capsys):
    run = runs(name)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    assert call(name, *arguments_of(name, models, data), "--run_dir", run) == 2
    assert "holds a trained run" in one_error(capsys.readouterr().err)
    assert {
        path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"
    } == before


@pytest.mark.parametrize("name", [name for name in TRAINING if " " not in name])
def test_other_options_do_not_go_on_with_a_run(name, copied, models, data, capsys):
    run = copied(name)
    options = (run / "config.yaml").read_bytes()
    changed = [
        *arguments_of(name, models, data),
        "--run_dir",
        run,
        "--resume_from_checkpoint",
        "true",
        "--seed",
        7,
        "--weight_decay",
        0.5,
    ]
    assert call(name, *changed) == 2
    error = one_error(capsys.readouterr().err)
    assert "seed" in error
    assert "weight_decay" in error
    assert (run / "config.yaml").read_bytes() == options


@pytest.mark.parametrize("name", TRAINING)
def test_changed_data_does_not_go_on_with_a_run(name, copied, models, data, tmp_path, capsys):
    run = copied(name)
    kind = RECIPES[name][0]
    train = tmp_path / data[kind]["train"].name
    shutil.copy(data[kind]["train"], train)
    provenance = json.loads((run / "provenance.json").read_text())
    digests = dict(provenance["data"])
    [key] = [file for file in digests if Path(file).name == train.name]
    digests[key] = "0" * 64
    (run / "provenance.json").write_text(json.dumps(provenance | {"data": digests}))
    arguments = [
        *arguments_of(name, models, data),
        "--run_dir",
        run,
        "--resume_from_checkpoint",
        "true",
    ]
    assert call(name, *arguments) == 2
    assert train.name in one_error(capsys.readouterr().err)


@pytest.mark.parametrize(
    "name",
    slow_but(
        "train_tagger",
        [name for name in TRAINING if name in PREDICTING],
        pytest.mark.extensive,
    ),
)
def test_a_trained_run_goes_on_with_prediction(name, copied, runs, models, data, capsys):
    run = copied(name)
    (run / "report.json").unlink()
    shutil.rmtree(run / "predictions")
    assert (
        call(
            name,
            *arguments_of(name, models, data),
            "--run_dir",
            run,
            "--resume_from_checkpoint",
            "true",
        )
        == 0
    )
    assert "is there already: going on with prediction" in capsys.readouterr().out
    test = Path("predictions", "test.jsonl")
    assert (run / test).read_bytes() == (runs(name) / test).read_bytes()
    reports = [json.loads((folder / "report.json").read_text()) for folder in (run, runs(name))]
    for key in ("parameters", "trained_parameters", "epochs"):
        assert reports[0]["cost"].get(key) == reports[1]["cost"].get(key)
    if "training" in reports[1]["cost"]["seconds"]:
        # Without what was read and saved beside the steps.
        resumed, whole = [report["cost"]["seconds"]["training"] for report in reports]
        assert 0 <= resumed <= whole


@pytest.mark.parametrize(
    "name",
    slow_but(
        "train_tagger",
        [
            "finetune_token_tagger",
            "distil_tagger",
            "train_tagger",
            "finetune_classifier",
            "train_text_classifier",
            "train_language_model",
            "train_sequence_regressor",
            "train_image_classifier",
        ],
        pytest.mark.extensive,
    ),
)
def test_more_epochs_train_a_finished_run_on(name, copied, models, data, capsys):
    run = copied(name)
    assert (
        call(
            name,
            *arguments_of(name, models, data),
            "--run_dir",
            run,
            "--resume_from_checkpoint",
            "true",
            "--num_train_epochs",
            2,
        )
        == 0
    )
    assert "checkpoint-" in capsys.readouterr().out
    assert yaml.safe_load((run / "config.yaml").read_text())["num_train_epochs"] == 2
    log = json.loads((run / "trainer_log.json").read_text())
    assert max(entry["epoch"] for entry in log) == 2
    assert json.loads((run / "report.json").read_text())["cost"]["epochs"] == 2


def test_more_epochs_that_were_interrupted_are_still_asked_for(copied, models, data, monkeypatch):
    name = "train_tagger"
    run = copied(name)
    more = [
        *arguments_of(name, models, data),
        "--run_dir",
        run,
        "--resume_from_checkpoint",
        "true",
        "--num_train_epochs",
        2,
    ]
    monkeypatch.setattr(
        job.Job, "record_training", lambda *_, **__: pytest.exit("killed", returncode=9)
    )
    with pytest.raises(pytest.exit.Exception):
        call(name, *more)
    monkeypatch.undo()
    assert yaml.safe_load((run / "config.yaml").read_text())["num_train_epochs"] == 1
    assert call(name, *more) == 0
    assert json.loads((run / "report.json").read_text())["cost"]["epochs"] == 2


def test_another_recipe_does_not_go_on_with_a_run(copied, models, data, capsys):
    run = copied("train_tagger")
    assert (
        call(
            "finetune_token_tagger",
            *arguments_of("finetune_token_tagger", models, data),
            "--run_dir",
            run,
            "--resume_from_checkpoint",
            "true",
        )
        == 2
    )
    assert "it is a run of ffnn, not of token_tagger" in one_error(capsys.readouterr().err)


@pytest.mark.parametrize("name", RECIPES)
def test_two_jobs_do_not_share_a_folder(name, models, data, tmp_path, capsys):
    from pipelines.runs.lock import run_lock

    folder = tmp_path / "run"
    folder.mkdir()
    with run_lock(folder):
        assert call(name, *arguments_of(name, models, data), "--run_dir", folder) == 2
    assert str(folder) in one_error(capsys.readouterr().err)
    assert not (folder / "config.yaml").exists()


@pytest.mark.parametrize("name", PREDICTING)
def test_a_damaged_model_is_one_line(name, copied, data, tmp_path, capsys):
    run = copied(name)
    test = data[RECIPES[name][0]]["test"]
    command = ["predict", "--run", run, "--input", test, "--output", tmp_path / "p.jsonl"]
    # Nothing reads the description.
    for file in sorted({*(run / "model").iterdir()} - {run / "model" / "README.md"}):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(SystemExit) as stop:
            cli.main(list(map(str, command)))
        assert stop.value.code == 2, file
        assert str(run / "model") in one_error(capsys.readouterr().err), file
        file.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.extensive)],
)
def test_an_interrupted_job_ends_with_one_line(
    name, number, code, models, data, tmp_path, monkeypatch, capsys
):
    arguments = arguments_of(name, models, data)  # first, as it may train teachers
    cost = job.Job.cost
    monkeypatch.setattr(job.Job, "cost", lambda work: os.kill(os.getpid(), number) or cost(work))
    assert call(name, *arguments, "--run_dir", tmp_path / "run") == code
    [line] = [line for line in capsys.readouterr().err.splitlines() if "interrupted by" in line]
    assert line.startswith(f"interrupted by {number.name}: {tmp_path / 'run'} holds model")
    assert line.endswith(f"--run_dir {tmp_path / 'run'} --resume_from_checkpoint true")


@pytest.mark.parametrize("name", slow_but("train_tagger", WITH_TRAINER))
def test_a_cut_checkpoint_is_named_and_training_ends_the_same(
    name, copied, runs, models, data, capsys
):
    run = copied(name)
    shutil.rmtree(run / "model")
    (run / "report.json").unlink()
    [checkpoint] = (run / "checkpoints").glob("checkpoint-*")
    optimizer = checkpoint / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    arguments = [*arguments_of(name, models, data), "--run_dir", run]
    assert call(name, *arguments, "--resume_from_checkpoint", "true") == 0
    written = capsys.readouterr()
    assert f"{checkpoint} is damaged and skipped: optimizer.pt has 100 bytes" in written.err
    assert f"no whole checkpoint in {run / 'checkpoints'}: training from the start" in written.out
    weights = {path.name: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    assert weights
    for file, content in weights.items():
        assert (runs(name) / "model" / file).read_bytes() == content


@pytest.mark.parametrize("name", slow_but("train_tagger", RECIPES))
def test_no_secret_and_no_path_of_the_home_folder_is_written(
    name, models, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / "files"
    home.mkdir()
    kind = RECIPES[name][0]
    here = {split: shutil.copy(data[kind][split], home) for split in ("train", "dev", "test")}
    arguments = arguments_of(name, models, data | {kind: here})
    secret = ["--run_name", f"https://ann:{'s' * 34}@host"] if name in WITH_TRAINER else []
    assert call(name, *arguments, *secret, "--run_dir", tmp_path / "run") == 0
    for file in (path for path in (tmp_path / "run").rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert b"s" * 34 not in content, file
        # The Trainer finds the best checkpoint by the path in its own state.
        assert str(tmp_path).encode() not in content or file.name == "trainer_state.json", file
    assert "s" * 34 not in "".join(capsys.readouterr())
