"""The main job from the command line: what a run leaves, what bad input says, and going on after a stop."""

import csv
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT, run_python

from pipelines import cli, job
from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.examples import Prediction
from pipelines.formatting import interval
from pipelines.runs.arguments import DataArguments
from pipelines.runs.provenance import reading_of
from pipelines.runs.run import Run
from pipelines.submission import validate_submission

SMOKE = ROOT / "recipes" / "configs" / "sft_smoke.yaml"
CPU2 = ROOT / "recipes" / "accelerate" / "cpu2.yaml"
PLACED = {"exact", "case_repaired", "whitespace_repaired"}


def raws(path):
    return [(prediction.id, prediction.raw) for prediction in read_predictions(path)]


# What a run leaves


def test_a_run_leaves_every_file(smoke_run):
    files = {str(path.relative_to(smoke_run)) for path in smoke_run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "provenance.json",
        "report.json",
        "submission.csv",
        "predictions/dev.jsonl",
        "predictions/test.jsonl",
        "model/adapter_model.safetensors",
        "model/prompt.json",
        "model/tokenizer.json",
        "merged/model.safetensors",
        "merged/prompt.json",
    } <= files
    assert not [file for file in files if file.split("/")[-1].startswith(".")], (
        "leftovers of unfinished files"
    )
    weights = {
        file for file in files if "model" in file.split("/")[-1] and not file.endswith(".json")
    }
    assert all(file.endswith(".safetensors") for file in weights)


def test_a_run_reports_its_speed_share_and_energy(smoke_run):
    cost = json.loads((smoke_run / "report.json").read_text())["cost"]
    assert 0 < cost["training_share_of_peak"] < 1
    assert cost["prediction_words_per_second"] > 0
    assert cost["energy_watt_hours"] > 0
    assert "busy cores at 10 W" in cost["energy_basis"]
    page = (smoke_run / "report.html").read_text()
    assert "energy, estimated" in page
    assert "share of the matmul peak" in page


def test_the_report_has_scores_with_an_interval_and_the_cost(smoke_run):
    report = json.loads((smoke_run / "report.json").read_text())
    strict = report["strict"]
    low, high = strict["interval"]
    assert 0 <= low <= strict["f1"] <= high <= 1
    assert {"precision", "recall", "support"} <= strict.keys()
    assert report["split"] == "test"
    cost = report["cost"]
    assert set(cost["seconds"]) == {"training", "predict_dev", "predict_test"}
    assert cost["peak_memory"] > 1e8
    assert 0 < cost["trained_parameters"] < cost["parameters"]


def test_the_report_is_what_evaluate_says_of_the_predictions(smoke_run, corpus, tmp_path):
    assert (
        cli.main(
            [
                "evaluate",
                "--gold",
                str(corpus["test"]),
                "--predictions",
                str(smoke_run / "predictions" / "test.jsonl"),
                "--train",
                str(corpus["train"]),
                "--json",
                str(tmp_path / "report.json"),
            ]
        )
        == 0
    )
    again, first = (
        json.loads((folder / "report.json").read_text()) for folder in (tmp_path, smoke_run)
    )
    assert again["strict"] == first["strict"]


def test_every_test_example_is_answered_with_strings_of_its_text(smoke_run, corpus):
    for split in ("dev", "test"):
        examples = read_examples(corpus[split])
        predictions = read_predictions(smoke_run / "predictions" / f"{split}.jsonl")
        assert [prediction.id for prediction in predictions] == [example.id for example in examples]
        for example, prediction in zip(examples, predictions, strict=True):
            assert {mention["status"] for mention in prediction.mentions} <= PLACED
            assert all(mention["string"] in example.text for mention in prediction.mentions)


