"""Classifiers: encoding, heads and poolings, class weights, saving and loading, and the fine-tuning recipe."""

import json
import logging

import numpy as np
import pytest
import torch
from conftest import load_recipe
from recipe_cases import call
from tiny_encoder import WINDOW, write
from transformers import AutoModelForSequenceClassification

from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families import sequence_classifier
from pipelines.families.class_answers import ClassifierSettings, predictions_from
from pipelines.families.sequence_classifier import (
    encode,
    load_network,
    load_tokenizer,
)
from pipelines.families.sequence_classifier.classifier_training import (
    class_frequency_weights,
    training_rows,
)
from pipelines.networks.pooled_classifier import POOLINGS, pool

SETTINGS = ClassifierSettings(("a", "b", "c"), max_length=20)


@pytest.fixture(scope="session")
def tokenizer(tiny_bert):
    return load_tokenizer(tiny_bert)


def test_pooling_by_hand():
    states = torch.tensor([[[1.0, 5.0], [3.0, 1.0], [100.0, 100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(states, mask, "cls").tolist() == [[1.0, 5.0]]
    assert pool(states, mask, "mean").tolist() == [[2.0, 3.0]]
    assert pool(states, mask, "max").tolist() == [[3.0, 5.0]]
    query = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        query.weight.copy_(
            torch.tensor([[np.log(3) / 2, 0.0]])
        )  # the second token weighs three times the first
    assert pool(states, mask, "attention", query)[0].tolist() == pytest.approx([2.5, 2.0])
    # Padding on the left: the first token is the first that is there.
    assert pool(states.flip(1), mask.flip(1), "cls").tolist() == [[3.0, 1.0]]


def test_texts_over_the_length_are_cut_and_named(tokenizer):
    examples = [
        Example("short", "abc"),
        Example("just", "a" * 18),
        Example("long", "a" * 19),
        Example("none", ""),
    ]
    found = encode(examples, tokenizer, max_length=20)
    assert found.cut == ["long"]
    assert [len(row["input_ids"]) for row in found.rows] == [5, 20, 20, 2]


def test_pairs_are_kept_apart_and_share_the_length(tokenizer):
    found = encode(
        [Example("1", "abc", pair="de"), Example("2", "a" * 30, pair="b")], tokenizer, max_length=12
    )
    assert found.rows[0]["token_type_ids"] == [0] * 5 + [1] * 3
    assert found.cut == ["2"]
    assert len(found.rows[1]["input_ids"]) == 12
    assert found.rows[1]["token_type_ids"][-2:] == [1, 1]  # the short one is whole


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_saved_predicts_the_same_in_any_batch(tiny_bert, tokenizer, pooling, tmp_path):
    model = load_network(tiny_bert, SETTINGS, pooling=pooling).eval()
    sequence_classifier.save(tmp_path, model=model, tokenizer=tokenizer, settings=SETTINGS)
    loaded = sequence_classifier.load(tmp_path)
    examples = [Example(str(i), "abcdefgh" * (i % 4) + "xyz") for i in range(9)]
    alone = sequence_classifier.predict_logits(loaded, examples, batch_tokens=1, progress=False)
    together = sequence_classifier.predict_logits(loaded, examples, progress=False)
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)
    unsaved = sequence_classifier.Loaded(model, tokenizer, SETTINGS)
    np.testing.assert_allclose(
        sequence_classifier.predict_logits(unsaved, examples, progress=False),
        together,
        rtol=1e-5,
        atol=1e-5,
    )
    ordinary = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        wanted = ordinary(**tokenizer(examples[1].text, return_tensors="pt")).logits[0]
    np.testing.assert_allclose(together[1], wanted, rtol=1e-5, atol=1e-5)
    assert loaded.settings == SETTINGS


def test_offsets_are_thresholds():
    logits = np.array([[0.0, -1.0], [0.0, -3.0]])
    [first, _] = predictions_from(
        [Example("1", ""), Example("2", "")],
        logits,
        ClassifierSettings(("a", "b"), offsets=(0.0, 2.0)),
    )
    assert first.label == "b"
    assert first.scores["a"] == pytest.approx(
        1 / (1 + np.exp(-1)), abs=1e-6
    )  # probabilities stay the model's own


def test_class_weights_by_hand():
    examples = [Example(str(i), "", label=label) for i, label in enumerate("aaabbbbbbb")]
    settings = ClassifierSettings(("a", "b"))
    assert class_frequency_weights(examples, settings, power=1).tolist() == pytest.approx(
        [10 / 6, 10 / 14]
    )
    assert class_frequency_weights(examples, settings, power=0).tolist() == [1, 1]
    several = [
        Example(str(i), "", label=tuple(label)) for i, label in enumerate(["a", "ab", "", "a"])
    ]
    weights = class_frequency_weights(
        several, ClassifierSettings(("a", "b"), multi_label=True), power=1
    )
    assert weights.tolist() == pytest.approx([1 / 3, 3])


def test_rows_bear_classes(tokenizer):
    rows = training_rows(
        [Example("1", "x", label="c"), Example("2", "y", label="a")], tokenizer, SETTINGS
    ).rows
    assert [row["labels"] for row in rows] == [2, 0]
    several = ClassifierSettings(("a", "b"), multi_label=True)
    [row] = training_rows([Example("1", "x", label=("b",))], tokenizer, several).rows
    assert row["labels"] == [0.0, 1.0]


def test_a_checkpoint_without_the_head_is_refused(tiny_bert, tokenizer, tmp_path):
    from transformers import AutoModel

    with pytest.raises(UserError, match=r"no classifier\.json"):
        sequence_classifier.load(tiny_bert)
    model = load_network(tiny_bert, SETTINGS)
    sequence_classifier.save(tmp_path, model=model, tokenizer=tokenizer, settings=SETTINGS)
    AutoModel.from_pretrained(tiny_bert).save_pretrained(
        tmp_path
    )  # the head is gone, the settings still there
    with pytest.raises(UserError, match="a checkpoint without the head for the 3 classes"):
        sequence_classifier.load(tmp_path)


def test_a_head_goes_with_the_order_of_its_classes(tiny_bert, tokenizer, tmp_path, caplog):
    model = load_network(tiny_bert, SETTINGS).eval()
    sequence_classifier.save(tmp_path, model=model, tokenizer=tokenizer, settings=SETTINGS)
    caplog.set_level(logging.INFO, "pipelines")

    def head(*labels):
        caplog.clear()
        weight = load_network(str(tmp_path), ClassifierSettings(labels)).classifier.weight
        return weight, [line for line in caplog.messages if "start at random" in line]

    kept, logged = head("a", "b", "c")
    assert torch.equal(kept, model.classifier.weight)
    assert logged == []
    moved, logged = head("c", "a", "b")
    assert torch.equal(moved, model.classifier.weight[[2, 0, 1]])
    assert logged == []
    for labels in (("a", "b", "d"), ("a", "b")):
        other, logged = head(*labels)
        assert not torch.isclose(other[:2], model.classifier.weight[:2]).any()
        assert logged == [
            f"{tmp_path} has no classifier.bias, classifier.weight for these classes: they start at random"
        ]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "deberta-v2"])
def test_dropout_reaches_the_head(kind, tmp_path):
    model = load_network(str(write(tmp_path, kind)), SETTINGS, dropout=0.37)
    assert 0.37 in [
        module.p
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Dropout)
        and not name.startswith(f"{model.base_model_prefix}.")
    ]


