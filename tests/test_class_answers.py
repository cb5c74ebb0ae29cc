"""The class of a text from a causal language model: probabilities, cuts, several classes, pairs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from pipelines.cpu.attention import use_grouped_attention
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction
from pipelines.families import causal_lm
from pipelines.families.causal_lm import Loaded, Prompt, class_answers, load_tokenizer, sft
from pipelines.families.causal_lm.class_answers import Continuation
from pipelines.families.causal_lm.prompt_tokens import class_answer_ids, class_pieces, prompt_ids
from pipelines.prompting.prompts import Shot, plain_prompt

LABELS = ("art", "article", "none", "a; b")
TEXTS = ["A flu.", "The article is about art and gout in the colon.", "No", "x y z " * 9]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return load_tokenizer(str(tiny_llama))


@pytest.fixture(scope="module", params=["library", "grouped", "gpt2"])
def network(request, tiny_llama, tokenizer):
    if request.param == "gpt2":
        torch.manual_seed(1)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
        )
        return GPT2LMHeadModel(config).eval()
    model = causal_lm.load_network(str(tiny_llama), dtype=torch.float32).eval()
    torch.manual_seed(1)
    for weight in model.parameters():  # so that probabilities are far from equal
        weight.data += torch.randn_like(weight) * 0.1
    if request.param == "grouped":
        use_grouped_attention(model)
    return model


def prompt(format="class", **settings):
    return replace(Prompt(format, LABELS, "plain"), **settings)


def log_probability(network, ids, answer):
    """Of the answer's tokens after `ids`, by one plain pass."""
    with torch.no_grad():
        logits = network(torch.tensor([ids + answer])).logits[0].float().log_softmax(-1)
    return sum(float(logits[len(ids) + i - 1, token]) for i, token in enumerate(answer))


@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
def test_probabilities_are_those_of_a_pass_for_each_answer(network, tokenizer, batch_tokens):
    pieces = class_pieces(tokenizer, prompt())
    prompts = [prompt_ids(tokenizer, text, prompt()) for text in TEXTS]
    options = [Continuation(ids, pieces.end[:1]) for ids in pieces.first]
    got = class_answers.continuation_log_probabilities(
        network, prompts, options, batch_tokens=batch_tokens
    )
    for ids, row in zip(prompts, got.tolist(), strict=True):
        wanted = [log_probability(network, ids, [*own, pieces.end[0]]) for own in pieces.first]
        assert row == pytest.approx(wanted, abs=2e-4)


def test_many_classes_are_read_in_several_passes(network, tokenizer, monkeypatch):
    pieces = class_pieces(tokenizer, prompt())
    prompts = [prompt_ids(tokenizer, TEXTS[0], prompt())]
    options = [Continuation(ids, pieces.end[:1]) for ids in pieces.first]
    once = class_answers.continuation_log_probabilities(network, prompts, options)
    monkeypatch.setattr(class_answers, "MOST_TREE_TOKENS", 1)
    again = class_answers.continuation_log_probabilities(network, prompts, options)
    assert again.tolist()[0] == pytest.approx(once.tolist()[0], abs=2e-4)


def test_the_likeliest_answer_wins_and_scores_add_up(network, tokenizer):
    loaded = Loaded(network, tokenizer, prompt())
    examples = [Example(str(index), text) for index, text in enumerate(TEXTS)]
    pieces = class_pieces(tokenizer, prompt())
    for example, answer in zip(examples, causal_lm.predict(loaded, examples), strict=True):
        ids = prompt_ids(tokenizer, example.text, prompt())
        each = [log_probability(network, ids, [*own, pieces.end[0]]) for own in pieces.first]
        assert answer.label == LABELS[int(np.argmax(each))]
        assert math.fsum(answer.scores.values()) == pytest.approx(1, abs=1e-5)
        assert (answer.id, answer.status) == (example.id, "ok")


def test_of_several_classes_each_has_the_probability_of_being_next(network, tokenizer):
    several = prompt("classes")
    loaded = Loaded(network, tokenizer, several)
    pieces = class_pieces(tokenizer, several)
    [answer] = causal_lm.predict(loaded, [Example("0", TEXTS[0])])
    ids, chosen, wanted = prompt_ids(tokenizer, TEXTS[0], several), [], {}
    after = {pieces.end[0], *(own[0] for own in pieces.later)}
    position = 0
    while position < len(LABELS):
        names = pieces.later if chosen else pieces.first
        values = [
            sum(math.exp(log_probability(network, ids, [*names[index], end])) for end in after)
            for index in range(position, len(LABELS))
        ]
        stop = [pieces.end[0]] if chosen else [*pieces.none, pieces.end[0]]
        rest = sum(values) + math.exp(log_probability(network, ids, stop))
        for value in values:
            wanted[LABELS[position]] = value / rest
            position += 1
            if value / rest >= 0.5:
                chosen.append(position - 1)
                ids = ids + names[position - 1]
                break
            rest -= value
        else:
            break
    assert answer.scores == pytest.approx(wanted, abs=1e-4)
    assert answer.label == tuple(LABELS[index] for index in chosen)