def test_the_submission_is_valid_and_says_what_was_predicted(smoke_run, corpus):
    examples = {example.id: example for example in read_examples(corpus["test"])}
    predictions = read_predictions(smoke_run / "predictions" / "test.jsonl")
    validate_submission(
        smoke_run / "submission.csv", smoke_run / "sample_submission.csv", format="json_strings"
    )
    with open(smoke_run / "submission.csv", encoding="utf-8", newline="") as f:
        rows = {row["id"]: json.loads(row["entities"]) for row in csv.DictReader(f)}
    assert rows == {
        prediction.id: [
            examples[prediction.id].text[span.start : span.end] for span in prediction.spans
        ]
        for prediction in predictions
    }


def test_what_is_printed(smoke_run, corpus):
    printed = (smoke_run / "stdout.txt").read_text()
    [example] = re.findall(r"^⟦(.*?)⟧(.*?)</s>$", printed, flags=re.DOTALL | re.MULTILINE)
    assert example[0].startswith("<|system|>\n")
    assert example[0].endswith("</s>\n<|assistant|>\n")
    assert "</s>" not in example[1]
    for file in ("report.json", "predictions/test.jsonl", "submission.csv"):
        assert str(smoke_run / file) in printed
    strict = json.loads((smoke_run / "report.json").read_text())["strict"]
    assert interval(strict["interval"]) in printed


def test_the_written_config_and_provenance_name_the_data(smoke_run, corpus):
    options = yaml.safe_load((smoke_run / "config.yaml").read_text())
    assert (options["train_file"], options["lora_r"], options["max_steps"]) == (
        str(corpus["train"]),
        4,
        4,
    )
    provenance = json.loads((smoke_run / "provenance.json").read_text())
    assert set(provenance["data"]) == {str(corpus[split]) for split in ("train", "dev", "test")}


def test_predict_answers_as_the_recipe_did_from_adapter_and_merged_model(
    smoke_run, corpus, tmp_path
):
    shutil.copytree(smoke_run / "model", tmp_path / "run" / "model")
    for run in (smoke_run, tmp_path / "run"):
        out = tmp_path / "answers.jsonl"
        assert (
            cli.main(
                [
                    "predict",
                    "--run",
                    str(run),
                    "--input",
                    str(corpus["unlabelled"]),
                    "--output",
                    str(out),
                ]
            )
            == 0
        )
        assert raws(out) == raws(smoke_run / "predictions" / "test.jsonl")


# Run in this process, which has the libraries loaded already


def called(recipe, monkeypatch, *arguments):
    """The exit code of the recipe's main with a command line."""
    monkeypatch.setattr(sys, "argv", ["sft_tinyllama.py", *map(str, arguments)])
    try:
        recipe.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_an_unlabelled_test_file_is_predicted_but_not_scored(
    recipe, tiny_llama, corpus, tmp_path, monkeypatch
):
    assert (
        called(
            recipe,
            monkeypatch,
            "--config",
            SMOKE,
            "--model_name_or_path",
            tiny_llama,
            "--train_file",
            corpus["train"],
            "--test_file",
            corpus["unlabelled"],
            "--max_steps",
            1,
            "--run_dir",
            tmp_path / "run",
        )
        == 0
    )
    assert len(read_predictions(tmp_path / "run" / "predictions" / "test.jsonl")) == 8
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "strict" not in report
    assert "cost" in report
    assert (tmp_path / "run" / "submission.csv").is_file()


def test_a_trained_run_goes_on_with_prediction(
    recipe, smoke_run, smoke_arguments, tmp_path, monkeypatch, capsys
):
    shutil.copytree(
        smoke_run, tmp_path / "run", ignore=shutil.ignore_patterns("predictions", "report.json")
    )
    assert (
        called(
            recipe,
            monkeypatch,
            *smoke_arguments[1:],
            "--run_dir",
            tmp_path / "run",
            "--save_merged",
            "true",
            "--resume_from_checkpoint",
            "true",
        )
        == 0
    )
    assert "is there already: going on with prediction" in capsys.readouterr().out
    assert raws(tmp_path / "run" / "predictions" / "test.jsonl") == raws(
        smoke_run / "predictions" / "test.jsonl"
    )
    strict = [
        json.loads((run / "report.json").read_text())["strict"]
        for run in (tmp_path / "run", smoke_run)
    ]
    assert strict[0] == strict[1]


