"""The main job from the command line: what a run leaves."""

import csv
import json
import re
import shutil

import yaml
from conftest import ROOT
from recipe_cases import call, predict

from pipelines import cli
from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.formatting import interval
from pipelines.submission import validate_submission

SMOKE = ROOT / "recipes" / "configs" / "sft_smoke.yaml"
PLACED = {"exact", "case_repaired", "whitespace_repaired"}


def raws(path):
    return [(prediction.id, prediction.raw) for prediction in read_predictions(path)]


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
        assert predict(run, corpus["unlabelled"], out) == 0
        assert raws(out) == raws(smoke_run / "predictions" / "test.jsonl")


def test_an_unlabelled_test_file_is_predicted_but_not_scored(tiny_llama, corpus, tmp_path):
    assert (
        call(
            "sft_tinyllama",
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


def test_a_trained_run_goes_on_with_prediction(smoke_run, smoke_arguments, tmp_path, capsys):
    shutil.copytree(
        smoke_run, tmp_path / "run", ignore=shutil.ignore_patterns("predictions", "report.json")
    )
    assert (
        call(
            "sft_tinyllama",
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
