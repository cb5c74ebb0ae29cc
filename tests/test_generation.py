"""Batches write the answers of one prompt at a time, of the library, and of the grammar."""

import copy
import json

import pytest
import torch
from conftest import SAMPLE_CORPUS, answered
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pipelines.alignment.word_boundaries import find_occurrences
from pipelines.cpu.attention import use_grouped_attention
from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families.causal_lm import Loaded, predict, prompt_for, prompt_ids
from pipelines.families.causal_lm.generation import generate
from pipelines.prompting import formats, grammars

LENGTHS = [1, 40, 3, 17, 17, 64, 5]
PLACED = {"exact", "case_repaired", "whitespace_repaired"}
AWKWARD = [
    "a a a b",
    "flu flu, flu",
    "  flu\n\tflu;flu|a\\b  ",
    "none of the none",
    "β-thal β ββ 痛风 痛",
    "x",
    "...",
    "BRCA1/2-associated (BRCA1) BRCA1",
    '"quoted" {json} [list]',
]


@pytest.fixture
def random_prompts():
    random = torch.Generator().manual_seed(3)
    return [torch.randint(3, 259, (length,), generator=random).tolist() for length in LENGTHS]


def by_library(model, tokenizer, prompt, limit):
    ids = torch.tensor([prompt])
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=limit,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )[0]
    answer = written[len(prompt) :].tolist()
    ended = answer[-1] == tokenizer.eos_token_id
    return answer[:-1] if ended else answer, ended


@pytest.mark.parametrize(
    "batch_tokens", [1, 40, 10_000]
)  # prompts join those that are written, or all are one batch
@pytest.mark.parametrize(
    "kind", ["rotary", "absolute", "sliding", "sliding_grouped", "together", "qwen_together"]
)
def test_a_batch_writes_what_one_at_a_time_and_the_library_write(
    kind, batch_tokens, network, tokenizer, random_prompts
):
    torch.manual_seed(0)
    if kind == "absolute":
        # Rotary positions hide a shift by the padding.
        network = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=259,
                n_positions=128,
                n_embd=32,
                n_layer=2,
                n_head=4,
                initializer_range=0.5,
                bos_token_id=1,
                eos_token_id=2,
            )
        ).eval()
    if kind.startswith("sliding"):
        network = MistralForCausalLM(
            MistralConfig(
                vocab_size=259,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                sliding_window=12,
                initializer_range=0.5,
                bos_token_id=1,
                eos_token_id=2,
            )
        ).eval()
    if kind == "qwen_together":
        network = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=259,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=8,
                initializer_range=0.5,
                bos_token_id=1,
                eos_token_id=2,
            )
        ).eval()
    limits = [9, 20, 1, 12, 30, 2, 20]
    model = copy.deepcopy(network)
    if kind in ("together", "qwen_together", "sliding_grouped"):
        # One pass reads prompts and answers, but where there are windows.
        use_grouped_attention(model)
    together = generate(model, tokenizer, random_prompts, limits=limits, batch_tokens=batch_tokens)
    for prompt, limit, answer in zip(random_prompts, limits, together, strict=True):
        [alone] = generate(model, tokenizer, [prompt], limits=[limit])
        assert (
            (answer.ids, answer.ended)
            == (alone.ids, alone.ended)
            == by_library(network, tokenizer, prompt, limit)
        )
        assert answer.log_probabilities == pytest.approx(alone.log_probabilities, abs=1e-4)
        assert answer.ended or len(answer.ids) == limit
    assert sum(answer.ended for answer in together) < len(together) / 2


@pytest.mark.parametrize("batch_tokens", [1, 150, 10_000])
def test_answers_that_end_early_leave_the_batch_and_spoil_nothing(answering, batch_tokens):
    model, tokenizer, prompt, *_ = answering
    questions = [prompt_ids(tokenizer, example.text, prompt) for example in answered()] * 2
    limits = [60] * 4 + [3, 60, 60, 60]
    answers = generate(model, tokenizer, questions, limits=limits, batch_tokens=batch_tokens)
    assert [(answer.ids, answer.ended) for answer in answers] == [
        by_library(model, tokenizer, question, limit)
        for question, limit in zip(questions, limits, strict=True)
    ]
    assert [answer.ended for answer in answers] == [limit == 60 for limit in limits]
    # The end token has a probability too.
    assert [len(answer.log_probabilities) - len(answer.ids) for answer in answers] == [
        limit == 60 for limit in limits
    ]


def test_prompts_are_read_with_their_padding_as_many_as_fit(network, tokenizer, random_prompts):
    seen = []
    network.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    generate(network, tokenizer, random_prompts, limits=[1] * len(LENGTHS), batch_tokens=40)
    assert seen == [(1, 64), (1, 40), (2, 17), (3, 5)]