# Bad input


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


ROW = {
    "id": "0",
    "sentence": "Colon cancer.",
    "entities": [{"start": 0, "end": 12, "type": "Disease"}],
}
WHOLE = json.dumps([ROW, ROW | {"id": "1"}])
# What is given -> arguments from a folder, and what the one line says.
BAD = {
    "missing file": (lambda at: ["--train_file", at / "none.json"], r"none\.json"),
    "folder": (lambda at: ["--train_file", at], "folder|directory"),
    "empty file": (lambda at: ["--train_file", write(at / "a.json", "")], r"a\.json.*empty"),
    "JSON cut off": (
        lambda at: ["--train_file", write(at / "a.json", WHOLE[:-30])],
        r"a\.json.*cut|ends|JSON",
    ),
    "wrong column": (
        lambda at: ["--train_file", write(at / "a.json", [{"foo": "Colon cancer.", "bar": []}])],
        "without mentions marked.*--entities_column",
    ),
    "no labels": (
        lambda at: ["--train_file", write(at / "a.json", [{"id": "0", "sentence": "Flu."}])],
        "a.json: 1 of 1 examples are without mentions marked",
    ),
    "no training file": (
        lambda at: ["--dev_file", write(at / "a.json", WHOLE)],
        "without --train_file",
    ),
    "unknown Hub model": (
        lambda at: ["--train_file", write(at / "a.json", WHOLE), "--model_name_or_path", "no/such"],
        "'no/such' could not be loaded",
    ),
    "unknown local model": (
        lambda at: [
            "--train_file",
            write(at / "a.json", WHOLE),
            "--model_name_or_path",
            "local:gpt",
        ],
        "wanted one of local:smollm2",
    ),
    "missing model folder": (
        lambda at: ["--train_file", write(at / "a.json", WHOLE), "--model_name_or_path", at / "m"],
        "no such model folder",
    ),
    "unknown key": (
        lambda at: ["--config", write(at / "c.yaml", "learning_rat: 1")],
        "did you mean learning_rate",
    ),
    "unknown option": (lambda at: ["--learning_rat", "1"], "did you mean --learning_rate"),
    "missing config": (lambda at: ["--config", at / "c.yaml"], "no such file"),
    "unknown format": (
        lambda at: ["--train_file", write(at / "a.json", WHOLE), "--prompt_format", "xml"],
        "list, json, tagged",
    ),
    "unknown style": (
        lambda at: ["--train_file", write(at / "a.json", WHOLE), "--prompt_style", "verse"],
        "auto, chat, plain",
    ),
    "options at odds": (
        lambda at: ["--eval_strategy", "no", "--load_best_model_at_end", "true"],
        "do not fit",
    ),
    "file as run folder": (
        lambda at: [
            "--train_file",
            write(at / "a.json", WHOLE),
            "--run_dir",
            write(at / "run", "x"),
        ],
        "is a file; give a folder",
    ),
    "nothing short enough": (
        lambda at: ["--train_file", write(at / "a.json", WHOLE), "--max_length", "9"],
        "raise --max_length",
    ),
    "missing checkpoint": (
        lambda at: [
            "--train_file",
            write(at / "a.json", WHOLE),
            "--resume_from_checkpoint",
            at / "checkpoint-9",
        ],
        "no such folder; give a whole checkpoint-N",
    ),
}


def one_error(text):
    [line] = [line for line in text.splitlines() if line.startswith("error:")]
    assert "Traceback" not in text
    return line


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, recipe, tiny_llama, tmp_path, monkeypatch, capsys):
    arguments, message = BAD[case]
    # What comes last counts, but for the config, of which there can be one.
    given = arguments(tmp_path)
    config = [] if "--config" in given else ["--config", SMOKE]
    assert (
        called(
            recipe,
            monkeypatch,
            *config,
            "--model_name_or_path",
            tiny_llama,
            "--run_dir",
            tmp_path / "r",
            *given,
        )
        == 2
    )
    assert re.search(message, one_error(capsys.readouterr().err))
    assert not (tmp_path / "r" / "model").exists()


