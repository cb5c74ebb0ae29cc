"""Sampled answers, the one that agrees most with all of them, and what that is refused for."""

import json
from random import Random

import pytest
import torch
from conftest import answered, class_files
from recipe_cases import CONFIGS, call, one_error
from test_generation import AWKWARD, random_prompts, restless  # noqa: F401 - a fixture
from transformers import MistralConfig, MistralForCausalLM

from pipelines import cli
from pipelines.cpu import one_pass
from pipelines.cpu.attention import use_grouped_attention
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.families import causal_lm
from pipelines.families.causal_lm import Loaded, predict, prompt_for, with_samples
from pipelines.families.causal_lm.generation import generate, generate_samples
from pipelines.families.causal_lm.sampling import draw, random_numbers
from pipelines.prompting.minimum_risk import least_risk

A, B, C = (Span(start, start + 1, "D") for start in range(3))


# The choice


def answer(*spans, raw=""):
    return Prediction("0", spans=spans, raw=raw, status="ok")


def scored(prediction):
    return {span: span.score for span in prediction.spans}


def test_the_answer_that_agrees_most_with_the_samples_is_chosen():
    # Expected F1 of {A}: (1 + 2/3 + 2/3 + 0) / 4; of {A, B}: (2/3 + 1 + 1 + 0) / 4; of {}: 1/4.
    samples = [answer(A, raw="1"), answer(A, B, raw="2"), answer(A, B, raw="3"), answer(raw="4")]
    chosen = least_risk(answer(C, raw="greedy"), samples)
    assert chosen.raw == "2"
    assert scored(chosen) == {A: 0.75, B: 0.5}


def test_it_need_not_be_the_most_frequent_one():
    # {}: 2/5; {A}: (1 + 2/3 + 2/3) / 5; {A, B}: (2/3 + 1 + 1/2) / 5.
    samples = [answer(), answer(), answer(A), answer(A, B), answer(A, C)]
    assert scored(least_risk(answer(), samples)) == {A: 0.6}


def test_the_greedy_answer_is_a_candidate_and_comes_first_of_equals():
    # {A, B, C} agrees with each of these by 4/5; they agree with each other by 1/2.
    chosen = least_risk(answer(A, B, C, raw="greedy"), [answer(A, B), answer(A, C)])
    assert chosen.raw == "greedy"
    assert scored(chosen) == {A: 1.0, B: 0.5, C: 0.5}
    equal = least_risk(answer(A, B, raw="greedy"), [answer(B, A), answer(A, B)])
    assert equal.raw == "greedy"
    assert least_risk(answer(raw="greedy"), [answer(), answer()]).raw == "greedy"


# The samples


def test_tokens_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([0.5, 0.25, 0.0, 0.25]).log().expand(8, 4)
    points = [(number + 0.5) / 8 for number in range(8)]
    assert draw(logits, points, 1.0).tolist() == [0, 0, 0, 0, 1, 1, 3, 3]
    # By the temperature 1/2 probabilities are squared: 2/3, 1/6, 1/6.
    assert draw(logits, points, 0.5).tolist() == [0, 0, 0, 0, 0, 1, 1, 3]


def test_no_token_is_drawn_that_is_ruled_out():
    logits = torch.full((3, 50), -torch.inf)
    logits[:, 7], logits[:, 30] = 1.0, 1.0
    drawn = draw(logits, [0.0, 1 - 2**-24, 1 - 2**-53], 1.0).tolist()  # the last is rounded to 1
    assert drawn[:2] == [7, 30]
    assert drawn[2] in (7, 30)


def by_plain_passes(model, tokenizer, prompt, limit, number, temperature):
    """A sample by a pass over all tokens for each."""
    random, ids = random_numbers(prompt, number), []
    while len(ids) < limit:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, -1:]
        token = int(draw(logits, [random.random()], temperature))
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return ids


