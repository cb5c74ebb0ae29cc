"""Mentions that another model finds, in the prompt: of training texts by models that did not see them."""

import json
import shutil

import pytest
from conftest import ANSWERED, answered
from recipe_cases import CONFIGS, call, one_error

from pipelines import cli
from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.splits import split_examples
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import causal_lm, lexical
from pipelines.families.causal_lm import (
    Loaded,
    Prompt,
    prompt_for,
    prompt_hash,
    prompt_ids,
    sft,
)
from pipelines.families.causal_lm.candidates import Candidates, candidates_of, within
from pipelines.prompting.prompts import with_candidates
from pipelines.runs.run import Run
from pipelines.studies import cross_fitting

TEXT = "Colon cancer is no flu, she said."


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    """The model folder of a dictionary of "Colon cancer", "flu" and "WAS"."""
    folder = tmp_path_factory.mktemp("dictionary") / "model"
    folder.mkdir()
    lexical.save(folder, lexical.fit(answered()))
    return folder


def prompt_of(tokenizer, style="plain", **more):
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style=style, constrained=False
    )
    return Prompt(prompt.format, prompt.labels, prompt.style, constrained=False, **more)


def prompts_of(loaded, examples):
    requests = causal_lm._requests(loaded, examples)
    return [[loaded.tokenizer.decode(ids) for ids in request.prompts] for request in requests]


# The prompt


def test_candidates_stand_behind_the_text():
    spans = [Span(19, 22, "Disease"), Span(0, 12, "Disease"), Span(3, 5, "Chemical")]
    assert with_candidates(TEXT, spans, ["Disease"]) == f"{TEXT}\nCandidates: Colon cancer; flu"
    assert with_candidates(TEXT, (), ["Disease"]) == f"{TEXT}\nCandidates: none"
    both = with_candidates(TEXT, spans, ["Chemical", "Disease"])
    assert both.endswith("\nCandidates: Disease: Colon cancer | Chemical: on | Disease: flu")


def test_they_are_in_the_prompt_of_both_styles(tokenizer):
    spans = [Span(19, 22, "Disease")]
    ids = prompt_ids(tokenizer, TEXT, prompt_of(tokenizer), candidates=spans)
    assert tokenizer.decode(ids) == f"Text: {TEXT}\nCandidates: flu\nDiseases:"
    chat = prompt_ids(tokenizer, TEXT, prompt_of(tokenizer, "chat"), candidates=spans)
    assert f"<|user|>\n{TEXT}\nCandidates: flu</s>" in tokenizer.decode(chat)


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_the_hash_of_the_prompt_format_knows_of_them(style, tokenizer, monkeypatch):
    plain, named = (prompt_of(tokenizer, style, candidates=has) for has in (False, True))
    before = prompt_hash(tokenizer, named)
    assert before != prompt_hash(tokenizer, plain)
    monkeypatch.setattr(
        "pipelines.prompting.prompts.with_candidates", lambda text, *_: f"{text}\nPerhaps:"
    )
    assert prompt_hash(tokenizer, named) != before


# Where they come from


def test_of_known_texts_the_model_is_not_asked(dictionary):
    candidates = candidates_of("dictionary", dictionary)
    other = Example("x", "The flu again.")
    assert candidates.of([other]) == [(Span(4, 7, "Disease"),)]
    candidates.known = {TEXT: (Span(0, 5, "Disease"),)}
    assert candidates.of([Example("0", TEXT), other, other]) == [
        (Span(0, 5, "Disease"),),
        (Span(4, 7, "Disease"),),
        (Span(4, 7, "Disease"),),
    ]
    assert candidates.known.keys() == {TEXT}
    candidates.remember([other])
    candidates.folder = dictionary / "nowhere"
    assert candidates.of([other]) == [(Span(4, 7, "Disease"),)]


def test_rows_of_training_name_those_that_are_known(dictionary, tokenizer):
    known = {text: (Span(0, 1, "Disease"),) for text in ANSWERED}
    rows = sft.training_rows(
        answered(),
        tokenizer,
        prompt_of(tokenizer, candidates=True),
        max_length=512,
        candidates=Candidates(dictionary, known),
    ).rows
    decoded = [tokenizer.decode(row["input_ids"]) for row in rows]
    assert [text.split("\n")[1] for text in decoded] == [f"Candidates: {t[0]}" for t in ANSWERED]


def test_a_saved_model_finds_them_itself(dictionary, network, tiny_llama, tokenizer, tmp_path):
    prompt = prompt_of(tokenizer, candidates=True)
    causal_lm.save(
        tmp_path,
        model=network,
        tokenizer=tokenizer,
        prompt=prompt,
        base_model=str(tiny_llama),
        candidates=candidates_of("dictionary", dictionary),
    )
    loaded = causal_lm.load(tmp_path)
    assert loaded.prompt == prompt
    assert prompts_of(loaded, [Example("0", TEXT), Example("1", "A cold.")]) == [
        [f"Text: {TEXT}\nCandidates: Colon cancer; flu\nDiseases:"],
        ["Text: A cold.\nCandidates: none\nDiseases:"],
    ]
    origin = json.loads((tmp_path / "candidates" / "origin.json").read_text())
    assert origin["run"] == "dictionary"
    shutil.rmtree(tmp_path / "candidates")
    with pytest.raises(UserError, match="its prompts name candidates, and the model that finds"):
        causal_lm.load(tmp_path)