def test_a_number_that_is_none_is_one_line(recipe, monkeypatch, capsys):
    assert called(recipe, monkeypatch, "--config", SMOKE, "--max_steps", "many") == 2
    error = capsys.readouterr().err
    assert "--max_steps" in one_error(error)


def test_faults_in_the_data_are_all_listed(recipe, tiny_llama, tmp_path, monkeypatch, capsys):
    wrong = ROW | {
        "id": "1",
        "entities": [{"start": 1, "end": 13, "text": "Colon cancer", "type": "Disease"}],
    }
    gone = ROW | {
        "id": "2",
        "entities": [{"start": 5, "end": 9, "text": "acne", "type": "Disease"}],
    }
    path = write(tmp_path / "train.json", [ROW, wrong, gone])
    arguments = [
        "--config",
        SMOKE,
        "--model_name_or_path",
        tiny_llama,
        "--train_file",
        path,
        "--max_steps",
        1,
        "--run_dir",
        tmp_path / "r",
    ]
    assert called(recipe, monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert "--skip_bad_rows" in one_error(captured.err)
    assert [
        line.split(":")[0] for line in captured.out.splitlines() if "train.json, row" in line
    ] == [f"{path}, row 1", f"{path}, row 2"]
    assert called(recipe, monkeypatch, *arguments, "--skip_bad_rows", "true") == 0
    assert (tmp_path / "r" / "model" / "prompt.json").is_file()


def test_a_run_is_not_overwritten(recipe, smoke_run, smoke_arguments, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in smoke_run.rglob("*")}
    assert called(recipe, monkeypatch, *smoke_arguments[1:], "--run_dir", smoke_run) == 2
    assert "holds a trained run" in one_error(capsys.readouterr().err)
    assert {path: path.stat().st_mtime_ns for path in smoke_run.rglob("*")} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"sample\.csv"), ("id,entities\nother,[]\n", "neither ids of the predictions")],
    ids=["missing", "other ids"],
)
def test_a_sample_that_does_not_fit_stops_before_training(
    content, message, recipe, smoke_arguments, tmp_path, monkeypatch, capsys
):
    if content:
        write(tmp_path / "sample.csv", content)
    assert (
        called(
            recipe,
            monkeypatch,
            *smoke_arguments[1:],
            "--run_dir",
            tmp_path / "run",
            "--sample_submission",
            tmp_path / "sample.csv",
        )
        == 2
    )
    assert re.search(message, one_error(capsys.readouterr().err))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "input", "message"),
    [("none", "unlabelled", "no such folder"), ("smoke", "none", r"none\.json")],
)
def test_predict_with_bad_input_is_one_line(run, input, message, smoke_run, corpus, tmp_path):
    done = run_python(
        "-m",
        "pipelines.cli",
        "predict",
        "--run",
        smoke_run if run == "smoke" else tmp_path / run,
        "--input",
        corpus.get(input, tmp_path / "none.json"),
        "--output",
        tmp_path / "p.jsonl",
    )
    assert done.returncode == 2
    assert re.search(message, one_error(done.stderr))
    assert not (tmp_path / "p.jsonl").exists()


@pytest.mark.parametrize(
    ("output", "expected"),
    [("", "a folder"), ("in.json/p.jsonl", "a file; wanted a folder"), ("x" * 300, "too long")],
)
def test_predict_refuses_a_bad_output_before_it_loads_the_model(
    output, expected, tmp_path, monkeypatch, capsys
):
    (tmp_path / "in.json").write_text('[{"text": "a"}]')
    (tmp_path / "run" / "model").mkdir(parents=True)
    monkeypatch.setattr(Run, "model_folder", lambda run: pytest.fail("the model is loaded"))
    with pytest.raises(SystemExit):
        cli.main(
            [
                "predict",
                "--run",
                str(tmp_path / "run"),
                "--input",
                str(tmp_path / "in.json"),
                "--output",
                str(tmp_path / output),
            ]
        )
    assert expected in one_error(capsys.readouterr().err)