def sliding():
    """A network whose cache holds a window of each row."""
    torch.manual_seed(0)
    config = MistralConfig(
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
    return MistralForCausalLM(config).eval()


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
@pytest.mark.parametrize("kind", ["in_turn", "one_pass", "sliding"])
def test_a_prompt_that_is_read_once_has_the_samples_of_one_that_is_read_anew(
    kind, batch_tokens, network, tokenizer, random_prompts
):
    model = sliding() if kind == "sliding" else restless(network, 1)
    limits = [9, 20, 1, 12, 30, 2, 20]
    expected = [
        [by_plain_passes(model, tokenizer, prompt, limit, number, 0.7) for number in range(3)]
        for prompt, limit in zip(random_prompts, limits, strict=True)
    ]
    greedy = generate(model, tokenizer, random_prompts, limits=limits)
    if kind == "one_pass":
        use_grouped_attention(model)
    found = generate_samples(
        model,
        tokenizer,
        random_prompts,
        limits=limits,
        samples=3,
        temperature=0.7,
        batch_tokens=batch_tokens,
    )
    assert [[sample.ids for sample in samples] for _, *samples in found] == expected
    assert [first.ids for first, *_ in found] == [one.ids for one in greedy]
    assert len({tuple(ids) for samples in expected for ids in samples}) > 12


@pytest.mark.parametrize(("most", "tokens"), [(64, [64, 40, 39, 4]), (6, [64, 40, 34, 8, 1])])
def test_one_pass_reads_a_prompt_once_and_as_many_as_there_is_room_for(
    most, tokens, network, tokenizer, random_prompts, monkeypatch
):
    seen = []
    monkeypatch.setattr(one_pass, "MOST_COPIES", most)
    use_grouped_attention(network)
    network.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    generate_samples(network, tokenizer, random_prompts, limits=[1] * 7, samples=2, batch_tokens=40)
    assert seen == tokens


def test_a_prompt_is_read_once_for_all_its_samples(network, tokenizer, random_prompts):
    seen = []
    network.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    generate_samples(network, tokenizer, random_prompts, limits=[1] * 7, samples=2, batch_tokens=40)
    assert seen == [(1, 64), (1, 40), (2, 17), (3, 5)]


def test_their_log_probabilities_are_those_of_the_model(network, tokenizer, random_prompts):
    [[_, sample]] = generate_samples(
        network, tokenizer, random_prompts[1:2], limits=[8], samples=1, temperature=3.0
    )
    with torch.no_grad():
        logits = network(torch.tensor([random_prompts[1] + sample.ids])).logits[0, 39:-1]
    expected = logits.log_softmax(-1)[range(len(sample.ids)), sample.ids].tolist()
    assert sample.log_probabilities[: len(expected)] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("labels", [["Disease"], ["Chemical", "Disease"]], ids=len)
def test_every_sample_holds_only_strings_of_the_text(labels, network, tokenizer, monkeypatch):
    prompt = prompt_for(tokenizer, format="list", labels=labels, style="plain", constrained=True)
    loaded = with_samples(Loaded(network, tokenizer, prompt), samples=4)
    seen = []
    monkeypatch.setattr(
        causal_lm, "least_risk", lambda *given: seen.append(given) or least_risk(*given)
    )
    examples = [Example(str(number), text) for number, text in enumerate(AWKWARD)]
    found = predict(loaded, examples, progress=False)
    assert len({sample.raw for _, samples in seen for sample in samples}) > 8
    for example, (greedy, samples) in zip(examples, seen, strict=True):
        assert len(samples) == 4
        for one in (greedy, *samples):
            assert one.status in ("ok", "cut_off")
            assert all(mention["string"] in example.text for mention in one.mentions)
            assert "not_in_text" not in {mention["status"] for mention in one.mentions}
    shares = {span.score for prediction in found for span in prediction.spans}
    assert shares <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert [prediction.id for prediction in found] == [example.id for example in examples]


def test_windows_of_a_long_text_are_chosen_each(answering, monkeypatch):
    loaded = with_samples(answering, samples=3)
    monkeypatch.setattr(loaded.model.config, "max_position_embeddings", 120)
    seen = []
    monkeypatch.setattr(
        causal_lm, "least_risk", lambda *given: seen.append(given) or least_risk(*given)
    )
    [found] = predict(loaded, [Example("0", "A flu. " * 12)], progress=False)
    assert len(seen) > 1
    assert len(found.raw.split("\n")) == len(seen)


def test_a_model_that_is_sure_samples_what_it_would_write(answering):
    loaded = with_samples(answering, samples=8, temperature=0.2)
    examples = [Example(example.id, example.text) for example in answered()]
    greedy = predict(answering, examples, progress=False)
    found = predict(loaded, examples, progress=False)
    assert [one.spans for one in found] == [one.spans for one in greedy]
    assert {span.score for one in found for span in one.spans} <= {n / 8 for n in range(4, 9)}
    again = predict(loaded, examples[::-1], progress=False)[::-1]
    assert [(one.raw, scored(one)) for one in again] == [(one.raw, scored(one)) for one in found]


def test_random_numbers_are_those_of_a_prompt_and_a_number():
    assert random_numbers([1, 2], 0).random() == Random("0 [1, 2]").random()
    first = {random_numbers(*of).random() for of in (([1, 2], 0), ([1, 2], 1), ([12], 0))}
    assert len(first) == 3


# Options


def test_a_saved_model_answers_by_its_samples(network, tiny_llama, tokenizer, tmp_path):
    prompt = prompt_for(tokenizer, format="list", labels=["D"], style="plain", constrained=False)
    sampled = with_samples(Loaded(network, tokenizer, prompt), samples=5, temperature=0.5).prompt
    causal_lm.save(
        tmp_path, model=network, tokenizer=tokenizer, prompt=sampled, base_model=str(tiny_llama)
    )
    assert causal_lm.load(tmp_path).prompt == sampled
    settings = json.loads((tmp_path / "prompt.json").read_text())
    assert (settings.pop("samples"), settings.pop("temperature")) == (5, 0.5)
    (tmp_path / "prompt.json").write_text(json.dumps(settings))  # as before there were samples
    assert causal_lm.load(tmp_path).prompt == prompt


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"samples": 1}, "--samples 1; wanted 2 or more, or 0"),
        ({"samples": -2}, "--samples -2; wanted 2 or more"),
        ({"samples": 4, "temperature": 0.0}, "--temperature 0; wanted a number above 0"),
        ({"temperature": 0.5}, "--temperature 0.5 without --samples"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(asked, message, answering):
    with pytest.raises(UserError, match=message):
        with_samples(answering, **asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", 1], "--samples 1; wanted 2 or more, or 0: one greedy answer"),
        (["--samples", 3, "--temperature", 0], "--temperature 0; wanted a number above 0"),
        (["--temperature", 0.5], "--temperature 0.5 without --samples"),
        (["--search", "samples=2,4"], "--samples is the same in all trials of a search"),
    ],
)
def test_options_that_do_not_fit_are_one_line(arguments, message, tiny_llama, tmp_path, capsys):
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    assert call("sft_tinyllama", *words, *arguments, "--run_dir", tmp_path / "run") == 2
    assert message in one_error(capsys.readouterr().err)


