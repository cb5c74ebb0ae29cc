"""Short forms and what they stand for: cases of the paper, cases that are none, documents, and who is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import cli
from pipelines.abbreviations import definitions, with_abbreviations
from pipelines.config import DataArguments
from pipelines.entity_run import checked_examples
from pipelines.examples import Example, documents_of
from pipelines.families import causal_lm

TOLD = (("AO2", "atelosteogenesis type 2"), ("HD", "Huntington disease"))


@pytest.mark.parametrize(("text", "found"), [
    # From Schwartz and Hearst's paper.
    ("the heat shock transcription factor (HSF) binds", {"HSF": "heat shock transcription factor"}),
    ("Gcn5-related N-acetyltransferase (GNAT)", {"GNAT": "Gcn5-related N-acetyltransferase"}),
    # The shortest long form, its first letter at the start of a word.
    ("familial forms of familial adenomatous polyposis (FAP)", {"FAP": "familial adenomatous polyposis"}),
    ("all of ataxia-telangiectasia (A-T)", {"A-T": "ataxia-telangiectasia"}),
    ("the Wilms\n tumour  [ WT ].", {"WT": "Wilms tumour"}),
    ("von Hippel-Lindau disease (VHL; OMIM 193300)", {"VHL": "von Hippel-Lindau disease"}),
    ("atelosteogenesis type 2 (AO2) and diastrophic dysplasia (DTD)",
     {"AO2": "atelosteogenesis type 2", "DTD": "diastrophic dysplasia"}),
    # The first definition counts.
    ("colon tumour (CT), cystic tissue (CT)", {"CT": "colon tumour"}),
])
def test_definitions(text, found):
    assert definitions(text) == found


@pytest.mark.parametrize("text", [
    "", "(AT)", "patients (n = 12)", "found (see below) here", "in the year (1994)", "ataxia (XY)",
    "the long arm (of a chromosome that is long)",  # too long for a short form
    "cancer (c)",  # one character
    "letters a t (A-T)",  # no longer than its short form
    "the AT gene (AT)",  # stands for itself
    "alpha, of one two three four five six seven eight, theta (AT)",  # over four words away
    "batch test (AT)",  # the first letter has to begin a word
])
def test_what_is_no_definition(text):
    assert definitions(text) == {}


@given(st.text(alphabet="abAB12 ()[];,-.", max_size=60))
def test_long_forms_stand_in_the_text_and_hold_the_letters_of_their_short_forms(text):
    for short, long in definitions(text).items():
        assert long in " ".join(text.split())
        assert short in text
        letters = iter(long.lower())
        assert all(letter in letters for letter in short.lower() if letter.isalnum())


def documents(*texts):
    """Sentences of two documents."""
    return [Example(f"{document}-{number}", text) for document, number, text in texts]


def test_a_sentence_is_told_what_another_one_of_its_document_defines():
    told = with_abbreviations(documents(
        (7, 0, "AO2 and the like."),
        (7, 1, "We study atelosteogenesis type 2 (AO2)."),
        (7, 2, "Two AO2s, but no AO23."),
        (7, 3, "None here, AO23 aside."),
        (8, 0, "AO2 is not defined here; Huntington disease (HD) is."),
        (8, 1, "HD."),
    ))
    assert [example.abbreviations for example in told] == [
        (("AO2", "atelosteogenesis type 2"),), (), (("AO2", "atelosteogenesis type 2"),), (), (),
        (("HD", "Huntington disease"),)]


def test_the_first_definition_of_a_document_counts():
    told = with_abbreviations(documents((1, 0, "colon tumour (CT)"), (1, 1, "cystic tissue (CT)"), (1, 2, "CT")))
    assert told[2].abbreviations == (("CT", "colon tumour"),)


@pytest.mark.parametrize("ids", [["a", "b", "c"], ["0", "1", "2"], ["5-0", "6-0", "7-0"]])
def test_without_documents_nobody_is_told(ids):
    texts = ["Huntington disease (HD).", "HD.", "HD again."]
    examples = [Example(id, text) for id, text in zip(ids, texts, strict=True)]
    assert with_abbreviations(examples) == examples


def test_documents_of_ids():
    assert documents_of(["7-0", "7-1", "8-0"]) == ["7-", "7-", "8-"]
    assert documents_of([*(f"7-{number}" for number in range(40)), "odd"])[-2:] == ["7-", "odd"]
    assert documents_of(["7-0", "7-1", "odd"]) is None  # a third is of another shape
    assert documents_of([f"dev-{number}" for number in range(923)]) is None  # no document is so long
    assert documents_of([]) is None


# Who is told


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_a_language_model_reads_them_above_the_text(tokenizer, style):
    example = Example("0", "AO2 or HD.", abbreviations=TOLD)
    plain, told = (causal_lm.prompt_for(tokenizer, format="list", labels=["Disease"], style=style, constrained=True,
                                        abbreviations=wanted) for wanted in (False, True))
    asked = tokenizer.decode(causal_lm.prompt_ids(tokenizer, example, told))
    assert "AO2 = atelosteogenesis type 2; HD = Huntington disease\nAO2 or HD." in asked
    without = tokenizer.decode(causal_lm.prompt_ids(tokenizer, example, plain))
    assert without == asked.replace("AO2 = atelosteogenesis type 2; HD = Huntington disease\n", "")
    assert causal_lm.prompt_ids(tokenizer, Example("0", "HD"), told) == \
        causal_lm.prompt_ids(tokenizer, Example("0", "HD"), plain)
    assert causal_lm.prompt_hash(tokenizer, told) != causal_lm.prompt_hash(tokenizer, plain)


def test_predict_tells_them(tmp_path, monkeypatch):
    asked = []
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "prompt.json").write_text("{}")
    (tmp_path / "texts.json").write_text(json.dumps([{"id": "7-0", "text": "Huntington disease (HD)."},
                                                     {"id": "7-1", "text": "HD."}]))
    monkeypatch.setattr(causal_lm, "load", lambda folder: None)
    monkeypatch.setattr(causal_lm, "predict", lambda loaded, examples: asked.extend(examples) or [])
    assert cli.main(["predict", "--run", str(tmp_path / "run"), "--input", str(tmp_path / "texts.json"), "--output",
                     str(tmp_path / "p.jsonl")]) == 0
    assert [example.abbreviations for example in asked] == [(), (("HD", "Huntington disease"),)]


def test_recipes_tell_them(tmp_path):
    mention = {"start": 0, "end": 18, "label": "Disease"}
    (tmp_path / "train.json").write_text(json.dumps([
        {"id": "7-0", "text": "Huntington disease (HD).", "entities": [mention]},
        {"id": "7-1", "text": "HD.", "entities": []}]))
    examples = checked_examples({"train": str(tmp_path / "train.json")}, DataArguments(), show=False)
    assert [example.abbreviations for example in examples["train"]] == [(), (("HD", "Huntington disease"),)]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_saved_model_knows_whether_it_was_told(wanted, tmp_path, network, tokenizer):
    prompt = causal_lm.prompt_for(tokenizer, format="list", labels=["Disease"], style="plain", constrained=True,
                                  abbreviations=wanted)
    causal_lm.save(tmp_path / "llm", model=network, tokenizer=tokenizer, prompt=prompt, base_model="tiny")
    assert causal_lm.load(tmp_path / "llm").prompt == prompt
    settings = json.loads((tmp_path / "llm" / "prompt.json").read_text())
    assert settings.pop("abbreviations") is wanted
    if not wanted:  # a model of before says nothing about it
        (tmp_path / "llm" / "prompt.json").write_text(json.dumps(settings))
        assert causal_lm.load(tmp_path / "llm").prompt == prompt