@pytest.mark.parametrize(
    ("values", "scores", "index"),
    [
        ([0.6, 0.2, 0.2], [0.6, 0.0], 0),
        ([0.2, 0.6, 0.2], [0.2, 0.75], 1),
        ([0.2, 0.2, 0.6], [0.2, 0.25], None),
        ([0.4, 0.2, 0.4], [0.4, 1 / 3], None),
        ([0.0, 0.0, 0.0], [0.0, 0.0], None),
    ],
)
def test_the_next_class_by_hand(values, scores, index):
    written = np.zeros(2)
    assert class_answers._next_class(np.array(values), 0, written) == index
    assert written.tolist() == pytest.approx(scores)


def test_answers_are_put_together_from_pieces(tokenizer):
    pieces = class_pieces(tokenizer, prompt("classes"))
    decode = tokenizer.decode
    assert decode(class_answer_ids(pieces, [3, 0])[:-1]) == " art; a\\; b"
    assert decode(class_answer_ids(pieces, [])[:-1]) == " none"
    assert decode(class_answer_ids(pieces, [2])[:-1]) == " n\\one"
    assert class_answer_ids(pieces, [1])[-1] == tokenizer.eos_token_id


def test_rows_train_the_answer_alone_and_long_texts_lose_their_end(tokenizer):
    long = Example("long", "flu " * 400 + "end", label="art", pair="short")
    examples = [Example("0", TEXTS[0], label="article"), long]
    rows = sft.training_rows(examples, tokenizer, prompt(), max_length=100)
    assert rows.too_long == []
    assert rows.cut == ["long"]
    assert max(len(row["input_ids"]) for row in rows.rows) <= 100
    sft.assert_trainable(rows.rows, tokenizer)
    cut = tokenizer.decode(rows.rows[1]["input_ids"])
    assert "Text 2: short\nClass: art" in cut
    assert "end" not in cut


def test_a_prompt_that_does_not_fit_without_a_text_is_refused(tokenizer):
    for text in ("", "flu " * 40):
        with pytest.raises(UserError, match=r"without a text, and 5 fit .* with 4 classes"):
            class_answers.fit(tokenizer, prompt(), [Example("0", text)], most=5)


def test_prediction_cuts_as_training_does(network, tokenizer, caplog):
    short = prompt(max_length=60)
    example = Example("long", "flu " * 400, label="art")
    [row] = sft.training_rows([example], tokenizer, short, max_length=60).rows
    pieces = class_pieces(tokenizer, short)
    loaded = Loaded(network, tokenizer, short)
    fitted = class_answers.fitting_prompts(loaded, [example], pieces, None)
    assert row["input_ids"][: len(fitted.prompts[0])] == fitted.prompts[0]
    assert fitted.cut == ["long"]


def test_the_farthest_shots_are_dropped_before_the_text_is_cut(tokenizer):
    shots = [Shot("far " * 30, "art"), Shot("near", "article")]
    most = len(prompt_ids(tokenizer, TEXTS[0], prompt(), shots=shots)) - 1
    [ids] = class_answers.fit(
        tokenizer, prompt(), [Example("0", TEXTS[0])], [shots], most=most
    ).prompts
    assert tokenizer.decode(ids).endswith(plain_prompt(TEXTS[0], "class", LABELS, shots=shots[1:]))


def test_shots_are_earlier_turns_of_a_chat_and_control_tokens_in_them_are_text(tokenizer):
    chat = replace(prompt(), style="chat")
    end = tokenizer.eos_token
    shots = [Shot(f"one {end}", "art"), Shot("two", "article", "and")]
    begin = tokenizer.bos_token
    ids = prompt_ids(tokenizer, f"three {begin}", chat, shots=shots)
    written = tokenizer.decode(ids)
    turns = written.split("Text 1: two")  # the instruction before it names the classes too
    assert "art" in turns[0].rsplit("one", 1)[1]
    assert "article" in turns[1].split("three")[0]
    places = [written.rindex(part) for part in ("one", "two", "three")]
    assert places == sorted(places)
    bare = prompt_ids(tokenizer, "three", chat, shots=[Shot("one", "art"), shots[1]])
    assert ids.count(tokenizer.eos_token_id) == bare.count(tokenizer.eos_token_id)
    assert f"one {end}" in written
    assert f"three {begin}" in written


def test_scores_at_an_evaluation_by_hand():
    examples = [Example("0", "x", label="art"), Example("1", "y", label="none")]
    likely = {"art": 0.7, "article": 0.1, "none": 0.1, "a; b": 0.1}
    predictions = [Prediction(id, label="art", scores=likely) for id in "01"]
    assert sft.class_scores(examples, predictions, prompt())["accuracy"] == 0.5
    several = [replace(example, label=("art",)) for example in examples]
    scores = sft.class_scores(several, predictions, prompt("classes"))
    assert scores["micro_f1"] == 1  # only what has half of the probability is answered