def test_dropout_that_no_head_has_is_refused(tmp_path):
    from transformers import FNetConfig, FNetModel

    FNetModel(
        FNetConfig(vocab_size=90, hidden_size=8, num_hidden_layers=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a fnet, whose head has no dropout of its own"):
        load_network(str(tmp_path), SETTINGS, dropout=0.3)


def test_the_length_comes_from_the_data(tiny_bert, tokenizer):
    assert sequence_classifier.window_of(tiny_bert, tokenizer) == WINDOW
    assert (
        sequence_classifier.length_from(
            [Example("1", "abc"), Example("2", "abcdef")], tokenizer, window=WINDOW
        )
        == 8
    )
    assert (
        sequence_classifier.length_from([Example("1", "a " * 500)], tokenizer, window=WINDOW)
        == WINDOW
    )


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """Two classes that differ by one letter; the same as sets of classes."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [
        {
            "text": f"{'q' if i % 2 else 'z'} {'ab'[i // 2 % 2]}{i}",
            "label": "odd" if i % 2 else "even",
        }
        for i in range(80)
    ]
    (folder / "single.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "several.json").write_text(
        json.dumps(
            [
                row | {"label": [row["label"], "b"] if "b" in row["text"] else [row["label"]]}
                for row in rows
            ]
        ),
        encoding="utf-8",
    )
    return folder


def recipe(tiny_bert, texts, run, *options, file="single.json"):
    """The exit code of the recipe, in this process."""
    return call(
        "finetune_classifier",
        "--model_name_or_path",
        tiny_bert,
        "--train_file",
        texts / file,
        "--run_dir",
        run,
        "--learning_rate",
        "5e-3",
        "--num_train_epochs",
        "6",
        "--batch_tokens",
        "128",
        "--logging_steps",
        "2",
        *options,
    )


@pytest.mark.slow
def test_the_recipe_learns_and_ends_in_a_run_folder(tiny_bert, texts, tmp_path):
    assert recipe(tiny_bert, texts, tmp_path / "run", "--max_length", "9") == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["examples"] == 8
    losses = [
        row["loss"]
        for row in json.loads((tmp_path / "run" / "trainer_log.json").read_text())
        if "loss" in row
    ]
    assert losses[-1] < losses[0]
    for name in ("config.yaml", "provenance.json", "predictions/test.jsonl", "report.html"):
        assert (tmp_path / "run" / name).is_file()
    assert len(read_predictions(tmp_path / "run" / "predictions" / "test.jsonl")) == 8


def run(tiny_bert, texts, folder, **options):
    """The recipe in this process, for one step."""
    module = load_recipe("finetune_classifier")
    training = {
        name: options.pop(name)
        for name in list(options)
        if name in module.TrainingArguments.__dataclass_fields__
    }
    return module.run(
        module.RecipeArguments(
            **{
                "model_name_or_path": tiny_bert,
                "train_file": str(texts / "single.json"),
                "run_dir": str(folder),
                "batch_tokens": 64,
                "half_copies": False,
            }
            | options
        ),
        module.TrainingArguments(
            **{
                "max_steps": 1,
                "disable_tqdm": True,
                "eval_strategy": "no",
                "save_strategy": "no",
                "load_best_model_at_end": False,
            }
            | training
        ),
    )


def test_no_text_of_any_split_is_cut_unsaid(tiny_bert, texts, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pipelines")
    (tmp_path / "test.json").write_text(
        json.dumps(
            [
                {"id": "middle", "text": "z" * 30, "label": "odd"},
                {"id": "long", "text": "z" * 60, "label": "odd"},
            ]
        )
    )
    run(
        tiny_bert,
        texts,
        tmp_path / "run",
        test_file=str(tmp_path / "test.json"),
        early_stopping_patience=2,
    )
    printed = caplog.text
    assert f"{WINDOW} tokens at most" in printed
    assert "test: 1 texts are over that and lose their end: id long\n" in printed
    assert "--early_stopping_patience 2 has no effect" in printed


@pytest.mark.slow
def test_several_architectures_are_trained_and_compared(texts, tmp_path):
    kinds = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta"}
    models = [str(write(tmp_path / kind, kind)) for kind in kinds]
    folder = tmp_path / "runs"
    comparison = run(models[0], texts, folder, models=",".join(models))
    assert len(comparison["runs"]) == len(kinds)
    assert len(comparison["verdicts"]) == len(kinds) - 1
    for kind, name in kinds.items():
        [config] = folder.glob(f"*-{kind}/model/config.json")
        architecture = json.loads(config.read_text())["architectures"]
        assert architecture == [f"{name}ForSequenceClassification"]


def test_models_that_cannot_be_loaded_are_reported_before_any_is_trained(
    tiny_bert, texts, tmp_path
):
    for models, expected in (
        (f"{tiny_bert},{tmp_path}/no,{tmp_path}/none", r"no: no such.*none: no such"),
        (f"{tiny_bert}, {tiny_bert}", "is there twice"),
    ):
        with pytest.raises(UserError, match=expected):
            run(tiny_bert, texts, tmp_path / "runs", models=models)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_model_that_fails_does_not_stop_the_others(
    tiny_bert, texts, tmp_path, monkeypatch, caplog
):
    module, trained = load_recipe("finetune_classifier"), []
    others = [write(tmp_path / name) for name in ("first", "second")]
    load = sequence_classifier.load_network

    def failing(name, *arguments, **options):
        trained.append(name)
        if name == str(others[0]) and len(trained) < 3:
            raise RuntimeError("out of memory")
        return load(name, *arguments, **options)

    monkeypatch.setattr(module.sequence_classifier, "load_network", failing)
    models = ",".join(map(str, others))
    with pytest.raises(UserError, match=rf"1 of 2 models failed \(above\): {others[0]}"):
        run(tiny_bert, texts, tmp_path / "runs", models=models)
    assert f"{others[0]}: out of memory" in caplog.text
    assert (tmp_path / "runs" / "comparison.html").is_file()
    report = next((tmp_path / "runs").glob("*second/report.json"))
    before = report.read_text()
    # The same again: what is finished stays as it is, with its cost.
    comparison = run(tiny_bert, texts, tmp_path / "runs", models=models)
    assert trained == [str(others[0]), str(others[1]), str(others[0])]
    assert report.read_text() == before
    assert len(comparison["runs"]) == 2


@pytest.mark.slow
def test_several_models_end_in_a_comparison(tiny_bert, texts, tmp_path):
    other = write(tmp_path / "distil", "distilbert")
    code = recipe(
        tiny_bert,
        texts,
        tmp_path / "runs",
        "--models",
        f"{tiny_bert},{other}",
        "--pooling",
        "attention",
        "--tune",
        "head",
        "--num_train_epochs",
        "1",
    )
    assert code == 0
    assert (tmp_path / "runs" / "comparison.html").is_file()
    assert len(list((tmp_path / "runs").glob("*/report.json"))) == 2


@pytest.mark.slow
def test_several_classes_a_text_with_adapters_and_weights(tiny_bert, texts, tmp_path):
    code = recipe(
        tiny_bert,
        texts,
        tmp_path / "run",
        "--tune",
        "lora",
        "--class_weight_power",
        "1",
        "--pooling",
        "mean",
        "--lr_scheduler_type",
        "cosine",
        "--head_rate",
        "5",
        file="several.json",
    )
    assert code == 0
    predictions = read_predictions(tmp_path / "run" / "predictions" / "test.jsonl")
    assert all(isinstance(prediction.label, tuple) for prediction in predictions)
    loaded = sequence_classifier.load(tmp_path / "run" / "model")
    assert not [name for name, _ in loaded.model.named_parameters() if "lora" in name]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pooling": "median"}, "got --pooling median; wanted one of cls"),
        ({"max_length": 4000}, f"takes {WINDOW} tok"),
        (
            {"half_copies": True, "gradient_checkpointing": True},
            "half_copies true with gradient_checkpointing",
        ),
    ],
)
def test_options_that_cannot_be(tiny_bert, texts, tmp_path, options, expected):
    with pytest.raises(UserError, match=expected):
        run(tiny_bert, texts, tmp_path / "run", **options)
