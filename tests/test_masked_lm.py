"""Pretraining an encoder on texts: rows, the head, the loss, and the recipe."""

import json
import math
import re
import shutil

import pytest
import tiny_encoder
import torch
from conftest import ROOT, load_recipe, run_python
from recipe_cases import call
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    TrainingArguments,
)

from pipelines.errors import UserError
from pipelines.families.language_model import masked_lm
from pipelines.families.language_model.text_rows import MaskedCut, WeightedRows, rows_of_texts
from pipelines.runs import options as config

RECIPE = ROOT / "recipes" / "pretrain_encoder.py"
TEXTS = [
    "flu",
    "a cat sat.",
    "colon cancer",
    "the gene brca1 was read",
    "no flu was seen, she said",
]


def write(folder, kind="bert"):
    tiny_encoder.write(folder, kind)
    AutoTokenizer.from_pretrained(folder, mask_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write(tmp_path_factory.mktemp("models") / "bert")


def loaded(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    rows = WeightedRows(rows_of_texts(TEXTS, MaskedCut(tokenizer, tiny_encoder.WINDOW)))
    return masked_lm.new_model(str(folder), rows).model, tokenizer, rows


def trainer_for(folder, tmp_path, **options):
    model, tokenizer, rows = loaded(folder)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        average_tokens_across_devices=False,
    )
    return masked_lm.MaskedWordTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        mlm_probability=0.3,
        **options,
    )


def test_rows_hold_each_text_once_and_all_of_it(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    [flu, long, rest] = [
        row["input_ids"]
        for row in rows_of_texts(["flu", " ", "abcdefgh", "", "flu"], MaskedCut(tokenizer, 7))
    ]
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert tokenizer.convert_ids_to_tokens(flu) == ["[CLS]", "f", "##l", "##u", "[SEP]"]
    assert [long[0], rest[0], long[-1], rest[-1]] == [start, start, end, end]
    assert long[1:-1] + rest[1:-1] == tokenizer("abcdefgh", add_special_tokens=False)["input_ids"]
    assert rows_of_texts(["", "\n"], MaskedCut(tokenizer, 7)) == []


def test_a_new_head_begins_with_the_frequencies_and_one_that_is_there_is_kept(bert, tmp_path):
    model, tokenizer, rows = loaded(bert)
    bias = model.get_output_embeddings().bias.detach()
    assert bias.exp().sum().item() == pytest.approx(1, abs=1e-5)
    ids = [token for row in rows for token in row["input_ids"]]
    flu = tokenizer.convert_tokens_to_ids("f")
    assert bias[flu].item() == pytest.approx(
        math.log((ids.count(flu) + 1) / (len(ids) + len(bias))), abs=1e-5
    )
    with torch.no_grad():
        model.get_output_embeddings().bias.fill_(0.5)
    model.save_pretrained(tmp_path)
    again = masked_lm.new_model(str(tmp_path), rows)
    assert again.new == []
    assert torch.equal(again.model.get_output_embeddings().bias, model.get_output_embeddings().bias)


@pytest.mark.parametrize("kind", sorted(tiny_encoder.ENCODERS))
def test_loss_and_gradients_are_the_librarys(kind, tmp_path):
    trainer = trainer_for(write(tmp_path / kind, kind), tmp_path)
    model = trainer.model.eval()
    torch.manual_seed(1)
    batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    assert 0 < (batch["labels"] != -100).sum() < batch["labels"].numel()
    whole = model(**batch).loss
    whole.backward()
    wanted = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    model.zero_grad()
    ours = trainer.compute_loss(model, dict(batch))
    ours.backward()
    assert ours.item() == pytest.approx(whole.item(), abs=1e-5)
    for name, weight in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-4, atol=1e-6)
    assert model(**batch).logits.shape[:2] == batch["labels"].shape  # no hook stays


def test_a_batch_with_nothing_to_guess_changes_nothing(bert, tmp_path):
    trainer = trainer_for(bert, tmp_path)
    batch = trainer.data_collator([dict(trainer.train_dataset[0])])
    batch["labels"].fill_(-100)
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(0))
    loss.backward()
    assert loss.item() == 0
    assert all(
        weight.grad is None or not weight.grad.any() for weight in trainer.model.parameters()
    )


@pytest.mark.parametrize("half_copies", [False, True])
def test_it_learns_to_guess(bert, tmp_path, half_copies):
    folder = write(tmp_path / "bert")
    model, tokenizer, _ = loaded(folder)
    texts = [f"{'ab' * 8} {number}" for number in range(64)]
    rows = WeightedRows(rows_of_texts(texts, MaskedCut(tokenizer, 48)))
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        learning_rate=1e-2,
        num_train_epochs=12,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    trainer = masked_lm.MaskedWordTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        mlm_probability=0.15,
        batch_tokens=400,
        half_copies=half_copies,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_the_loss_on_held_out_text_is_the_librarys_and_always_the_same(bert, tmp_path):
    trainer = trainer_for(bert, tmp_path)
    rows = trainer.train_dataset
    found = trainer.held_out_loss(rows, batch_tokens=10_000)
    batch = trainer.data_collator(sorted(rows, key=lambda row: len(row["input_ids"])))
    assert found.predicted == int((batch["labels"] != -100).sum())
    assert found.loss == pytest.approx(trainer.model.eval()(**batch).loss.item(), abs=1e-5)
    trainer.model.train()
    assert trainer.held_out_loss(rows, batch_tokens=10_000) == found


# The recipe


