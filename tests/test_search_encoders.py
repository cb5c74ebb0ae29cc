"""`--search` of the recipes that fine-tune encoders: what is tried, kept, resumed and refused."""

import json
import os
import signal

import pytest
import yaml
from conftest import load_recipe
from recipe_cases import TEXTS, call, one_error

from pipelines.errors import UserError
from pipelines.families.training.dev_scores import best_score


@pytest.fixture(scope="module")
def data(corpus, tiny_bert, tmp_path_factory):
    """A tiny encoder, and for each kind of answer its files of train and dev."""
    folder = tmp_path_factory.mktemp("classes")
    files = {}
    for split, rows in (("train", TEXTS[:18]), ("dev", TEXTS[18:])):
        files[split] = folder / f"{split}.json"
        content = [{"text": text, "label": label} for text, label in rows]
        files[split].write_text(json.dumps(content), encoding="utf-8")
    return {"spans": corpus, "classes": files, "encoder": tiny_bert}


RECIPES = {
    "finetune_classifier": ("classes", "classifier.json", ["pooling=cls,mean"]),
    "finetune_token_tagger": ("spans", "tagger.json", ["decode=argmax,viterbi"]),
}


def arguments_of(name, data, folder, *options):
    kind, _, choices = RECIPES[name]
    return [
        *("--model_name_or_path", data["encoder"], "--run_dir", folder),
        *("--train_file", data[kind]["train"], "--dev_file", data[kind]["dev"]),
        *("--num_train_epochs", 1, "--batch_tokens", 256, "--half_copies", "false"),
        *("--search", *choices, "learning_rate=1e-9,1e-3", "--search_sampler", "grid"),
        *options,
    ]


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_encoders_are_searched_and_the_best_options_are_trained(
    name,
    data,
    tmp_path,
    capsys,
):
    folder = tmp_path / "run"
    metric = ("--metric_for_best_model", "loss")
    assert call(name, *arguments_of(name, data, folder, *metric)) == 0
    assert "4 trials; importance" in capsys.readouterr().out
    found = json.loads((folder / "search.json").read_text())
    scores = [trial["score"] for trial in found["trials"]]
    assert found["score"] == max(scores) < 0  # of a loss, its negative
    assert len(set(scores)) > 1
    written = yaml.safe_load((folder / "config.yaml").read_text())
    for option, value in found["best"].items():
        assert str(written[option]) == str(value) or float(written[option]) == value
    log = json.loads((folder / "trainer_log.json").read_text())
    # The trial with these options, trained again into the run: the same score.
    assert best_score(log, "loss") == pytest.approx(found["score"], rel=1e-4)
    assert (folder / "model" / RECIPES[name][1]).is_file()
    # A finished run goes on with prediction, and tries nothing again.
    before = (folder / "search.json").read_bytes()
    resumed = (*metric, "--resume_from_checkpoint", "true")
    assert call(name, *arguments_of(name, data, folder, *resumed)) == 0
    assert (folder / "search.json").read_bytes() == before


@pytest.mark.slow
def test_a_search_of_an_encoder_that_was_stopped_goes_on(
    data,
    tmp_path,
    monkeypatch,
    capsys,
):
    name, folder = "finetune_classifier", tmp_path / "run"
    module, trained = load_recipe(name), []
    train = module.train

    def stops_in_the_third(*arguments, **options):
        trained.append(arguments[1].pooling)
        if len(trained) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return train(*arguments, **options)

    monkeypatch.setattr(module, "train", stops_in_the_third)
    assert call(name, *arguments_of(name, data, folder)) == 130
    assert call(name, *arguments_of(name, data, folder)) == 0
    assert len(trained) == 3 + 2 + 1  # the third and the fourth trial, and the best one
    assert len(json.loads((folder / "search.json").read_text())["trials"]) == 4
    capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("finetune_classifier", ["--search", "tune=full,half"], "got --tune half; wanted one of"),
        ("finetune_classifier", ["--search", "models=a,b"], "--models is the same in all trials"),
        ("finetune_classifier", ["--search_sampler", "random"], "wanted one of tpe, grid"),
        (
            "finetune_classifier",
            ["--eval_strategy", "no", "--load_best_model_at_end", "false"],
            "take --eval_strategy epoch",
        ),
        ("finetune_token_tagger", ["--members", 2], "search with --members 1"),
        ("finetune_token_tagger", ["--search", "hed_rate=1,2"], "there is no option 'hed_rate'"),
    ],
)
def test_a_search_that_cannot_be_ends_in_one_line(
    name,
    options,
    message,
    data,
    tmp_path,
    capsys,
):
    assert call(name, *arguments_of(name, data, tmp_path / "run", *options)) == 2
    assert message in one_error(capsys.readouterr().err)


def test_a_search_in_several_processes_is_refused(data, tmp_path, monkeypatch):
    from pipelines.runs.arguments import RunTrainingArguments, SearchArguments
    from pipelines.runs.run import Run
    from pipelines.runs.search import search_options

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start it without accelerate or torchrun"):
        search_options(
            lambda *_: 0.0,
            SearchArguments(),
            RunTrainingArguments.__new__(RunTrainingArguments),
            Run(tmp_path),
            metric="loss",
        )
