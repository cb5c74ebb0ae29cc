"""The token tagger's recipe from the command line."""

import json
from pathlib import Path

import pytest
import word_bert
from conftest import ROOT, run_python
from recipe_cases import predict

from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError

RECIPE = ROOT / "recipes" / "finetune_token_tagger.py"


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory):
    return word_bert.write(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="module")
def arguments(bare_bert, corpus):
    return [
        RECIPE,
        "--model_name_or_path",
        bare_bert,
        "--train_file",
        corpus["train"],
        "--dev_file",
        corpus["dev"],
        "--config",
        ROOT / "recipes" / "configs" / "tagger_minilm.yaml",
        "--num_train_epochs",
        "2",
        "--window",
        "40",
        "--stride",
        "8",
    ]


@pytest.fixture(scope="module")
def tagger_run(arguments, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    done = run_python(
        *arguments,
        "--test_file",
        corpus["test"],
        "--run_dir",
        folder,
        "--decode",
        "crf",
        "--case_feature",
        "true",
    )
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_a_run_leaves_every_file_and_says_what_it_found(tagger_run, corpus):
    files = {str(path.relative_to(tagger_run)) for path in tagger_run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "provenance.json",
        "report.json",
        "report.html",
        "submission.csv",
        "trainer_log.json",
        "predictions/dev.jsonl",
        "predictions/test.jsonl",
        "model/model.safetensors",
        "model/tagger.json",
    } <= files
    printed = (tagger_run / "stdout.txt").read_text()
    assert "classifier.weight" in printed
    assert "they are new" in printed
    assert "overlapping windows" in printed
    report = json.loads((tagger_run / "report.json").read_text())
    assert report["strict"]["support"] == sum(
        len(row.spans) for row in read_examples(corpus["test"])
    )
    log = json.loads((tagger_run / "trainer_log.json").read_text())
    assert len([entry for entry in log if "eval_strict_f1" in entry]) == 2


def test_predict_gives_the_runs_own_answers(tagger_run, corpus, tmp_path):
    out = tmp_path / "again.jsonl"
    assert predict(tagger_run, corpus["test"], out) == 0
    assert read_predictions(out) == read_predictions(tagger_run / "predictions" / "test.jsonl")


def test_bad_options_and_data_are_reported_in_one_line(arguments, corpus, tmp_path):
    from conftest import load_recipe

    from pipelines.runs import options as config

    recipe = load_recipe("finetune_token_tagger")

    def fault(*options, **files):
        given = [str(argument) for argument in arguments[1:]]
        for split, path in files.items():
            given[given.index(f"--{split}_file") + 1] = str(path)
        with pytest.raises(UserError) as error:
            recipe.run(
                *config.parse(
                    (recipe.RecipeArguments, recipe.TrainingArguments),
                    arguments=[*given, "--run_dir", str(tmp_path / "run"), *map(str, options)],
                )
            )
        return str(error.value)

    assert "wanted one of argmax, viterbi, crf" in fault("--decode", "beam")
    assert "wanted one of full, lora, head, last_n" in fault("--tune", "most")
    assert "--decode crf scores whole" in fault("--decode", "crf", "--focal_gamma", "2")
    assert "--decode crf scores whole" in fault(
        "--decode", "crf", "--label_smoothing_factor", "0.1"
    )
    assert "wanted one of strict_f1, strict_precision" in fault(
        "--metric_for_best_model", "macro_f1"
    )
    (tmp_path / "none.json").write_text(
        json.dumps([{"id": "1", "sentence": "no flu", "entities": []}])
    )
    assert "no mention" in fault(train=tmp_path / "none.json")
    assert "wanted 4 to 64" in fault("--window", "65")
    assert not (tmp_path / "run" / "model").exists()


def test_types_that_training_lacks_are_logged(tmp_path, caplog):
    from conftest import load_recipe

    from pipelines import job
    from pipelines.runs.arguments import DataArguments

    recipe, files = load_recipe("finetune_token_tagger"), {}
    for split, labels in (("train", ["Flu"]), ("test", ["Flu", "Cold", "Cold"])):
        files[split] = str(tmp_path / f"{split}.json")
        Path(files[split]).write_text(
            json.dumps(
                [
                    {
                        "id": f"{split}{number}",
                        "text": f"a {label.lower()} {split}",
                        "entities": [{"start": 2, "end": 2 + len(label), "label": label}],
                    }
                    for number, label in enumerate(labels)
                ]
            )
        )
    with caplog.at_level("INFO", logger="pipelines"):
        recipe.check_types(
            job.read(
                DataArguments(train_file=files["train"], test_file=files["test"]),
                answer="spans",
                project=tmp_path,
            )
        )
    assert "types that training lacks, which count as missed: Cold (2)" in caplog.text


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", "head", "last_n"])
def test_modes_from_the_command_line(arguments, tmp_path, tune):
    done = run_python(
        *arguments,
        "--tune",
        tune,
        "--last_n",
        "1",
        "--run_dir",
        tmp_path / "run",
        "--class_weight_power",
        "0.5",
        "--focal_gamma",
        "2",
        "--label_smoothing_factor",
        "0.1",
        "--early_stopping_patience",
        "1",
    )
    assert done.returncode == 0, done.stderr
    cost = json.loads((tmp_path / "run" / "report.json").read_text())["cost"]
    assert 0 < cost["trained_parameters"] < cost["parameters"]
    assert Path(tmp_path / "run" / "model" / "tagger.json").is_file()
