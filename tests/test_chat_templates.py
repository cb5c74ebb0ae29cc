"""Chat templates that refuse a system turn, write thinking blocks, or change the prompt once it is answered."""

import pytest

from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families.causal_lm import load_tokenizer, predict, prompt_for, prompt_hash
from pipelines.families.causal_lm.prompt_tokens import answer_ids, answer_lead, prompt_ids
from pipelines.families.causal_lm.sft import training_rows
from pipelines.prompting import formats, prompts

TURNS = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
)
ASK = "{% if add_generation_prompt %}[assistant]{% endif %}"
THINK = (
    "{% for m in messages %}[{{ m['role'] }}]{% if m['role'] == 'assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
)
REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    + TURNS
    + ASK
)
SKIPS = (
    "{% for m in messages %}{% if m['role'] != 'system' %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}" + ASK
)
OPEN = TURNS + "{% if add_generation_prompt %}[assistant]<think>\n{% endif %}"
SWITCH = (
    THINK
    + "{% if add_generation_prompt %}[assistant]<think>\n{% if enable_thinking is false %}\n</think>\n\n"
    "{% endif %}{% endif %}"
)
# Thinks unless that is switched off, and then writes no block at all.
SWITCHED_OFF = (
    TURNS + "{% if add_generation_prompt %}[assistant]{% if enable_thinking | default(true) %}"
    "<think>\n{% endif %}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }} {{ eos_token }}{% else %}"
    "[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
TEXT, SPANS = "A flu </s> and gout.", (Span(2, 5, "Disease"), Span(15, 19, "Disease"))
INSTRUCTION = formats.FORMATS["list"].instruction(["Disease"])


@pytest.fixture
def tokenizer(tiny_llama):
    return load_tokenizer(str(tiny_llama))


def rows(tokenizer, template):
    """Prompt and answer of a training row as strings, and the prompt's settings."""
    tokenizer.chat_template = template
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="auto", constrained=True
    )
    [row], *_ = training_rows([Example("0", TEXT, SPANS)], tokenizer, prompt, max_length=4096)
    question = prompt_ids(tokenizer, TEXT, prompt)
    assert row["input_ids"][: len(question)] == question
    assert row["input_ids"][len(question) :] == answer_ids(tokenizer, TEXT, SPANS, prompt)
    assert row["labels"] == [-100] * len(question) + row["input_ids"][len(question) :]
    return tokenizer.decode(question), tokenizer.decode(row["input_ids"][len(question) :]), prompt


@pytest.mark.parametrize("template", [REFUSES, SKIPS], ids=["refuses", "skips"])
def test_without_a_system_turn_the_instruction_opens_the_users(tokenizer, template):
    question, answer, _ = rows(tokenizer, template)
    assert question == f"[user]{INSTRUCTION}\n\n{TEXT}</s>[assistant]"
    assert answer == "flu; gout</s>"


def test_a_system_turn_is_used_where_there_is_one(tokenizer):
    question, _, _ = rows(tokenizer, TURNS + ASK)
    assert question == f"[system]{INSTRUCTION}</s>[user]{TEXT}</s>[assistant]"


@pytest.mark.parametrize("template", [THINK + ASK, SWITCH], ids=["when answered", "switch"])
def test_an_empty_thinking_block_belongs_to_the_prompt(tokenizer, template):
    question, answer, _ = rows(tokenizer, template)
    assert question.endswith(f"{TEXT}</s>[assistant]<think>\n\n</think>\n\n")
    assert answer == "flu; gout</s>"


def test_thinking_is_switched_off_where_the_prompt_would_open_it(tokenizer):
    question, answer, _ = rows(tokenizer, SWITCHED_OFF)
    assert question.endswith(f"{TEXT}</s>[assistant]")
    assert answer == "flu; gout</s>"


def test_a_prompt_that_opens_a_thinking_block_is_refused_before_any_row(tokenizer):
    tokenizer.chat_template = OPEN
    with pytest.raises(UserError, match=r"ends in '.*<think>\\n'.*take --prompt_style plain$"):
        prompt_for(tokenizer, format="list", labels=["Disease"], style="auto", constrained=True)
    assert (
        prompt_for(
            tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
        ).style
        == "plain"
    )


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('never') }}", "{{ messages[0]['content'] + 1 }}", "fixed"]
)
def test_a_template_that_cannot_write_the_prompt_is_refused(tokenizer, template):
    tokenizer.chat_template = template
    with pytest.raises(UserError, match="take --prompt_style plain"):
        prompt_for(tokenizer, format="list", labels=["Disease"], style="chat", constrained=True)


def test_blanks_before_an_answer_are_trained_and_admitted(tokenizer, network):
    question, answer, prompt = rows(tokenizer, LLAMA2)
    assert question.endswith(f"{TEXT} [/INST]")
    assert answer == " flu; gout </s>"
    assert answer_lead(tokenizer, prompt) == " "
    from pipelines.families.causal_lm import Loaded

    [prediction] = predict(Loaded(network, tokenizer, prompt), [Example("0", TEXT)], progress=False)
    assert prediction.raw.startswith(" ")


def test_a_model_that_was_trained_on_other_prompts_is_known_by_its_hash(tokenizer):
    hashes = []
    for template in (TURNS + ASK, REFUSES, THINK + ASK, SWITCH, SWITCHED_OFF):
        prompt = rows(tokenizer, template)[2]
        plain = prompts.format_hash("list", prompt.labels, chat_template=template)
        hashes.append((prompt_hash(tokenizer, prompt) == plain, prompt_hash(tokenizer, prompt)))
    # Templates that need no adaptation keep the hash that earlier models were saved with.
    assert [same for same, _ in hashes] == [True, False, False, False, False]
    assert len({value for _, value in hashes}) == 5
