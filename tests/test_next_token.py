"""Pretraining a causal language model on texts: the loss, what is trained, what is saved, and the recipe."""

import json
import math
import shutil

import pytest
import tiny_encoder
import tiny_llama as tiny
import torch
from conftest import load_recipe
from huggingface_hub import ModelCard
from peft import PeftModel, get_peft_model
from recipe_cases import CONFIGS, call, one_error
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    TrainingArguments,
)

from pipelines.families.causal_lm import adapters
from pipelines.families.language_model import next_token
from pipelines.families.language_model.text_rows import CausalCut, WeightedRows, rows_of_texts
from pipelines.networks import precision
from pipelines.runs import options as config

TEXTS = [f"{'ab' * (4 + number % 5)} {number}." for number in range(32)]


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """A machine that computes in float32, whichever is faster here."""
    chosen = precision.Precision(
        "cpu",
        torch.float32,
        {"bf16": False, "fp16": False, "use_cpu": True, "dataloader_pin_memory": False},
    )
    monkeypatch.setattr(precision, "choose", lambda: chosen)


def model_options(*arguments):
    recipe = load_recipe("pretrain_lm")
    return config.parse((recipe.ModelArguments,), arguments=list(map(str, arguments)))[0]


def trainer_for(folder, tmp_path, *arguments, **training):
    """A trainer on `TEXTS`, and the base that it trains."""
    options = model_options("--lora_r", 4, *arguments)
    base = next_token.load_base(str(folder))
    torch.manual_seed(0)
    model = next_token.choose_trained(
        base,
        options,
        tune=options.tune,
        last_n=options.last_n,
        last=options.lora_layers,
        initialization=options.init_lora_weights,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    values = TrainingArguments(
        output_dir=str(tmp_path / "checkpoints"),
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        **{"learning_rate": 1e-2, "num_train_epochs": 4} | training,
    )
    trainer = next_token.NextTokenTrainer(
        model=model,
        args=values,
        train_dataset=WeightedRows(rows_of_texts(TEXTS, CausalCut(tokenizer, 16))),
        processing_class=tokenizer,
        batch_tokens=64,
    )
    return trainer, base


def nats_by_hand(model, rows):
    """Summed over the rows one by one, by the model's own loss, and how many tokens it is over."""
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            mean = model(input_ids=ids, labels=ids).loss.item()
        total += mean * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total, count


def test_loss_and_gradients_are_the_librarys_and_smoothing_is_of_training_alone(
    tiny_llama, tmp_path
):
    trainer, _ = trainer_for(
        tiny_llama, tmp_path, "--tune", "full", label_smoothing_factor=0.0, num_train_epochs=1
    )
    model, rows = trainer.model, [trainer.train_dataset[index] for index in (0, 3, 40)]
    assert len({len(row["input_ids"]) for row in rows}) > 1
    batch = trainer.data_collator(rows)
    theirs = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100),
    ).loss
    theirs.backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    ours = trainer.compute_loss(model, dict(batch))
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-4, atol=1e-6)
    trainer.args.label_smoothing_factor = 0.5
    assert abs(trainer.compute_loss(model, dict(batch)).item() - theirs.item()) > 1e-3
    total, count = nats_by_hand(model, trainer.train_dataset)
    found = trainer.held_out_loss(trainer.train_dataset, batch_tokens=100)
    assert found.predicted == count
    assert found.loss == pytest.approx(total / count, abs=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        "--tune lora",
        "--tune lora --init_lora_weights pissa --lora_layers 1",
        "--tune full",
        "--tune last_n --last_n 1",
    ],
)
def test_what_is_trained_learns_and_is_saved_as_whole_weights(tmp_path, arguments):
    folder = tiny.write(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    trainer, base = trainer_for(folder, tmp_path, *arguments.split())
    before = trainer.held_out_loss(trainer.train_dataset, batch_tokens=100)
    trainer.train()
    after = trainer.held_out_loss(trainer.train_dataset, batch_tokens=100)
    assert after.loss < before.loss - 0.2
    ids = torch.tensor([[1, 70, 71, 70, 71, 70]])
    trained = trainer.model.eval()(input_ids=ids).logits
    next_token.save(
        trainer.model,
        base,
        AutoTokenizer.from_pretrained(folder),
        tmp_path / "saved",
        initial=trainer.initial_adapter,
    )
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype="auto")
    assert {weight.dtype for weight in saved.parameters()} == {torch.bfloat16}
    assert saved.config.dtype == torch.bfloat16
    torch.testing.assert_close(saved.float()(input_ids=ids).logits, trained, atol=0.03, rtol=0.03)
    base_weights = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    changed = {
        name for name, weight in saved.state_dict().items() if not weight.equal(base_weights[name])
    }
    assert any(".layers.1." in name for name in changed)
    only_last = "last_n" in arguments or "lora_layers" in arguments
    assert all(".layers.1." in name for name in changed) == only_last
    if "lora" in arguments:
        assert not any("norm" in name or "embed" in name for name in changed)
    if arguments == "--tune lora":  # the sum in float32 is rounded once
        name = "model.layers.1.mlp.up_proj"
        layer = trainer.model.get_base_model().get_submodule(name)
        total = base_weights[f"{name}.weight"] + layer.get_delta_weight("default")
        assert saved.state_dict()[f"{name}.weight"].equal(total.bfloat16().float())