def test_predict_reads_the_columns_it_is_reported(tmp_path, monkeypatch):
    (tmp_path / "in.json").write_text('[{"nr": 7, "satz": "a"}, {"nr": 8, "satz": 1}]')
    family = SimpleNamespace(
        load=lambda folder: None,
        predict=lambda loaded, examples, progress: [
            Prediction(example.id, ()) for example in examples
        ],
    )
    (tmp_path / "run" / "model").mkdir(parents=True)
    monkeypatch.setattr(Run, "model_folder", lambda run: (family, run.model))
    assert (
        cli.main(
            [
                "predict",
                "--run",
                str(tmp_path / "run"),
                "--input",
                str(tmp_path / "in.json"),
                "--output",
                str(tmp_path / "p.jsonl"),
                "--text_column",
                "satz",
                "--id_column",
                "nr",
                "--entities_column",
                "gold",
                "--skip_bad_rows",
            ]
        )
        == 0
    )
    assert [prediction.id for prediction in read_predictions(tmp_path / "p.jsonl")] == ["7"]


def test_a_recipes_test_file_may_lack_the_named_mentions(tmp_path):
    files = {split: str(tmp_path / f"{split}.json") for split in ("train", "test")}
    Path(files["train"]).write_text('[{"text": "a cancer", "gold": ["cancer"]}]')
    Path(files["test"]).write_text('[{"text": "another cancer"}]')
    options = {"train_file": files["train"], "test_file": files["test"]}
    data = job.read(DataArguments(entities_column="gold", **options), answer="spans", project=ROOT)
    assert reading_of(data.corpora)["found"]["entities"] == "gold"
    assert [example.spans for example in data.splits["test"]] == [None]
    with pytest.raises(UserError, match="nearest: gold"):
        job.read(DataArguments(entities_column="golds", **options), answer="spans", project=ROOT)


# Stops in the middle


def with_small_disk(largest, *arguments):
    """Runs where no file may exceed that many bytes: what is beyond fails as on a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return run_python(*arguments, preexec_fn=limit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("largest", "strategy"),
    [(12_000, "no"), (60_000, "steps")],
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
        200,
        "--save_steps",
        10,
    ]
    killed_at_a_checkpoint(arguments, run)
    done = run_python(*arguments, "--resume_from_checkpoint", "true")
    assert done.returncode == 0, done.stderr
    log = json.loads((run / "trainer_log.json").read_text())
    assert [entry["step"] for entry in log if "loss" in entry] == list(range(1, 201))
    assert (run / "report.json").is_file()
    assert len(read_predictions(run / "predictions" / "test.jsonl")) == 8


@pytest.mark.slow
def test_a_checkpoint_that_was_cut_off_is_passed_over(
    recipe, smoke_run, smoke_arguments, tmp_path, monkeypatch
):
    # What a kill in the middle of a save leaves.
    shutil.copytree(
        smoke_run / "checkpoints" / "checkpoint-2",
        tmp_path / "run" / "checkpoints" / "checkpoint-2",
    )
    cut = tmp_path / "run" / "checkpoints" / "checkpoint-3"
    cut.mkdir()
    shutil.copy(smoke_run / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors", cut)
    assert (
        called(
            recipe,
            monkeypatch,
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


@pytest.mark.slow
def test_bad_input_is_one_line_with_two_processes_too(smoke_arguments, tmp_path):
    done = run_python(
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        CPU2,
        *smoke_arguments,
        "--train_file",
        tmp_path / "none.json",
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "none.json" in done.stderr
    assert not (tmp_path / "runs").exists()