def test_log_probabilities_are_those_of_a_plain_forward_pass(network, tokenizer, random_prompts):
    answers = generate(network, tokenizer, random_prompts, limits=[8] * len(random_prompts))
    for prompt, answer in zip(random_prompts, answers, strict=True):
        with torch.no_grad():
            logits = network(torch.tensor([prompt + answer.ids])).logits[
                0, len(prompt) - 1 : -1
            ]  # (8, V)
        expected = logits.log_softmax(-1)[range(8), answer.ids].tolist()
        assert answer.log_probabilities == pytest.approx(expected, abs=1e-4)


def restless(network, seed):
    """The tiny Llama with another head, whose answers wander more than those of a freshly made one."""
    torch.manual_seed(seed)
    torch.nn.init.normal_(network.lm_head.weight, std=2)
    return network


def sample_texts(count):
    rows = json.loads((SAMPLE_CORPUS / "dev.json").read_text(encoding="utf-8"))
    return [row["sentence"] for row in rows[:: len(rows) // count][:count]]


@pytest.mark.parametrize("format", ["list", "json"])
@pytest.mark.parametrize("labels", [["Disease"], ["Chemical", "Disease"]], ids=len)
def test_every_answer_is_one_of_its_grammar(format, labels, network, tokenizer):
    model, texts = restless(network, 5), [*AWKWARD, *sample_texts(3)]
    rules = [grammars.grammar(format, text, labels) for text in texts]
    answers = generate(
        model,
        tokenizer,
        [tokenizer(text)["input_ids"] for text in texts],
        limits=[60] * len(texts),
        grammars=[lambda so_far, rule=rule: None if so_far else rule for rule in rules],
    )
    constraint = from_tokenizer(tokenizer, eos_token=tokenizer.eos_token_id)
    for text, rule, answer in zip(texts, rules, answers, strict=True):
        matcher = LLMatcher(constraint, rule)
        assert matcher.consume_tokens(answer.ids), (text, tokenizer.decode(answer.ids))
        assert matcher.is_accepting() or not answer.ended
        parsed = formats.FORMATS[format].parse(
            tokenizer.decode(answer.ids), text, labels, cut_off=not answer.ended
        )
        assert parsed.status == "ok"
        assert "not_in_text" not in {mention.status for mention in parsed.mentions}
    assert any(answer.ended for answer in answers)


def test_texts_with_and_without_a_grammar_share_a_batch(network, tokenizer, random_prompts):
    free = generate(network, tokenizer, random_prompts[:2], limits=[12, 12])
    mixed = generate(
        network,
        tokenizer,
        random_prompts[:2],
        limits=[12, 12],
        grammars=[lambda so_far: None if so_far else 'start: "none"', None],
    )
    assert tokenizer.decode(mixed[0].ids) == "none"
    assert mixed[0].ended
    assert mixed[1].ids == free[1].ids


@pytest.mark.parametrize("labels", [["Disease"], ["Chemical", "Disease"]], ids=len)
@pytest.mark.parametrize("style", ["plain", "chat"])
def test_constrained_lists_of_random_models_hold_only_strings_of_the_text_in_order(
    style, labels, network, tokenizer
):
    prompt = prompt_for(tokenizer, format="list", labels=labels, style=style, constrained=True)
    examples = [
        Example(str(number), text) for number, text in enumerate([*AWKWARD, *sample_texts(3)])
    ]
    mentions = 0
    for seed in range(3):
        predictions = predict(
            Loaded(restless(network, seed), tokenizer, prompt), examples, progress=False
        )
        for example, prediction in zip(examples, predictions, strict=True):
            assert (
                prediction.raw.strip() == "none"
                or prediction.status == "cut_off"
                or prediction.mentions
            )
            assert prediction.status in ("ok", "cut_off")
            mentions += len(prediction.mentions)
            reached = 0
            for mention in prediction.mentions:
                assert mention["status"] in PLACED, (example.text, prediction.raw)
                assert mention["string"] in example.text
                # Each at its earliest position after the one before; this raises if there is none.
                reached += next(
                    end for _, end in find_occurrences(example.text[reached:], mention["string"])
                )
    assert mentions > len(examples)


def test_a_bad_grammar_is_refused(network, tokenizer):
    with pytest.raises(UserError, match="--constrained false"):
        generate(network, tokenizer, [[5]], limits=[3], grammars=[lambda so_far: "start: ("])


def test_a_slow_tokenizer_cannot_constrain(network, tokenizer):
    class Slow:
        is_fast, eos_token_id, pad_token_id = False, 2, 0

    with pytest.raises(UserError, match="fast tokenizer; take --constrained false"):
        generate(network, Slow(), [[5]], limits=[3], grammars=[lambda so_far: 'start: "a"'])