@pytest.mark.slow
def test_further_text_is_trained_on_held_out_and_resumed_exactly(bert, corpus, tmp_path, capsys):
    recipe = load_recipe("pretrain_encoder")
    more = tmp_path / "more.txt"
    more.write_text("\n".join(f"cat {n} had the flu" for n in range(150)), encoding="utf-8")
    config_file = ROOT / "recipes" / "configs" / "pretrain_minilm_text.yaml"

    def run(folder, *options):
        given = ["--config", config_file, "--model_name_or_path", bert, "--run_dir", folder]
        given += ["--train_file", corpus["train"], "--text_files", more, "--held_out", "0.2"]
        given += [
            "--learning_rate",
            "1e-2",
            "--task_weight",
            "2",
            "--batch_tokens",
            "512",
            "--save_steps",
            "6",
        ]
        parsed = config.parse(
            (recipe.RecipeArguments, recipe.TrainingArguments),
            arguments=list(map(str, [*given, *options])),
        )
        recipe.run(*parsed)
        return (folder / "model" / "model.safetensors").read_bytes()

    whole = run(tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["held_out"]["after"]["loss"] < report["held_out"]["before"]["loss"]
    assert report["cost"]["training_tokens_per_second"] > 0
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert str(more) in provenance["data"]
    assert not (tmp_path / "run" / "checkpoints" / "text").exists()
    # As if it had been killed after the first checkpoint.
    checkpoints = sorted(
        (tmp_path / "run" / "checkpoints").glob("checkpoint-*"),
        key=lambda path: int(path.name[11:]),
    )
    assert len(checkpoints) == 2  # of six
    for left_over in (checkpoints[1], tmp_path / "run" / "model"):
        shutil.rmtree(left_over)
    (tmp_path / "run" / "report.json").unlink()
    assert run(tmp_path / "run", "--resume_from_checkpoint", "true") == whole
    more.write_text("other\ntext", encoding="utf-8")
    with pytest.raises(UserError, match=r"more\.txt was changed"):
        run(tmp_path / "run", "--resume_from_checkpoint", "true")


@pytest.mark.slow
def test_a_tagger_starts_from_what_the_recipe_leaves(bert, corpus, tmp_path, capsys):
    folder = tmp_path / "pretrained"
    arguments = [
        RECIPE,
        "--model_name_or_path",
        bert,
        "--train_file",
        corpus["train"],
        "--test_file",
        corpus["unlabelled"],
        "--run_dir",
        folder,
        "--num_train_epochs",
        "2",
    ]
    done = run_python(*arguments)
    assert done.returncode == 0, done.stderr
    assert "start at random" in done.stdout
    assert "rows of 32 texts" in done.stdout
    assert re.search(r"loss of masked words, in nats: \d\.\d\d, \d\.\d\d\n", done.stdout)
    assert str(folder / "model") in done.stdout
    assert {"config.yaml", "provenance.json", "trainer_log.json", "model"} <= {
        path.name for path in folder.iterdir()
    }
    assert json.loads((folder / "trainer_log.json").read_text())
    learnt = AutoModelForMaskedLM.from_pretrained(folder / "model").base_model.state_dict()
    before = AutoModelForMaskedLM.from_pretrained(bert).base_model.state_dict()
    assert any(not torch.equal(learnt[name], before[name]) for name in before)
    tagger, found = AutoModelForTokenClassification.from_pretrained(
        folder / "model", output_loading_info=True
    )
    assert all(name.startswith("classifier.") for name in found["missing_keys"])
    assert all(
        torch.equal(weight, tagger.base_model.state_dict()[name]) for name, weight in learnt.items()
    )

    assert call("pretrain_encoder", *arguments[1:]) == 2
    assert "holds a trained run" in capsys.readouterr().err
    tagged = call(
        "finetune_token_tagger",
        "--config",
        ROOT / "recipes" / "configs" / "tagger_minilm.yaml",
        "--model_name_or_path",
        folder / "model",
        "--train_file",
        corpus["train"],
        "--dev_file",
        corpus["dev"],
        "--num_train_epochs",
        "1",
        "--run_dir",
        tmp_path / "tagger",
    )
    assert tagged == 0


def test_bad_options_and_texts_are_reported_in_one_line(bert, corpus, tiny_llama, tmp_path):
    recipe = load_recipe("pretrain_encoder")
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps([{"id": "1", "sentence": " "}]))
    unmasked = tiny_encoder.write(tmp_path / "unmasked")

    def fault(*options):
        given = [
            "--train_file",
            str(corpus["train"]),
            "--model_name_or_path",
            str(bert),
            "--run_dir",
            str(tmp_path / "run"),
            *map(str, options),
        ]
        with pytest.raises(UserError) as error:
            recipe.run(
                *config.parse((recipe.RecipeArguments, recipe.TrainingArguments), arguments=given)
            )
        return str(error.value)

    assert "got --mlm_probability 1.5" in fault("--mlm_probability", "1.5")
    assert f"got --window 2; wanted 4 to {tiny_encoder.WINDOW}" in fault("--window", "2")
    assert "could not be loaded" in fault("--model_name_or_path", tmp_path)
    assert "has no mask token" in fault("--model_name_or_path", unmasked)
    assert "--task_weight: no effect without --text_files" in fault("--task_weight", "2")
    blank = tmp_path / "blank.txt"
    blank.write_text("\n \n")
    assert f"{blank}: empty" in fault("--text_files", blank)
    wanted = "got --documents page; wanted one of line, blank_line"
    assert wanted in fault("--text_files", blank, "--documents", "page")
    assert "got --held_out 1; wanted" in fault("--text_files", blank, "--held_out", "1")
    assert "has no mask token" in fault("--model_name_or_path", tiny_llama)
    assert "no text has a word in it" in fault("--train_file", empty)
    assert not (tmp_path / "run" / "model").exists()