def test_classes_are_not_sampled(tiny_llama, tmp_path, capsys):
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    words += [*class_files(tmp_path, train=8, dev=4), "--samples", 4, "--calibrate", "true"]
    assert call("sft_tinyllama", *words, "--run_dir", tmp_path / "run") == 2
    error = one_error(capsys.readouterr().err)
    assert "--samples 4; probabilities of classes are exact" in error
    assert "--calibrate true, which is for scores of mentions" in error


# The whole way


def predicted(run, file, out, *words):
    arguments = ["predict", "--run", run, "--input", file, "--output", out, *words]
    code = cli.main(list(map(str, arguments)))
    return code, out.read_text(encoding="utf-8") if out.exists() else None


def without_scores(lines):
    rows = list(map(json.loads, lines.splitlines()))
    assert any(span.pop("score") for row in rows for span in row["spans"])
    return [row | {"spans": [span | {"score": 0} for span in row["spans"]]} for row in rows]


@pytest.mark.slow
def test_a_run_with_samples_and_calibrated_scores(tiny_llama, corpus, tmp_path, capsys):
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    words += [f"--{split}_file={corpus[split]}" for split in ("train", "dev", "test")]
    words += ["--max_steps", 0, "--samples", 4, "--temperature", 1.5]
    run, scaled = tmp_path / "run", tmp_path / "scaled"
    assert call("sft_tinyllama", *words, "--run_dir", run) == 0
    own = (run / "predictions" / "test.jsonl").read_text(encoding="utf-8")
    assert predicted(run, corpus["test"], tmp_path / "a.jsonl") == (0, own)
    as_asked = ["--samples", 4, "--temperature", 1.5]
    assert predicted(run, corpus["test"], tmp_path / "b.jsonl", *as_asked) == (0, own)
    code, greedy = predicted(run, corpus["test"], tmp_path / "c.jsonl", "--samples", 0)
    assert code == 0
    assert greedy != own

    # Other scores for the same spans; of dev by maps that did not see the text.
    words += ["--calibrate", "true"]
    assert call("sft_tinyllama", *words, "--run_dir", scaled) == 0
    report = json.loads((scaled / "report.json").read_text())["platt_scaling"]
    assert report["margin"] == 0.125
    assert report["ece"].keys() == {"dev", "test"}
    new = (scaled / "predictions" / "test.jsonl").read_text(encoding="utf-8")
    assert predicted(scaled, corpus["test"], tmp_path / "d.jsonl") == (0, new)
    assert new != own
    assert without_scores(new) == without_scores(own)
    with pytest.raises(SystemExit):
        predicted(scaled, corpus["test"], tmp_path / "e.jsonl", "--samples", 8)
    assert "calibrated for --samples 4 --temperature 1.5" in one_error(capsys.readouterr().err)


def test_a_model_that_samples_nothing_refuses_samples(corpus, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--network", "dictionary", "--train_file", corpus["train"], "--run_dir", run]
    assert call("train_tagger", *words) == 0
    for input, message in (
        (corpus["test"], "samples no answers, only a language model that writes mentions does"),
        (f"{corpus['test'].parent}/*.json", "many files are answered as the run was trained to"),
    ):
        with pytest.raises(SystemExit):
            predicted(run, input, tmp_path / "p.jsonl", "--samples", 8)
        assert message in one_error(capsys.readouterr().err)
