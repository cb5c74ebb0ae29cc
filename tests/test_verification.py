"""Questions about mentions: what is asked in training, and what an answer keeps after them."""

import pytest
import torch
from conftest import answered
from recipe_cases import CONFIGS, call, one_error
from tiny_llama import learn_by_heart

from pipelines.examples import Example, Prediction, Span
from pipelines.families import causal_lm
from pipelines.families.causal_lm import Loaded, Prompt, prompt_hash, sft, verification
from pipelines.families.causal_lm.candidates import Candidates
from pipelines.families.causal_lm.prompt_tokens import question_ids
from pipelines.families.causal_lm.verification import questions, verified

TEXT = "Colon cancer is no flu, she said."
GOLD = (Span(0, 12, "Disease"), Span(19, 22, "Disease"))


def prompt_of(style="plain", **more):
    return Prompt("list", ("Disease",), style, candidates=True, verify=True, **more)


def naming(*spans, text=TEXT, folder=None):
    return Candidates(folder, {text: spans})


def decoded(tokenizer, pairs):
    return [tokenizer.decode(question + answer) for question, answer in pairs]


# Training


def test_gold_mentions_are_answered_by_yes_and_other_candidates_by_no(tokenizer):
    named = naming(GOLD[0], Span(0, 5, "Disease"), Span(19, 22, "Chemical"), Span(0, 5, "Disease"))
    rows = questions([Example("0", TEXT, spans=GOLD)], tokenizer, prompt_of(), named)
    assert decoded(tokenizer, rows) == [
        f"Text: {TEXT}\nIs `Colon cancer` a mention of Disease?\nAnswer: yes</s>",
        f"Text: {TEXT}\nIs `flu` a mention of Disease?\nAnswer: yes</s>",
        f"Text: {TEXT}\nIs `Colon` a mention of Disease?\nAnswer: no</s>",
        f"Text: {TEXT}\nIs `flu` a mention of Chemical?\nAnswer: no</s>",
    ]


def test_a_string_that_is_gold_elsewhere_in_the_text_is_not_denied(tokenizer):
    text = "A flu is a flu."
    named = naming(Span(2, 5, "Disease"), Span(11, 14, "Disease"), text=text)
    example = Example("0", text, spans=(Span(2, 5, "Disease"),))
    [row] = decoded(tokenizer, questions([example], tokenizer, prompt_of(), named))
    assert row.endswith("yes</s>")


def test_a_text_has_a_few_questions_with_a_no(tokenizer):
    named = naming(*(Span(start, start + 3, "Disease") for start in range(9)))
    rows = decoded(
        tokenizer, questions([Example("0", TEXT, spans=())], tokenizer, prompt_of(), named)
    )
    assert len(rows) == verification.MOST_WRONG
    assert all(row.endswith("no</s>") for row in rows)


def test_a_chat_model_is_asked_in_its_template(tokenizer):
    ids = question_ids(tokenizer, "A </s> flu.", "</s>", "Disease", prompt_of("chat"))
    asked = tokenizer.decode(ids)
    assert "Answer the question about the text with yes or no." in asked
    assert "<|user|>\nA </s> flu.\nIs `</s>` a mention of Disease?</s>" in asked
    assert ids.count(tokenizer.eos_token_id) == 2  # the template's, not those of the text


def test_rows_of_training_hold_the_questions_that_are_short_enough(tokenizer):
    examples, named = [Example("0", TEXT, spans=GOLD)], naming(Span(0, 5, "Disease"))
    plain = Prompt("list", ("Disease",), "plain", candidates=True)
    rows = sft.training_rows(examples, tokenizer, plain, max_length=512, candidates=named).rows
    more = sft.training_rows(examples, tokenizer, prompt_of(), max_length=512, candidates=named)
    assert more.rows[:1] == rows
    assert len(more.rows) == 4
    sft.assert_trainable(more.rows, tokenizer)
    longest = max(len(row["input_ids"]) for row in more.rows[1:])
    shorter = sft.training_rows(
        examples, tokenizer, prompt_of(), max_length=longest - 1, candidates=named
    )
    assert len(shorter.rows) == 3


