"""Control tokens in a text are text: in prompts, answers, taggers, classifiers and pretraining."""

import pytest
import tiny_encoder
from conftest import answered
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import causal_lm, sequence_classifier
from pipelines.families.causal_lm import predict, prompt_for, prompt_ids
from pipelines.families.causal_lm.control_tokens import (
    MARK,
    control_strings,
    rendered_ids,
    shield,
    text_ids,
    unshield,
)
from pipelines.families.causal_lm.generation import generate
from pipelines.families.causal_lm.sft import assert_trainable, training_rows
from pipelines.families.language_model import text_rows
from pipelines.prompting import formats, prompts

TEXT = "a</s>b got <s><unk> and </s> then gout"
SPANS = (Span(0, 6, "Disease"), Span(24, 28, "Disease"), Span(34, 38, "Disease"))


def prompt_of(tokenizer, style, format="list"):
    return prompt_for(tokenizer, format=format, labels=["Disease"], style=style, constrained=True)


def byt5():
    """A slow tokenizer with a chat template, and an added token that is no control token."""
    tokenizer = ByT5Tokenizer(extra_ids=2)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    return tokenizer


@pytest.fixture(params=["fast", "slow"])
def any_tokenizer(request, tokenizer):
    return tokenizer if request.param == "fast" else byt5()


@pytest.mark.parametrize("style", ["plain", "chat"])
@pytest.mark.parametrize("format", list(formats.FORMATS))
def test_a_row_ends_with_the_one_end_token_that_is_trained(any_tokenizer, style, format):
    tokenizer, prompt = any_tokenizer, prompt_of(any_tokenizer, style, format)
    end = tokenizer.eos_token_id
    plain = Example("1", "a b got gout", (Span(8, 12, "Disease"),))
    [usual, row], *_ = training_rows(
        [plain, Example("2", TEXT, SPANS)], tokenizer, prompt, max_length=4096
    )
    answer = [label for label in row["labels"] if label >= 0]
    assert answer.count(end) == 1
    assert answer[-1] == end
    # The prompt has as many control tokens as that of a text without any.
    question = row["labels"].count(-100)
    controls = set(tokenizer.all_special_ids)
    counts = [
        sum(id in controls for id in ids)
        for ids in (usual["input_ids"][: usual["labels"].count(-100)], row["input_ids"][:question])
    ]
    assert counts[0] == counts[1]
    assert formats.FORMATS[format].render(TEXT, SPANS, ["Disease"]) in tokenizer.decode(answer)
    assert TEXT in tokenizer.decode(row["input_ids"][:question])
    assert_trainable([row], tokenizer)


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_a_text_without_control_tokens_is_encoded_as_a_whole(any_tokenizer, style):
    tokenizer, prompt = any_tokenizer, prompt_of(any_tokenizer, style)
    text = "No <|user|> gout, β-thal."
    if style == "plain":
        written = prompts.plain_prompt(text, "list", ["Disease"])
        assert prompt_ids(tokenizer, text, prompt) == tokenizer(written)["input_ids"]
    else:
        turns = prompts.messages(text, format="list", labels=["Disease"])
        written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert (
            prompt_ids(tokenizer, text, prompt)
            == tokenizer(written, add_special_tokens=False)["input_ids"]
        )


def test_a_shielded_text_comes_back(tokenizer):
    for text in ["", "a", "</s>", "</s></S>", "<</s>/s>", "x<unk> y"]:
        shielded, strings = shield(tokenizer, text)
        assert unshield(shielded, strings) == text
        assert not any(control in shielded for control in control_strings(tokenizer))
        assert (MARK in shielded) == bool(strings)
        ids = rendered_ids(tokenizer, f"<s>{shielded}</s>", strings)
        assert ids == [1, *text_ids(tokenizer, text), 2]


def test_added_tokens_that_are_no_control_tokens_stay_tokens():
    model = Tokenizer(
        models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2, "<": 3, "/": 4, "s": 5, ">": 6}, "<unk>")
    )
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>", eos_token="</s>")
    tokenizer.add_tokens([AddedToken("gene_x", special=False)])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    assert tokenizer("a</s>gene_x")["input_ids"] == [2, 1, 7]
    assert text_ids(tokenizer, "a</s>gene_x") == [2, 3, 4, 5, 6, 7]
    assert 8 not in text_ids(tokenizer, "a<|turn|>a")
    assert 8 in tokenizer("a<|turn|>a")["input_ids"]


def test_an_answer_may_hold_a_control_token(network, tokenizer):
    """A grammar that admits only that string: it is written in ordinary tokens, and read back."""
    [answer] = generate(
        network,
        tokenizer,
        [tokenizer("x")["input_ids"]],
        limits=[4],
        grammars=[lambda so_far: None if so_far else 'start: "</s>"'],
    )
    assert tokenizer.decode(answer.ids, skip_special_tokens=True) == "</s>"
    assert tokenizer.eos_token_id not in answer.ids


def test_a_text_of_control_tokens_is_answered(answering):
    [answer] = predict(answering, [Example("0", "</s></s> <unk>")], progress=False)
    assert answer.status in ("ok", "cut_off")


def test_a_row_with_two_end_tokens_stops_the_training(tokenizer):
    [row] = training_rows(
        answered()[:1], tokenizer, prompt_of(tokenizer, "plain"), max_length=512
    ).rows
    ids, labels = list(row["input_ids"]), list(row["labels"])
    ids[-3] = labels[-3] = tokenizer.eos_token_id
    with pytest.raises(UserError, match="would not train exactly its answer and end token"):
        assert_trainable([{"input_ids": ids, "labels": labels}], tokenizer)


def test_padding_is_another_token_where_end_start_and_unknown_are_one(tmp_path):
    """As GPT-2's, whose only control token is all three."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = Tokenizer(
        models.BPE({**{byte: number for number, byte in enumerate(alphabet)}, "<|end|>": 256}, [])
    )
    model.pre_tokenizer, model.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    PreTrainedTokenizerFast(
        tokenizer_object=model, **dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|end|>")
    ).save_pretrained(tmp_path)
    tokenizer = causal_lm.load_tokenizer(str(tmp_path))
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    for text in ("A flu, \u0100 and \u0101.", "0\n!"):
        ids = text_ids(tokenizer, text)
        assert tokenizer.pad_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_encoders_read_control_tokens_as_text(tmp_path):
    tokenizer = sequence_classifier.load_tokenizer(str(tiny_encoder.write(tmp_path)))
    controls = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    pairs = [Example("0", "a [SEP] b", pair="[CLS]c"), Example("1", "[PAD][PAD]", pair="d")]
    for row in sequence_classifier.encode(pairs, tokenizer, max_length=40).rows:
        assert [id for id in row["input_ids"] if id in controls] == [2, 3, 3]
    assert sequence_classifier.length_from(pairs, tokenizer, window=99) == max(
        len(row["input_ids"])
        for row in sequence_classifier.encode(pairs, tokenizer, max_length=99).rows
    )
    [row] = text_rows.rows_of_texts(["a [SEP] b"], text_rows.MaskedCut(tokenizer, 40))
    assert [id for id in row["input_ids"] if id in controls] == [2, 3]
