"""A file that is predicted in parts gives the bytes of the whole file, whatever the family."""

import json
from itertools import chain

import pytest
import torch
import word_bert
from conftest import SAMPLE_CORPUS
from recipe_cases import slow_but
from transformers import BertForTokenClassification

from pipelines.examples import BATCH, Example, Span, prediction_to_json
from pipelines.families import batching, causal_lm, lexical, sequence_classifier, token_tagger
from pipelines.families.causal_lm.prompt_tokens import prompt_for
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.token_tagger.word_tagging import fit_words
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger
from pipelines.spans import word_units


@pytest.fixture(scope="module")
def examples():
    rows = json.loads((SAMPLE_CORPUS / "dev.json").read_text(encoding="utf-8"))
    return [
        Example(str(number), row["sentence"][: 30 + 9 * (number % 13)])
        for number, row in enumerate(rows[:23])
    ]


def generator(tmp_path_factory, examples):
    from tiny_llama import write

    folder = str(write(tmp_path_factory.mktemp("models") / "llama"))
    model = causal_lm.load_network(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that answers differ, and some come to an end
            parameter.mul_(4)
    tokenizer = causal_lm.load_tokenizer(folder)
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    return causal_lm, causal_lm.Loaded(model, tokenizer, prompt)


def sampler(tmp_path_factory, examples):
    family, loaded = generator(tmp_path_factory, examples)
    return family, causal_lm.with_samples(loaded, samples=3)


def encoder_tagger(tmp_path_factory, examples):
    torch.manual_seed(0)
    model = BertForTokenClassification(
        word_bert.bert_config(initializer_range=0.5, **word_bert.NAMES)
    ).eval()
    settings = token_tagger.TaggerSettings(window=40, stride=8)
    return token_tagger, token_tagger.Loaded(model, word_bert.word_pieces(), settings)


def word_tagger(tmp_path_factory, examples):
    words = fit_words(examples, embedding_dim=8, progress=False)
    torch.manual_seed(0)
    config = RecurrentConfig(
        vocab_size=len(words.tokenizer),
        embedding_dim=8,
        hidden_size=8,
        bidirectional=True,
        crf=True,
        id2label=word_bert.NAMES["id2label"],
        label2id=word_bert.NAMES["label2id"],
    )
    return token_tagger, token_tagger.Loaded(
        RecurrentTagger(config).eval(), words.tokenizer, token_tagger.TaggerSettings(decode="crf")
    )


def classifier(tmp_path_factory, examples):
    from tiny_encoder import write

    folder = str(write(tmp_path_factory.mktemp("models") / "bert"))
    settings = ClassifierSettings(("a", "b", "c"), max_length=48)
    return sequence_classifier, sequence_classifier.Loaded(
        sequence_classifier.load_network(folder, settings).eval(),
        sequence_classifier.load_tokenizer(folder),
        settings,
    )


def dictionary(tmp_path_factory, examples):
    train = [
        Example(case.id, case.text, spans=(Span(*word_units(case.text)[0], "D"),))
        for case in examples
    ]
    return lexical, lexical.fit(train)


@pytest.fixture(
    scope="module",
    params=[generator, sampler, encoder_tagger, word_tagger, classifier, dictionary],
    ids=lambda make: make.__name__,
)
def loaded(request, tmp_path_factory, examples):
    return request.param(tmp_path_factory, examples)


def test_the_batches_of_a_stream_are_a_multiple_of_a_chunk():
    assert BATCH % batching.CHUNK == 0


def bytes_of(predictions):
    return [json.dumps(prediction_to_json(prediction)) for prediction in predictions]


@pytest.mark.parametrize("size", slow_but(8, [4, 8, 20], pytest.mark.extensive))
def test_parts_of_a_multiple_of_the_chunk_give_the_same_bytes(loaded, examples, size, monkeypatch):
    monkeypatch.setattr(batching, "CHUNK", 4)
    family, model = loaded
    whole = bytes_of(family.predict(model, examples, progress=False))
    parts = [examples[start : start + size] for start in range(0, len(examples), size)]
    answers = [bytes_of(family.predict(model, part, progress=False)) for part in parts]
    assert list(chain.from_iterable(answers)) == whole
    assert (
        len({line.split(",", 1)[1] for line in whole}) > 2
    )  # the answers differ, so that a mix-up would show


def test_batches_are_formed_within_a_chunk(loaded, examples, monkeypatch):
    """Else the test above could pass on models whose numbers do not depend on their batch."""
    family, model = loaded
    if family is lexical:
        pytest.skip("there are no batches")
    sizes, chunks = [], batching.chunks
    monkeypatch.setattr(batching, "CHUNK", 4)
    monkeypatch.setattr(
        family, "chunks", lambda items: (sizes.append(len(part)) or part for part in chunks(items))
    )
    family.predict(model, examples, progress=False)
    assert sizes == [4] * 5 + [3]


def test_an_answer_does_not_depend_on_its_neighbours(loaded, examples):
    """Alone or among others: the same spans, classes and strings; scores as far as floats go."""
    family, model = loaded
    together = family.predict(model, examples, progress=False)
    for case, among in zip(examples, together, strict=True):
        [alone] = family.predict(model, [case], progress=False)
        assert (alone.id, alone.spans, alone.label, alone.raw, alone.status) == (
            among.id,
            among.spans,
            among.label,
            among.raw,
            among.status,
        )
        if alone.scores is not None:
            assert dict(alone.scores) == pytest.approx(dict(among.scores), abs=2e-6)
        for one, other in zip(alone.spans or (), among.spans or (), strict=True):
            assert one.score == pytest.approx(other.score, abs=2e-6)


def test_a_bar_is_shown_only_where_it_is_asked_for(loaded, examples, monkeypatch):
    family, model = loaded
    if family is lexical:
        pytest.skip("counting takes no time")
    shown, bar = [], batching.progress_bar
    monkeypatch.setattr(
        family,
        "progress_bar",
        lambda total, what, *, show: shown.append((total, show)) or bar(total, what, show=False),
    )
    family.predict(model, examples, progress=True)
    family.predict(model, examples, progress=False)
    counted = [(total, show) for total, show in shown if total == len(examples)]
    assert (len(examples), True) in counted
    assert (len(examples), False) in counted
    assert all(not show for total, show in shown if total != len(examples))


def test_no_examples_no_answers(loaded):
    family, model = loaded
    assert family.predict(model, [], progress=False) == []
