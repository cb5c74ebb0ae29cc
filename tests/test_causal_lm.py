"""Scores of mentions, and models that answer the same once saved and loaded."""

import json
from pathlib import Path

import pytest
import torch
from conftest import ANSWERED, answered
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_llama import write as write_tiny_llama
from transformers import BitsAndBytesConfig

from pipelines import cpu
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import causal_lm
from pipelines.families.causal_lm import (
    Loaded,
    answer_ids,
    load,
    load_network,
    loading,
    predict,
    prompt_for,
    prompt_ids,
    save,
)
from pipelines.networks import precision
from pipelines.prompting import formats

TEXT = "Ataxia <|user|> and colon cancer; β-thal."
SPANS = (Span(0, 6, "Disease"), Span(20, 32, "Disease"), Span(34, 40, "Disease"))


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    # Whatever this machine has: answers are compared number by number.
    monkeypatch.setattr(
        precision,
        "choose",
        lambda: precision.Precision(
            "cpu", torch.float32, {"bf16": False, "fp16": False, "use_cpu": True}
        ),
    )


def prompt_of(tokenizer, style, format="list", constrained=True, labels=("Disease",)):
    return prompt_for(tokenizer, format=format, labels=labels, style=style, constrained=constrained)


# Prediction


def unlabelled():
    return [Example(example.id, example.text) for example in answered()]


@pytest.mark.parametrize("constrained", [True, False])
def test_answers_become_spans(answering, constrained):
    loaded = answering._replace(
        prompt=prompt_of(answering.tokenizer, "plain", constrained=constrained)
    )
    predictions = predict(loaded, unlabelled(), progress=False)
    assert [prediction.spans for prediction in predictions] == [
        example.spans for example in answered()
    ]
    assert [prediction.raw for prediction in predictions] == [
        " Colon cancer; flu",
        " none",
        " flu; flu",
        " WAS",
    ]
    assert {prediction.status for prediction in predictions} == {"ok"}
    assert [mention["status"] for mention in predictions[0].mentions] == ["exact", "exact"]


def test_a_score_is_the_probability_of_the_tokens_of_its_string(answering):
    loaded = answering._replace(prompt=prompt_of(answering.tokenizer, "plain", constrained=False))
    scores = [
        [span.score for span in prediction.spans]
        for prediction in predict(loaded, unlabelled(), progress=False)
    ]
    for example, found in zip(answered(), scores, strict=True):
        question = prompt_ids(answering.tokenizer, example.text, answering.prompt)
        answer = answer_ids(answering.tokenizer, example.text, example.spans, answering.prompt)
        with torch.no_grad():
            logits = answering.model(torch.tensor([question + answer])).logits[0].double()  # (T, V)
        log_probabilities = logits.log_softmax(-1)[len(question) - 1 : -1]  # (n_answer, V)
        of_token = log_probabilities[range(len(answer)), answer].tolist()
        position = 1  # after the blank; a token is a byte, and two bytes stand between mentions
        for span, score in zip(example.spans, found, strict=True):
            end = position + span.end - span.start
            assert score == pytest.approx(
                torch.tensor(of_token[position:end]).sum().exp().item(), rel=1e-3, abs=2e-6
            )
            assert 0.001 < score < 0.999
            position = end + 2


def test_an_unfinished_answer_has_its_status(network, tokenizer):
    prompt = prompt_of(tokenizer, "plain", constrained=False)
    [prediction] = predict(
        Loaded(network, tokenizer, prompt), [Example("a", "Flu.")], progress=False
    )
    assert prediction.status == "cut_off"
    assert prediction.id == "a"


def test_no_examples_no_answers(answering):
    assert predict(answering, [], progress=False) == []


# Saving and loading


def adapted(network):
    torch.manual_seed(1)
    # Otherwise an adapter begins as zero, and saving it would not be tested.
    return get_peft_model(
        network,
        LoraConfig(
            r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        ),
    )


def comparable(predictions):
    return [
        (
            p.id,
            p.raw,
            p.status,
            [(s.start, s.end, s.label, pytest.approx(s.score, abs=1e-4)) for s in p.spans],
        )
        for p in predictions
    ]


@pytest.mark.parametrize("merged", [False, True])
def test_a_saved_model_gives_the_same_answers(merged, network, tiny_llama, tokenizer, tmp_path):
    prompt = prompt_of(tokenizer, "chat", labels=("Chemical", "Disease"))
    examples = [Example(str(number), text) for number, text in enumerate(ANSWERED)]
    bare = predict(Loaded(network, tokenizer, prompt), examples, progress=False)
    model = adapted(network).eval()
    before = predict(Loaded(model, tokenizer, prompt), examples, progress=False)
    assert [p.raw for p in before] != [p.raw for p in bare]
    save(
        tmp_path,
        model=model.merge_and_unload() if merged else model,
        tokenizer=tokenizer,
        prompt=prompt,
        base_model=str(tiny_llama),
    )
    assert (tmp_path / ("model.safetensors" if merged else "adapter_model.safetensors")).is_file()
    loaded = load(tmp_path)
    assert loaded.prompt == prompt
    assert [
        (p.id, p.raw, p.status, [(s.start, s.end, s.label, s.score) for s in p.spans])
        for p in predict(loaded, examples, progress=False)
    ] == comparable(before)