def test_a_window_of_a_long_text_names_its_own(dictionary, network, tokenizer):
    network.config.max_position_embeddings = 220
    text = f"Colon cancer {'is here ' * 20}and {'no, ' * 30}a flu."
    loaded = Loaded(
        network,
        tokenizer,
        prompt_of(tokenizer, candidates=True),
        candidates=candidates_of("dictionary", dictionary),
    )
    [prompts] = prompts_of(loaded, [Example("0", text)])
    assert len(prompts) > 1
    named = [prompt.split("\nCandidates: ")[1] for prompt in prompts]
    assert (named[0], named[-1]) == ("Colon cancer\nDiseases:", "flu\nDiseases:")
    assert all(len(tokenizer(prompt)["input_ids"]) < 220 for prompt in prompts)


def test_spans_within_a_part():
    spans = [Span(0, 4, "A"), Span(3, 6, "B"), Span(5, 9, "C")]
    assert within(spans, 3, 9) == (Span(0, 3, "B"), Span(2, 6, "C"))


# Refusals


def test_a_run_that_names_none_is_refused(tmp_path, corpus):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "prompt.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"which holds causal_lm; wanted a run of one model that finds"
    ):
        cross_fitting.check_source(Run.open(tmp_path), str(corpus["train"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--candidates", "nowhere", "--max_steps", 0], "--candidates nowhere, which is for trai"),
        (["--candidate_folds", 3], "--candidate_folds 3 without --candidates"),
        (["--candidates", "nowhere", "--candidate_folds", 1], "--candidate_folds 1; wanted 2 or"),
        (["--candidates", "nowhere"], "nowhere: no such folder; give the folder of a run"),
    ],
)
def test_options_that_do_not_fit_are_one_line(arguments, message, tiny_llama, tmp_path, capsys):
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    assert call("sft_tinyllama", *words, *arguments, "--run_dir", tmp_path / "run") == 2
    assert message in one_error(capsys.readouterr().err)


# The whole way


@pytest.mark.slow
def test_a_run_with_candidates(tiny_llama, corpus, tmp_path, capsys):
    files = ["--train_file", corpus["train"], "--dev_file", corpus["dev"]]
    source, run = tmp_path / "source", tmp_path / "run"
    assert call("train_tagger", "--network", "dictionary", *files, "--run_dir", source) == 0
    words = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    words += ["--candidates", source, "--candidate_folds", 2, "--max_steps", 2]
    words += ["--test_file", corpus["unlabelled"], "--save_merged", "true", "--verify", "true"]
    other = ["--train_file", corpus["dev"]]
    assert call("sft_tinyllama", *words, *other, "--run_dir", tmp_path / "other") == 2
    assert "was not trained on" in one_error(capsys.readouterr().err)
    assert call("sft_tinyllama", *words, *files, "--run_dir", run) == 0
    assert f"cross-fitting: trains 2 models as {source} was" in capsys.readouterr().out

    # Each training text was answered by a dictionary of the other half.
    train = read_examples(corpus["train"])
    expected = {}
    halves = split_examples(train, {"1": 0.5, "2": 0.5}, seed=0)
    for held_out, others in zip(halves.values(), reversed(halves.values()), strict=True):
        answers = lexical.predict(lexical.fit(others), held_out, progress=False)
        expected |= {answer.id: answer.spans for answer in answers}
    found = {answer.id: answer.spans for answer in read_predictions(run / "candidates.jsonl")}
    assert found == expected
    seen = lexical.predict(lexical.fit(train), train, progress=False)
    assert found != {answer.id: answer.spans for answer in seen}
    assert not (run / "cross_fitting").exists()
    assert "candidates" in json.loads((run / "report.json").read_text())["cost"]["seconds"]

    # The mentions that are written are asked about, too.
    assert json.loads((run / "merged" / "prompt.json").read_text())["verify"] is True

    # Without the run that they are from.
    shutil.rmtree(source)
    out = tmp_path / "again.jsonl"
    words = ["predict", "--run", run, "--input", corpus["unlabelled"], "--output", out]
    assert cli.main(list(map(str, words))) == 0
    assert out.read_bytes() == (run / "predictions" / "test.jsonl").read_bytes()
    words = ["export", "--run", run, "--to", "merged", "--out", tmp_path / "exported"]
    with pytest.raises(SystemExit):
        cli.main(list(map(str, words)))
    assert "its prompts name candidates" in capsys.readouterr().err
