"""What is trained of a base model: which modules, how adapters start, earlier adapters, all weights."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import answered, load_recipe
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from recipe_cases import CONFIGS, call, one_error, slow_but
from safetensors.torch import load_file
from test_causal_lm import four_bit
from tiny_llama import write as write_tiny_llama
from trl import SFTConfig

from pipelines import cli
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.families import causal_lm
from pipelines.families.causal_lm import adapters, prompt_for, sft
from pipelines.families.causal_lm.trained import Trained
from pipelines.networks import precision
from pipelines.runs import options as config

IDS = torch.tensor([[5, 9, 12, 7, 30, 41]])


def model_options(*arguments):
    recipe = load_recipe("sft_tinyllama")
    return config.parse((recipe.ModelArguments,), arguments=list(map(str, arguments)))[0]


def logits_of(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture
def float32(monkeypatch):
    """A machine that computes in float32, whichever is faster here."""
    chosen = precision.Precision(
        "cpu",
        torch.float32,
        {"bf16": False, "fp16": False, "use_cpu": True, "dataloader_pin_memory": False},
    )
    monkeypatch.setattr(precision, "choose", lambda: chosen)


def trained(folder, network, tokenizer, *arguments, earlier=None, **training):
    """Two steps of training, and what they leave."""
    options = model_options("--lora_r", 2, "--lora_dropout", 0, *arguments)
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    values = SFTConfig(
        output_dir=str(folder / "checkpoints"),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        max_length=None,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
        save_strategy="no",
        **{"max_steps": 2, "learning_rate": 0.01} | training,
    )
    lora = adapters.lora(options, network, initialization=options.init_lora_weights)
    trainer = sft.AnswerTrainer(
        model=network,
        args=values,
        train_dataset=Dataset.from_list(
            sft.training_rows(answered(), tokenizer, prompt, max_length=512).rows
        ),
        processing_class=tokenizer,
        peft_config=None if options.tune == "full" else lora,
        prompt=prompt,
        batch_tokens=200,
        earlier_adapter=earlier,
    )
    before = logits_of(trainer.model)
    trainer.train()
    base = network.name_or_path
    return Trained(trainer, tokenizer, prompt, base), before


@pytest.fixture(scope="module")
def earlier(tiny_llama, corpus, tmp_path_factory):
    """The folder of a run with an adapter and the merged model."""
    run = tmp_path_factory.mktemp("earlier") / "run"
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    words += ["--train_file", corpus["train"], "--max_steps", 2, "--eval_strategy", "no"]
    words += ["--save_strategy", "no", "--save_merged", "true", "--run_dir", run]
    assert call("sft_tinyllama", *words) == 0
    return run


# Target modules


@pytest.mark.parametrize(
    ("targets", "refused"),
    [
        (["q_prj"], "q_prj"),
        (["q_proj", "w1", "mlp"], "w1 mlp"),
        (["embed_tokens"], "embed_tokens"),
        ([r".*layers\.9\..*"], r".*layers\.9\..*"),
        ([r".*mlp"], ".*mlp"),
    ],
)
def test_unknown_target_modules_are_one_line_with_the_names_there_are(targets, refused, network):
    options = model_options("--lora_target_modules", *targets)
    with pytest.raises(UserError) as raised:
        adapters.lora(options, network)
    message = str(raised.value)
    assert f"got --lora_target_modules {refused}; " in message
    assert "has the linear layers down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        (["q_proj"], {"q_proj"}),
        (["self_attn.q_proj"], {"q_proj"}),
        (["q_proj", "lm_head"], {"q_proj", "lm_head"}),
        ([r".*layers\.1\..*(gate|up)_proj"], {"gate_proj", "up_proj"}),
        (["all-linear"], {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"}),
    ],
)
def test_known_target_modules_are_adapted(targets, adapted, network):
    lora = adapters.lora(model_options("--lora_target_modules", *targets), network)
    names = {
        name.rpartition(".")[2] for name in get_peft_model(network, lora).targeted_module_names
    }
    assert names == adapted | ({"down_proj"} if targets == ["all-linear"] else set())


def test_a_head_that_is_tied_to_the_embeddings_takes_no_adapter(network):
    network.lm_head.weight = network.model.embed_tokens.weight
    with pytest.raises(UserError, match="got --lora_target_modules lm_head; "):
        adapters.lora(model_options("--lora_target_modules", "lm_head"), network)


def test_a_pattern_that_is_none_is_one_line(network):
    with pytest.raises(UserError, match=r"\(\[, which is no pattern"):
        adapters.lora(model_options("--lora_target_modules", "(["), network)


# How adapters start, and what is saved of them

VARIANTS = [
    ["--init_lora_weights", "gaussian"],
    ["--init_lora_weights", "pissa"],
    ["--init_lora_weights", "pissa", "--use_rslora", "true"],
    ["--init_lora_weights", "pissa_niter_2"],
    ["--init_lora_weights", "olora"],
    ["--use_dora", "true"],
    ["--use_rslora", "true"],
]


@pytest.mark.parametrize("variant", slow_but(["--use_dora", "true"], VARIANTS), ids=" ".join)
def test_what_is_saved_answers_as_what_was_trained(variant, network, tokenizer, tmp_path, float32):
    base = logits_of(network)
    left, before = trained(tmp_path, network, tokenizer, *variant)
    torch.testing.assert_close(before, base, atol=1e-4, rtol=1e-4)
    expected = logits_of(left.trainer.model)
    assert (expected - base).abs().max() > 0.01
    left.save(tmp_path / "model")
    left.save_merged(tmp_path / "merged", adapter=tmp_path / "model", trust_remote_code=False)
    saved = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    takes_weights = variant[1].startswith(("pissa", "olora"))
    # Of the saved adapter no start is made again, which would take the SVD of every layer.
    assert (saved["r"], saved["init_lora_weights"]) == (
        (4, True) if takes_weights else (2, "gaussian" if "gaussian" in variant else True)
    )
    for folder in ("model", "merged"):
        found = logits_of(causal_lm.load(tmp_path / folder).model)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--init_lora_weights", "loftq"], "--init_lora_weights loftq; wanted default, gaussian"),
        (["--init_lora_weights", "pissa", "--use_dora", "true"], "pissa with --use_dora true"),
        (["--init_lora_weights", "olora", "--load_in_4bit", "true"], "with a quantised base"),
        (["--tune", "head"], "--tune head; wanted lora or full"),
        (["--tune", "full", "--lora_r", "4"], "--tune full with --lora_r, for adapters"),
        (["--tune", "full", "--save_merged", "true"], "--tune full with --save_merged"),
        (["--lora_layers", "0"], "--lora_layers 0; wanted 1 or more"),
    ],
)
def test_options_that_do_not_fit_together_are_named(arguments, message):
    [fault] = model_options(*arguments).faults()
    assert message in fault


def test_the_adapter_of_a_quantised_base_is_merged_into_whole_weights(tokenizer, tmp_path):
    base = str(write_tiny_llama(tmp_path / "base", hidden=64))
    torch.manual_seed(1)
    lora = LoraConfig(
        r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(four_bit(base), lora).eval()
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    trainer = SimpleNamespace(
        model=model,
        accelerator=SimpleNamespace(unwrap_model=lambda wrapped: wrapped),
        initial_adapter=None,
        candidates=None,
    )
    left = Trained(trainer, tokenizer, prompt, base)
    left.save(tmp_path / "model")
    left.save_merged(tmp_path / "merged", adapter=tmp_path / "model", trust_remote_code=False)
    assert json.loads((tmp_path / "merged" / "prompt.json").read_text())["quantization"] is None
    state = load_file(tmp_path / "merged" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    adapted = load_file(tmp_path / "model" / "adapter_model.safetensors")
    prefix = f"base_model.model.{name.removesuffix('.weight')}"
    delta = adapted[f"{prefix}.lora_B.weight"] @ adapted[f"{prefix}.lora_A.weight"] * (8 / 4)
    whole = load_file(Path(base) / "model.safetensors")[name]
    assert state[name].dtype == whole.dtype
    torch.testing.assert_close(state[name], whole + delta, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_a_run_in_4_bits_with_whole_merged_weights(corpus, tmp_path):
    base = write_tiny_llama(tmp_path / "base", hidden=64)
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", base]
    words += [
        part for name in ("train", "dev", "test") for part in (f"--{name}_file", corpus[name])
    ]
    run = tmp_path / "run"
    words += ["--load_in_4bit", "true", "--save_merged", "true", "--run_dir", run]
    assert call("sft_tinyllama", *words) == 0
    assert causal_lm.load(run / "model").model.is_quantized
    assert not getattr(causal_lm.load(run / "merged").model, "is_quantized", False)
    out = tmp_path / "answers.jsonl"
    words = ["predict", "--run", run, "--input", corpus["unlabelled"], "--output", out]
    assert cli.main(list(map(str, words))) == 0
    again, first = read_predictions(out), read_predictions(run / "predictions" / "test.jsonl")
    assert [answer.raw for answer in again] == [answer.raw for answer in first]


def test_a_base_that_is_stored_quantised_has_no_whole_weights(network, monkeypatch):
    network.is_quantized = True
    monkeypatch.setattr(adapters, "load_network", lambda *_, **__: network)
    start = adapters.Start("some/base-4bit")
    for keywords, option in (({"merges": True}, "--save_merged"), ({"whole": True}, "--tune full")):
        with pytest.raises(UserError, match=f"some/base-4bit: .*, and {option} needs whole ones"):
            adapters.load_start(start, model_options(), trust_remote_code=False, **keywords)
    adapters.load_start(start, model_options(), trust_remote_code=False)


def test_a_start_that_is_computed_otherwise_is_refused_with_its_checkpoints(tmp_path):
    initial = {"a": torch.tensor([1.0, -2.0])}
    adapters.keep_start(initial, tmp_path, resumes=False)
    adapters.keep_start(initial, tmp_path, resumes=True)
    with pytest.raises(UserError, match="began with an adapter that this machine computes"):
        adapters.keep_start({"a": torch.tensor([-1.0, 2.0])}, tmp_path, resumes=True)


# Earlier models that are trained on


@pytest.mark.slow
def test_an_earlier_adapter_is_trained_on(earlier, tmp_path, corpus, capsys):
    folder = earlier / "model"
    words = ["--config", earlier / "config.yaml", "--model_name_or_path", folder]
    words += ["--learning_rate", 0, "--max_steps", 1, "--save_merged", "false"]
    words += ["--test_file", corpus["unlabelled"]]
    run = tmp_path / "second"
    assert call("sft_tinyllama", *words, "--run_dir", run) == 0
    before, after = (
        load_file(path / "adapter_model.safetensors") for path in (folder, run / "model")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    settings = [json.loads((path / "prompt.json").read_text()) for path in (folder, run / "model")]
    assert settings[1]["base_model"] == settings[0]["base_model"]
    capsys.readouterr()
    other = tmp_path / "other"
    assert call("sft_tinyllama", *words, "--lora_r", 8, "--lora_layers", 2, "--run_dir", other) == 2
    message = one_error(capsys.readouterr().err)
    assert f"{folder}: its adapter cannot be trained on with r 8 (its own: 4); give the" in message


@pytest.mark.slow
def test_a_merged_model_is_trained_on(earlier, tmp_path):
    words = ["--config", earlier / "config.yaml", "--save_merged", "false", "--max_steps", 2]
    words += ["--model_name_or_path", earlier / "merged", "--run_dir", tmp_path / "second"]
    assert call("sft_tinyllama", *words) == 0
    settings = json.loads((tmp_path / "second" / "model" / "prompt.json").read_text())
    assert settings["base_model"] == str(earlier / "merged")
    causal_lm.load(tmp_path / "second" / "model")


def test_all_weights_start_from_the_sum_of_base_and_adapter(earlier, float32):
    start = adapters.start_of(str(earlier / "model"))
    network = adapters.load_start(start, model_options(), trust_remote_code=False, whole=True)
    merged = causal_lm.load(earlier / "model").model
    torch.testing.assert_close(logits_of(network), logits_of(merged), atol=1e-5, rtol=1e-5)


def test_a_start_that_is_none_is_one_line(earlier, tmp_path):
    with pytest.raises(UserError, match=r"a run; to train its model on, give .*/model"):
        adapters.start_of(str(earlier))
    shutil.copytree(earlier / "model", tmp_path / "adapter")
    (tmp_path / "adapter" / "prompt.json").unlink()
    with pytest.raises(UserError, match=r"an adapter without prompt\.json"):
        adapters.start_of(str(tmp_path / "adapter"))


# All weights


@pytest.mark.slow
def test_all_weights_are_trained(tiny_llama, corpus, tmp_path):
    files = [
        part for name in corpus if name != "unlabelled" for part in (f"--{name}_file", corpus[name])
    ]
    words = ["--config", CONFIGS / "sft_full.yaml", "--model_name_or_path", tiny_llama, *files]
    run = tmp_path / "run"
    words += ["--max_steps", 2, "--eval_strategy", "steps", "--eval_steps", 1, "--save_strategy"]
    words += ["steps", "--save_steps", 1, "--compile_layers", "false", "--learning_rate", 0.01]
    words += ["--load_best_model_at_end", "false"]
    assert call("sft_tinyllama", *words, "--run_dir", run) == 0
    assert not (run / "model" / "adapter_config.json").exists()
    before = load_file(tiny_llama / "model.safetensors")
    after = load_file(run / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed >= {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"}
    assert len(changed) == len(before)
    cost = json.loads((run / "report.json").read_text())["cost"]
    assert cost["trained_parameters"] == cost["parameters"]