def test_weights_in_bf16_are_rounded_once(network, tiny_llama, tokenizer, tmp_path, monkeypatch):
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    network.save_pretrained(tmp_path / "base")
    save(
        tmp_path,
        model=adapted(network),
        tokenizer=tokenizer,
        prompt=prompt_of(tokenizer, "chat"),
        base_model=str(tmp_path / "base"),
    )
    exact = load(tmp_path).model
    monkeypatch.setattr(precision, "choose", lambda: precision.Precision("cpu", torch.bfloat16, {}))
    rounded = load(tmp_path).model
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(exact.model.rotary_emb.inv_freq, rounded.model.rotary_emb.inv_freq)
    for (name, one), other in zip(exact.named_parameters(), rounded.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other), name


def four_bit(folder):
    """The network of a folder in 4 bits, as `--load_in_4bit true` loads it."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return causal_lm.load_network(
        str(folder), dtype=torch.float32, quantization_config=quantization, device_map={"": "cpu"}
    )


def test_a_run_in_4_bits_is_scored_with_the_base_it_was_trained_on(tokenizer, tmp_path):
    base, folder = str(write_tiny_llama(tmp_path / "base", hidden=64)), tmp_path / "model"
    prompt = prompt_of(tokenizer, "chat")
    ids = torch.tensor([prompt_ids(tokenizer, TEXT, prompt)])
    model = adapted(four_bit(base)).eval()
    with torch.no_grad():
        expected = model(input_ids=ids).logits
    save(folder, model=model, tokenizer=tokenizer, prompt=prompt, base_model=base)
    written = json.loads((folder / "prompt.json").read_text())["quantization"]
    assert (
        written["load_in_4bit"],
        written["bnb_4bit_quant_type"],
        written["bnb_4bit_use_double_quant"],
        written["bnb_4bit_compute_dtype"],
    ) == (True, "nf4", True, "float32")
    loaded = load(folder).model
    assert loaded.is_quantized
    whole = PeftModel.from_pretrained(load_network(base, dtype=torch.float32), folder).eval()
    with torch.no_grad():
        error = (loaded(input_ids=ids).logits - expected).abs().max()
        cpu.for_prediction(loaded)  # leaves packed weights as they are
        error = max(error, (loaded(input_ids=ids).logits - expected).abs().max())
        error_on_whole_base = (whole(input_ids=ids).logits - expected).abs().max()
    # The kernel for 4 bits rounds states on a CPU.
    assert error < 0.01 < 0.1 < error_on_whole_base


def test_4_bits_without_bitsandbytes_are_refused_before_weights_are_read(monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"nowhere: a model in 4 bits .* which is not installed"):
        four_bit("nowhere")


@pytest.fixture
def saved(network, tokenizer, tiny_llama, tmp_path):
    save(
        tmp_path,
        model=network,
        tokenizer=tokenizer,
        prompt=prompt_of(tokenizer, "chat"),
        base_model=str(tiny_llama),
    )
    return tmp_path


@pytest.mark.parametrize("change", ["cue", "instruction", "render", "template"])
def test_a_model_of_other_prompts_is_refused(change, saved, monkeypatch):
    chosen = formats.FORMATS["list"]
    changes = {
        "cue": {"cue": "{} in it:"},
        "instruction": {"instruction": lambda labels: "List them."},
        "render": {
            "render": lambda text, spans, labels: "; ".join(text[s.start : s.end] for s in spans)
        },
    }
    if change in changes:
        monkeypatch.setitem(formats.FORMATS, "list", chosen._replace(**changes[change]))
    else:
        (saved / "chat_template.jinja").write_text(
            (saved / "chat_template.jinja").read_text().replace("<|user|>", "<|human|>")
        )
    with pytest.raises(UserError, match="trained on prompts that this version renders differently"):
        load(saved)


def test_a_model_that_was_not_saved_to_the_end_is_refused(saved):
    (saved / "prompt.json").unlink()
    with pytest.raises(UserError, match=r"no prompt\.json, so no finished model"):
        load(saved)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "missing"])
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "prompt.json",
        "adapter_model.safetensors",
        "adapter_config.json",
    ],
)
def test_a_damaged_folder_is_one_line(name, damage, network, tokenizer, tiny_llama, tmp_path):
    model = adapted(network) if name.startswith("adapter") else network
    save(
        tmp_path,
        model=model,
        tokenizer=tokenizer,
        prompt=prompt_of(tokenizer, "chat"),
        base_model=str(tiny_llama),
    )
    load(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(UserError) as raised:
        load(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}: ")
    assert "\n" not in message
    assert "train again" in message or "give a run that has model/" in message


def test_an_adapter_without_its_base_says_so(network, tokenizer, tmp_path):
    save(
        tmp_path,
        model=adapted(network),
        tokenizer=tokenizer,
        prompt=prompt_of(tokenizer, "chat"),
        base_model="some-owner/some-model",
    )
    with pytest.raises(UserError, match="'some-owner/some-model' could not be loaded"):
        load(tmp_path)
    assert (
        json.loads((tmp_path / "prompt.json").read_text())["base_model"] == "some-owner/some-model"
    )