def test_adapters_learn_under_gradient_checkpointing(tiny_llama, tmp_path):
    gradients = []
    for checkpointing in (False, True):
        trainer, _ = trainer_for(
            tiny_llama, tmp_path, gradient_checkpointing=checkpointing, max_steps=1
        )
        assert isinstance(trainer.model, PeftModel)
        trainer.train()
        gradients.append(trainer.state.log_history[0]["grad_norm"])
    assert gradients[0] > 0
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-3)


def test_the_last_layers_are_those_of_any_architecture():
    network = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=3, n_head=2))
    lora = adapters.lora(model_options("--lora_r", 2), network, last=1)
    model = get_peft_model(network, lora)
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert len(adapted) == 4
    assert all(".h.2." in name for name in adapted)


# The recipe


def arguments_of(base, corpus, folder, *more):
    given = ["--model_name_or_path", base, "--train_file", corpus["train"], "--run_dir", folder]
    given += ["--config", CONFIGS / "pretrain_smollm2_text.yaml", "--compile_layers", "false"]
    return [*given, "--learning_rate", "1e-2", *more]


@pytest.fixture(scope="module")
def more_text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "more.txt"
    documents = [f"cat {number} had the flu\nand was seen" for number in range(80)]
    file.write_text("\n\n".join(documents), encoding="utf-8")
    return file


