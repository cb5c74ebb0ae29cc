"""The main job from the command line: what bad input says."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, run_python
from recipe_cases import call, one_error, predict

from pipelines import job
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.examples import Prediction
from pipelines.runs.arguments import DataArguments
from pipelines.runs.provenance import reading_of
from pipelines.runs.run import Run

SMOKE = ROOT / "recipes" / "configs" / "sft_smoke.yaml"
CPU2 = ROOT / "recipes" / "accelerate" / "cpu2.yaml"


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


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tiny_llama, tmp_path, capsys):
    arguments, message = BAD[case]
    # What comes last counts, but for the config, of which there can be one.
    given = arguments(tmp_path)
    config = [] if "--config" in given else ["--config", SMOKE]
    assert (
        call(
            "sft_tinyllama",
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


def test_a_number_that_is_none_is_one_line(capsys):
    assert call("sft_tinyllama", "--config", SMOKE, "--max_steps", "many") == 2
    error = capsys.readouterr().err
    assert "--max_steps" in one_error(error)


def test_faults_in_the_data_are_all_listed(tiny_llama, tmp_path, capsys):
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
    assert call("sft_tinyllama", *arguments) == 2
    captured = capsys.readouterr()
    assert "--skip_bad_rows" in one_error(captured.err)
    assert [
        line.split(":")[0] for line in captured.out.splitlines() if "train.json, row" in line
    ] == [f"{path}, row 1", f"{path}, row 2"]
    assert call("sft_tinyllama", *arguments, "--skip_bad_rows", "true") == 0
    assert (tmp_path / "r" / "model" / "prompt.json").is_file()


def test_texts_whose_mentions_the_format_loses_are_left_out_of_training(
    tiny_llama, tmp_path, capsys
):
    second = {"start": 20, "end": 23, "text": "WAS", "type": "Disease"}  # not the first of its text
    lossy = {
        **ROW,
        "id": "lossy",
        "sentence": "The WAS family, and WAS itself.",
        "entities": [second],
    }
    path = write(tmp_path / "train.json", [ROW, lossy])
    tiny = ["--config", SMOKE, "--model_name_or_path", tiny_llama, "--max_steps", 1]
    arguments = [*tiny, "--train_file", path, "--dev_file", path]
    assert call("sft_tinyllama", *arguments, "--run_dir", tmp_path / "refused") == 2
    assert "--skip_bad_rows" in one_error(capsys.readouterr().err)
    kept = ["--skip_bad_rows", "true", "--run_dir", tmp_path / "r"]
    assert call("sft_tinyllama", *arguments, *kept) == 0
    said = capsys.readouterr()
    fault = f"{path}: the prompt format 'list' loses mentions in 1 of 2 examples, which are"
    assert f"{fault} left out of training: lossy" in said.out + said.err
    assert f"{fault} scored with all their mentions: lossy" in said.out + said.err
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["strict"]["support"] == 2

    write(path, [lossy])
    assert call("sft_tinyllama", *tiny, "--train_file", path, *kept[:3], tmp_path / "none") == 2
    assert "not one example of train is left" in one_error(capsys.readouterr().err)


def test_a_run_is_not_overwritten(smoke_run, smoke_arguments, capsys):
    before = {path: path.stat().st_mtime_ns for path in smoke_run.rglob("*")}
    assert call("sft_tinyllama", *smoke_arguments[1:], "--run_dir", smoke_run) == 2
    assert "holds a trained run" in one_error(capsys.readouterr().err)
    assert {path: path.stat().st_mtime_ns for path in smoke_run.rglob("*")} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"sample\.csv"), ("id,entities\nother,[]\n", "neither ids of the predictions")],
    ids=["missing", "other ids"],
)
def test_a_sample_that_does_not_fit_stops_before_training(
    content, message, smoke_arguments, tmp_path, capsys
):
    if content:
        write(tmp_path / "sample.csv", content)
    assert (
        call(
            "sft_tinyllama",
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


@pytest.mark.parametrize(
    ("run", "input", "message"),
    [("none", "unlabelled", "no such folder"), ("smoke", "none", r"none\.json")],
)
def test_predict_with_bad_input_is_one_line(
    run, input, message, smoke_run, corpus, tmp_path, capsys
):
    run_dir = smoke_run if run == "smoke" else tmp_path / run
    capsys.readouterr()
    texts = corpus.get(input, tmp_path / "none.json")
    assert predict(run_dir, texts, tmp_path / "p.jsonl") == 2
    assert re.search(message, one_error(capsys.readouterr().err))
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
    assert predict(tmp_path / "run", tmp_path / "in.json", tmp_path / output) == 2
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
        predict(
            tmp_path / "run",
            tmp_path / "in.json",
            tmp_path / "p.jsonl",
            "--text_column",
            "satz",
            "--id_column",
            "nr",
            "--entities_column",
            "gold",
            "--skip_bad_rows",
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


@pytest.mark.extensive
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
