"""Short forms and what they stand for: cases of the paper, cases that are none, documents, and who is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_token_tagger import NAMES, bert_config, word_pieces
from transformers import BertForTokenClassification

from pipelines import cli
from pipelines.abbreviations import as_text, definitions, with_abbreviations
from pipelines.config import DataArguments
from pipelines.entity_run import checked_examples
from pipelines.examples import Example, documents_of
from pipelines.families import causal_lm, token_tagger
from pipelines.families.token_tagger import Settings, encode

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
    "a disease (DIseases)",  # no longer than its short form
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
        (7, 2, "Two AO2s, an AO2-like one, but no AO23."),
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
def test_a_language_model_reads_them_below_the_text(tokenizer, style):
    example = Example("0", "AO2 or HD.", abbreviations=TOLD)
    plain, told = (causal_lm.prompt_for(tokenizer, format="list", labels=["Disease"], style=style, constrained=True,
                                        abbreviations=wanted) for wanted in (False, True))
    asked = tokenizer.decode(causal_lm.prompt_ids(tokenizer, example, told))
    assert "AO2 or HD.\nAO2 = atelosteogenesis type 2; HD = Huntington disease" in asked
    without = tokenizer.decode(causal_lm.prompt_ids(tokenizer, example, plain))
    assert without == asked.replace("\nAO2 = atelosteogenesis type 2; HD = Huntington disease", "")
    assert causal_lm.prompt_ids(tokenizer, Example("0", "HD"), told) == \
        causal_lm.prompt_ids(tokenizer, Example("0", "HD"), plain)
    assert causal_lm.prompt_hash(tokenizer, told) != causal_lm.prompt_hash(tokenizer, plain)


def test_a_tagger_reads_them_behind_the_text():
    tokenizer = word_pieces()
    example = Example("0", "Flu or HD.", abbreviations=(("HD", "a flu"),))
    [without] = encode([example], tokenizer, Settings(window=64))
    [told] = encode([example], tokenizer, Settings(window=64, abbreviations=True))
    assert told.offsets == without.offsets
    [window], [alone] = told.windows, without.windows
    assert (window.positions, window.units) == (alone.positions, alone.units)
    assert window.input_ids[:len(alone.input_ids)] == alone.input_ids
    rest = tokenizer.convert_ids_to_tokens(window.input_ids[len(alone.input_ids):])
    assert rest == ["h", "##d", "[UNK]", "a", "flu", "[SEP]"]
    assert window.words[len(alone.words):] == ["H", "D", "=", "a", "flu", ""]


@given(st.lists(st.sampled_from(["flu", "AO2", "no", "(", "colon-cancer"]), max_size=30), st.integers(16, 40),
       st.integers(0, 6))
def test_windows_with_abbreviations_cover_each_unit_once(words, window, stride):
    tokenizer = word_pieces()
    text = " ".join(words)
    examples = [Example("0", text), Example("1", text, abbreviations=(("HD", "flu"),)),
                Example("2", text, abbreviations=TOLD)]
    whole = encode(examples[:1], tokenizer, Settings(window=10_000))[0].offsets
    for encoded in encode(examples, tokenizer, Settings(window=window, stride=stride, abbreviations=True)):
        assert encoded.offsets == whole
        assert sorted(unit for part in encoded.windows for unit in part.units) == list(range(len(whole)))
        assert all(len(part.input_ids) <= window for part in encoded.windows)


def test_abbreviations_never_take_more_than_a_quarter_of_a_window():
    tokenizer = word_pieces()
    told = Example("0", "flu " * 9, abbreviations=TOLD)
    length = len(tokenizer.tokenize(as_text(TOLD)))
    for window, is_told in ((4 * length, True), (4 * length - 1, False)):
        [encoded] = encode([told], tokenizer, Settings(window=window, stride=2, abbreviations=True))
        assert all((part.input_ids.count(tokenizer.sep_token_id) == 2) == is_told for part in encoded.windows)


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
    tagger = BertForTokenClassification(bert_config(**NAMES))
    settings = Settings(window=64, abbreviations=wanted)
    token_tagger.save(tmp_path / "tagger", model=tagger, tokenizer=word_pieces(), settings=settings)
    assert token_tagger.load(tmp_path / "tagger").settings == settings


def test_a_model_of_before_was_not_told(tmp_path):
    tagger = BertForTokenClassification(bert_config(**NAMES))
    token_tagger.save(tmp_path, model=tagger, tokenizer=word_pieces(), settings=Settings(window=64))
    content = json.loads((tmp_path / "tagger.json").read_text())
    del content["abbreviations"]
    (tmp_path / "tagger.json").write_text(json.dumps(content))
    assert not token_tagger.load(tmp_path).settings.abbreviations