@pytest.mark.slow
def test_the_recipe_resumes_exactly_and_sft_starts_from_its_model(
    tiny_llama, corpus, more_text, tmp_path, capsys
):
    run = tmp_path / "run"
    arguments = arguments_of(tiny_llama, corpus, run, "--text_files", more_text)
    arguments += ["--held_out", 0.3, "--task_weight", 2, "--batch_tokens", 512, "--save_steps", 6]
    assert call("pretrain_lm", *arguments) == 0
    out = capsys.readouterr().out
    assert "80 documents (blank lines between documents)" in out
    whole = (run / "model" / "model.safetensors").read_bytes()
    held_out = json.loads((run / "report.json").read_text())["held_out"]
    after = held_out["after"]
    assert after["loss"] < held_out["before"]["loss"] - 0.1
    assert f"perplexity of next tokens {after['perplexity']:.1f}" in out
    assert not (run / "checkpoints" / "text").exists()

    # The model in the run folder is the one whose loss was measured.
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model = AutoModelForCausalLM.from_pretrained(run / "model", dtype="auto")
    assert model.dtype == torch.float32
    assert tokenizer.chat_template == tiny.ZEPHYR
    recipe = load_recipe("pretrain_lm")
    files = recipe.PretrainingArguments(text_files=[str(more_text)]).survey()
    cut = CausalCut(tokenizer, 256)
    _, rows = recipe.text_rows.weighted_rows(
        {}, files, cut, tmp_path / "rows", named=(), weight=1, share=0.3, seed=42
    )
    total, count = nats_by_hand(model, rows)
    assert (rows.n_tokens, count) == (held_out["sub_words"], held_out["predicted"])
    assert after["loss"] == pytest.approx(total / count, abs=2e-4)
    assert after["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-3)

    card = ModelCard.load(run / "README.md")
    assert card.data.pipeline_tag == "text-generation"
    assert "AutoModelForCausalLM.from_pretrained" in card.text
    assert f"before pretraining, {after['perplexity']:.1f} after it" in card.text

    # As if it had been killed after the first checkpoint.
    names = sorted(path.name for path in (run / "checkpoints").glob("checkpoint-*"))
    assert len(names) == 2
    last = max(names, key=lambda name: int(name[11:]))
    for left_over in (run / "checkpoints" / last, run / "model"):
        shutil.rmtree(left_over)
    (run / "report.json").unlink()
    assert call("pretrain_lm", *arguments, "--resume_from_checkpoint", "true") == 0
    assert (run / "model" / "model.safetensors").read_bytes() == whole

    capsys.readouterr()
    sft = ["--config", CONFIGS / "sft_smoke.yaml", "--max_steps", 1, "--train_file"]
    sft += [corpus["train"], "--dev_file", corpus["dev"], "--run_dir", tmp_path / "sft"]
    assert call("sft_tinyllama", *sft, "--model_name_or_path", run) == 2
    assert f"give {run / 'model'}" in one_error(capsys.readouterr().err)
    assert call("sft_tinyllama", *sft, "--model_name_or_path", run / "model") == 0
    assert (tmp_path / "sft" / "predictions" / "dev.jsonl").stat().st_size
    again = arguments_of(tmp_path / "sft" / "model", corpus, tmp_path / "other")
    assert call("pretrain_lm", *again) == 2
    assert "an adapter; pretraining continues from whole weights" in one_error(
        capsys.readouterr().err
    )


@pytest.mark.parametrize("tune", [["full"], ["last_n", "--last_n", 1]], ids=str)
@pytest.mark.slow
def test_sft_starts_from_whole_weights_that_were_trained(
    tiny_llama, corpus, more_text, tmp_path, tune
):
    run = tmp_path / "run"
    options = ["--config", CONFIGS / "pretrain_smollm2_text.yaml", "--compile_layers", "false"]
    options += ["--model_name_or_path", tiny_llama, "--text_files", more_text]
    options += ["--tune", *tune, "--max_steps", 2, "--run_dir", run]
    assert call("pretrain_lm", *options) == 0
    # Without a train file that text alone is read, not the sample corpus too.
    provenance = json.loads((run / "provenance.json").read_text())
    assert list(provenance["data"]) == [str(more_text)]
    cost = json.loads((run / "report.json").read_text())["cost"]
    assert (cost["trained_parameters"] == cost["parameters"]) == (tune == ["full"])
    sft = ["--config", CONFIGS / "sft_smoke.yaml", "--max_steps", 1, "--train_file"]
    sft += [corpus["train"], "--run_dir", tmp_path / "sft"]
    assert call("sft_tinyllama", *sft, "--model_name_or_path", run / "model") == 0


def quantised(folder, tiny_llama):
    shutil.copytree(tiny_llama, folder)
    file = folder / "config.json"
    settings = json.loads(file.read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    file.write_text(json.dumps(settings))
    return folder


def test_bad_options_and_models_are_reported_in_one_line(
    tiny_llama, tiny_bert, corpus, tmp_path, capsys
):
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps([{"id": "1", "sentence": " "}]))
    distilled = tiny_encoder.write(tmp_path / "distilled", "distilbert")
    stored = quantised(tmp_path / "quantised", tiny_llama)

    def fault(*options, base=tiny_llama):
        arguments = arguments_of(base, corpus, tmp_path / "run", *options)
        assert call("pretrain_lm", *arguments) == 2
        return one_error(capsys.readouterr().err)

    for encoder, kind in ((tiny_bert, "bert"), (distilled, "distilbert")):
        message = fault(base=encoder)
        assert f"a model of the kind {kind}; wanted a causal language model" in message
    assert "stored quantised" in fault(base=stored)
    assert "no such model folder" in fault(base=tmp_path / "none")
    assert "--load_in_4bit has no effect: pretraining ends in whole weights" in fault(
        "--load_in_4bit", "true"
    )
    assert "got --window 4000; wanted 8 to 2048" in fault("--window", 4000)
    assert "got --window 2; wanted 8 to 2048" in fault("--window", 2)
    assert "--tune head; wanted lora, full or last_n" in fault("--tune", "head")
    assert "--tune full with --lora_r, for adapters" in fault("--tune", "full", "--lora_r", 4)
    assert "--last_n 3 without --tune last_n" in fault("--last_n", 3)
    assert "got --last_n 9;" in fault("--tune", "last_n", "--last_n", 9)
    assert "--task_weight: no effect without --text_files" in fault("--task_weight", 2)
    assert "--answer_column: no effect" in fault("--answer_column", "label")
    assert "no text has a word in it" in fault("--train_file", empty)
    assert not (tmp_path / "run" / "model").exists()
