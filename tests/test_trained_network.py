"""`pipelines parameters` on a run of each recipe: what it counts is what the training counted."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT, load_recipe

from pipelines import cli
from pipelines.families import lexical
from pipelines.families.lexical.sizes import tables_of
from pipelines.inspection.parameters import parameter_table
from pipelines.inspection.trained_network import trained_network
from pipelines.runs.run import Run

CONFIGS = ROOT / "recipes" / "configs"
TAGGER = ["--config", CONFIGS / "tagger_minilm.yaml", "--num_train_epochs", 1]
CLASSIFIER = ["--config", CONFIGS / "classifier_minilm.yaml", "--num_train_epochs", 1]
WORDS = ["--hidden_size", 8, "--num_train_epochs", 1]
HEAD = ["--pooling", "mean", "--learning_rate", 0.01, "--weight_decay", 0.01, "--dropout", 0.0]
HEAD += ["--config", CONFIGS / "head_minilm.yaml", "--epochs", 2]
# Recipe and options; "encoder" and "llm" stand for tiny models, "spans" and "classes" for data.
RUNS = {
    "LoRA": ("sft_tinyllama", "spans", "llm", ["--config", CONFIGS / "sft_smoke.yaml"]),
    "case_feature": ("finetune_token_tagger", "spans", "encoder", TAGGER),
    "encoder's last layer": (
        "finetune_token_tagger",
        "spans",
        "encoder",
        [*TAGGER, "--tune", "last_n", "--last_n", 1],
    ),
    "members with a frozen encoder": (
        "finetune_token_tagger",
        "spans",
        "encoder",
        [*TAGGER, "--tune", "head", "--members", 2],
    ),
    "encoder with LoRA": (
        "finetune_classifier",
        "classes",
        "encoder",
        [*CLASSIFIER, "--tune", "lora", "--lora_r", 2],
    ),
    "pooled head": (
        "finetune_classifier",
        "classes",
        "encoder",
        [*CLASSIFIER, "--tune", "head", "--pooling", "mean"],
    ),
    "searched head": ("grid_search_head", "classes", "encoder", HEAD),
    "fixed vectors": (
        "train_tagger",
        "spans",
        None,
        ["--network", "ffnn", "--train_embeddings", "false", "--character_feature", "cnn", *WORDS],
    ),
    "learned state and CRF": (
        "train_tagger",
        "spans",
        None,
        ["--network", "gru", "--initial_state", "learned", "--crf", "true", *WORDS],
    ),
    "lstm on texts": ("train_text_classifier", "classes", None, ["--network", "lstm", *WORDS]),
    "cnn on texts, fixed vectors": (
        "train_text_classifier",
        "classes",
        None,
        ["--network", "cnn", "--train_embeddings", "false", *WORDS],
    ),
}
LEXICAL = {
    **dict.fromkeys(("dictionary", "most_frequent_tag", "hmm", "memm", "crf"), "train_tagger"),
    **dict.fromkeys(("majority", "naive_bayes", "linear_svm"), "train_text_classifier"),
}


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    texts = [(f"{word} {kind} film", kind) for word in "abcdefgh" for kind in ("good", "bad")]
    files = {}
    for split, rows in (("train", texts[:10]), ("dev", texts[10:14]), ("test", texts[14:])):
        files[split] = folder / f"{split}.jsonl"
        lines = [
            json.dumps({"id": f"{split}-{number}", "text": text, "label": label})
            for number, (text, label) in enumerate(rows)
        ]
        files[split].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


@pytest.fixture
def trained(corpus, classes, tiny_bert, tiny_llama, tmp_path, monkeypatch):
    """Runs a recipe on tiny data; gives its run folder."""

    def train(recipe, kind, model, options):
        data = {"spans": corpus, "classes": classes}[kind]
        arguments = [*options, "--run_dir", tmp_path / "run"]
        for split in ("train", "dev", "test"):
            arguments += [f"--{split}_file", data[split]]
        if model:
            name = {"encoder": tiny_bert, "llm": tiny_llama}[model]
            arguments += ["--model_name_or_path", name]
        if recipe == "grid_search_head":
            arguments += ["--cache_dir", tmp_path / "features"]
        monkeypatch.setattr(sys, "argv", [f"{recipe}.py", *map(str, arguments)])
        load_recipe(recipe).main()
        return tmp_path / "run"

    return train


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_table_counts_what_the_training_counted(name, trained, capsys):
    folder = trained(*RUNS[name])
    capsys.readouterr()
    assert cli.main(["parameters", "--run", str(folder), "--tokens", "9"]) == 0
    printed = capsys.readouterr().out
    table = parameter_table(trained_network(Run.open(folder)), tokens=9)
    cost = json.loads((folder / "report.json").read_text())["cost"]
    assert table.trainable == cost["trained_parameters"]
    merged = name == "encoder with LoRA"  # its adapters are merged before they are counted
    assert merged or table.parameters == cost["parameters"]
    assert sum(layer.parameters for layer in table.layers.values()) == table.parameters
    assert sum(layer.trainable for layer in table.layers.values()) == table.trainable
    assert table.multiply_adds > 0
    assert f"{table.trainable:,}" in printed.split("total")[1]
    assert cli.main(["parameters", "--run", str(folder), "--layers_only"]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= len(table.layers) + 6


@pytest.mark.slow
@pytest.mark.parametrize("method", LEXICAL)
def test_a_model_without_a_network_says_what_it_has(method, trained, capsys):
    recipe = LEXICAL[method]
    kind = "spans" if recipe == "train_tagger" else "classes"
    folder = trained(recipe, kind, None, ["--network", method])
    capsys.readouterr()
    assert cli.main(["parameters", "--run", str(folder)]) == 0
    printed = capsys.readouterr().out
    loaded = lexical.load(folder / "model")
    tables = tables_of(loaded.method, loaded.model)
    assert printed.startswith(f"{method}: no network")
    assert sum(entries for *_, entries in tables) > 0
    assert all(np.prod(shape) >= entries >= 0 for _, shape, entries in tables)
    assert f"{sum(entries for *_, entries in tables):,}" in printed.splitlines()[-1]
    if method == "linear_svm":
        cost = json.loads((folder / "report.json").read_text())["cost"]
        weights = [entries for name, _, entries in tables if "idf" not in name]
        assert sum(weights) == cost["parameters"]


def test_a_run_without_a_model(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    for tokens, expected in (("0", "--tokens 0"), ("5", "no model/ or merged/")):
        with pytest.raises(SystemExit):
            cli.main(["parameters", "--run", str(tmp_path), "--tokens", tokens])
        assert expected in capsys.readouterr().err