def test_the_hash_of_the_prompt_format_knows_of_the_question(tokenizer, monkeypatch):
    plain = Prompt("list", ("Disease",), "plain", candidates=True)
    before = prompt_hash(tokenizer, prompt_of())
    assert before != prompt_hash(tokenizer, plain)
    monkeypatch.setattr("pipelines.prompting.prompts.with_question", lambda *_: "Is it?")
    assert prompt_hash(tokenizer, prompt_of()) != before


# Prediction


def log_probability(network, ids, tokens):
    with torch.no_grad():
        logits = network(torch.tensor([ids + tokens])).logits[0].double()
    return logits.log_softmax(-1)[range(len(ids) - 1, len(ids + tokens) - 1), tokens].sum()


def test_a_score_is_the_share_of_a_yes(network, tokenizer, monkeypatch):
    monkeypatch.setattr(verification, "KEPT_FROM", 0.0)
    prompt, example = prompt_of(), Example("0", TEXT)
    answers = [
        Prediction("0", spans=GOLD, raw="x", mentions=()),
        Prediction("1", spans=(), mentions=()),
    ]
    loaded = Loaded(network, tokenizer, prompt)
    found = verified(loaded, [example, Example("1", "None.")], answers, batch_tokens=100)
    assert found == answers
    yes, no = ([*tokenizer(word)["input_ids"], tokenizer.eos_token_id] for word in (" yes", " no"))
    for span in found[0].spans:
        ids = question_ids(tokenizer, TEXT, TEXT[span.start : span.end], "Disease", prompt)
        odds = log_probability(network, ids, yes) - log_probability(network, ids, no)
        assert span.score == pytest.approx(odds.sigmoid().item(), rel=1e-3, abs=2e-6)
    assert found[0].spans[0].score != found[0].spans[1].score


def test_mentions_with_less_than_half_a_yes_are_left_out(network, tokenizer, monkeypatch):
    asked = []

    def answer(model, prompts, continuations, *, batch_tokens):
        asked.extend(tokenizer.decode(ids) for ids in prompts)
        return torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])[: len(prompts)]

    monkeypatch.setattr(verification, "continuation_log_probabilities", answer)
    text = "A flu, a flu and an APC, so."
    spans = (Span(2, 5, "D"), Span(9, 12, "D"), Span(20, 23, "D"))
    places = [*([span.start, span.end] for span in spans), None]
    mentions = tuple({"string": "as written", "label": "D", "place": place} for place in places)
    before = Prediction("0", spans=spans, raw="flu; flu; APC; lost", status="ok", mentions=mentions)
    other = Prediction("1", spans=(Span(0, 1, "D"),), mentions=())
    found, last = verified(
        Loaded(network, tokenizer, prompt_of()),
        [Example("0", text), Example("1", "B")],
        [before, other],
        batch_tokens=100,
    )
    assert len(asked) == 3  # the string that stands there twice once
    assert found.spans == spans[:2]
    assert [span.score for span in found.spans] == [0.731059, 0.731059]
    assert found.mentions == (*mentions[:2], mentions[3])
    assert (found.raw, found.status) == (before.raw, "ok")
    assert [(span.start, span.score) for span in last.spans] == [(0, 0.5)]


@pytest.mark.slow
def test_a_trained_model_drops_what_is_wrong(answering):
    tokenizer = answering.tokenizer
    model = causal_lm.load_network(answering.model.name_or_path, dtype=torch.float32)
    wrong = {"Colon cancer is no flu, she said.": (0, 5), "BRCA1 was read.": (0, 5)}
    known = {example.text: example.spans for example in answered()}
    for text, (start, end) in wrong.items():
        known[text] = (*known[text], Span(start, end, "Disease"))
    pairs = list(questions(answered(), tokenizer, prompt_of(), Candidates(None, known)))
    learn_by_heart(model, pairs, steps=200)
    loaded = Loaded(model.eval(), tokenizer, prompt_of())
    answers = [Prediction(example.id, spans=known[example.text]) for example in answered()]
    found = verified(loaded, answered(), answers, batch_tokens=1000)
    assert [one.spans for one in found] == [example.spans for example in answered()]


# The whole way


def test_without_candidates_it_is_refused(tiny_llama, tmp_path, capsys):
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    assert call("sft_tinyllama", *words, "--verify", "true", "--run_dir", tmp_path / "run") == 2
    assert "--verify true without --candidates" in one_error(capsys.readouterr().err)
