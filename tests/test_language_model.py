"""The family of language models: words and marks, streams, the likelihood of texts, writing, saving."""

import json
import math
from itertools import pairwise

import pytest
import torch

from pipelines.errors import UserError
from pipelines.evaluation import kneser_ney
from pipelines.evaluation.word_trigrams import Words, trigram_nats
from pipelines.examples import Example
from pipelines.families import family_of, language_model
from pipelines.families.language_model import LanguageSettings, Loaded, symbols
from pipelines.families.language_model.scoring import (
    begin_of_text,
    causal_nats,
    word_perplexity,
)
from pipelines.families.language_model.text_stream import TextStream
from pipelines.families.language_model.token_nats import PIECE, nats_of_tokens
from pipelines.families.language_model.word_tokens import encode_words, fit_vocabulary
from pipelines.networks.recurrent_lm import CELLS, RecurrentLanguageModel, RecurrentLMConfig

PAD, UNKNOWN, BEGIN, END = range(4)
TEXTS = ["the patient died .", "the patient recovered .", "the gene [EOS] was lost ."]
EXAMPLES = [Example(str(n), text) for n, text in enumerate(TEXTS)]


def trained(network="lstm", texts=TEXTS, words=None, **options):
    """A model with random weights over the words of some texts, or their trigrams."""
    vocabulary = fit_vocabulary(texts, words or Words(min_freq=1))
    tokenizer = vocabulary.tokenizer
    settings = LanguageSettings(network, "".join(vocabulary.spelling.symbols))
    if network == language_model.TRIGRAM:
        rows = [symbols(tokenizer, text.ids) for text in encode_words(texts, tokenizer)]
        model = kneser_ney.fit(rows, n_symbols=len(tokenizer) - 2)
    else:
        torch.manual_seed(0)
        values = {"embedding_dim": 6, "hidden_size": 8, **options}
        config = RecurrentLMConfig(cell=network, vocab_size=len(tokenizer), **values)
        model = RecurrentLanguageModel(config).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.uniform_(-1, 1)
    return Loaded(model, tokenizer, vocabulary.spelling, settings)


def test_a_vocabulary_has_the_most_frequent_words_after_its_marks():
    vocabulary = fit_vocabulary(TEXTS, Words(vocab_size=3, min_freq=2))
    tokenizer = vocabulary.tokenizer
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert names == ["[PAD]", "[UNK]", "[BOS]", "[EOS]", ".", "the", "patient"]
    assert vocabulary.unknown == pytest.approx(1 - 8 / 16)
    assert tokenizer("the patient")["input_ids"] == [BEGIN, 5, 6]


def test_texts_are_marked_words_and_a_mark_within_one_is_unknown():
    tokenizer = fit_vocabulary(TEXTS, Words(min_freq=1, split="blanks")).tokenizer
    first, last = encode_words([TEXTS[0], "the [EOS] [BOS] Zebra"], tokenizer)
    assert (first.ids[0], first.ids[-1], first.unknown) == (BEGIN, END, [])
    assert last.ids[1:] == [first.ids[1], UNKNOWN, UNKNOWN, UNKNOWN, END]
    assert last.unknown == ["[EOS]", "[BOS]", "Zebra"]
    lower = fit_vocabulary(TEXTS, Words(min_freq=1, lowercase=True)).tokenizer
    assert encode_words(["The Zebra"], lower)[0].unknown == ["zebra"]
    assert encode_words([], lower) == []
    assert encode_words([""], lower)[0].ids == [BEGIN, END]


def test_a_vocabulary_without_words_is_refused():
    with pytest.raises(UserError, match="--min_freq 9 leaves none of 11 words"):
        fit_vocabulary(TEXTS, Words(min_freq=9))


ROWS = [[BEGIN, *range(100 * n, 101 * n + 4), END] for n in range(1, 9)]


def streams(**options):
    values = {"columns": 3, "bptt": 4, "begin": BEGIN, "padding": PAD, "seed": 1, **options}
    return TextStream(ROWS, **values)


def test_segments_in_a_row_are_the_texts_and_each_token_is_predicted_once():
    stream = streams()
    inputs = torch.cat([segment["input_ids"] for segment in stream], dim=1)
    labels = torch.cat([segment["labels"] for segment in stream], dim=1)
    assert [bool(segment["begins"]) for segment in stream] == [True] + [False] * (len(stream) - 1)
    assert all(segment["input_ids"].shape[1] <= 4 for segment in stream)
    read = [token for token in inputs.flatten().tolist() if token != PAD]
    texts = sorted(tuple(row) for row in ROWS)
    assert sorted(_texts([*read, END] if read[-1] != END else read)) == texts
    predicted = sorted(label for label in labels.flatten().tolist() if label >= 0)
    assert predicted == sorted(token for row in ROWS for token in row[1:])
    follows = dict(pair for row in ROWS for pair in pairwise(row) if pair[0] > 3)
    for token, label in zip(inputs.flatten().tolist(), labels.flatten().tolist(), strict=True):
        assert label == follows.get(token, label)
        assert token != END or label == -100


def _texts(tokens):
    texts, text = [], []
    for token in tokens:
        text.append(token)
        if token == END:
            texts.append(tuple(text))
            text = []
    return texts


def test_epochs_have_other_orders_and_the_same_length():
    stream = streams()
    first, length = stream.inputs.clone(), len(stream)
    stream.set_epoch(1)
    assert not torch.equal(stream.inputs, first)
    assert len(stream) == length
    stream.set_epoch(0)
    assert torch.equal(stream.inputs, first)
    with pytest.raises(IndexError):
        stream[length]


def test_processes_read_different_columns_of_one_stream():
    whole = streams(columns=4)
    parts = [streams(columns=2, processes=2, rank=rank) for rank in range(2)]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)


@pytest.mark.parametrize("network", CELLS)
def test_a_text_has_the_nats_of_its_tokens_alone_or_in_a_batch(network):
    loaded = trained(network)
    answers = language_model.predict(loaded, EXAMPLES, progress=False)
    for example, answer in zip(EXAMPLES, answers, strict=True):
        [text] = encode_words([example.text], loaded.tokenizer)
        ids = torch.tensor([text.ids])
        logs = loaded.model(ids).logits[0].log_softmax(-1)
        nats = -logs[torch.arange(ids.shape[1] - 1), ids[0, 1:]]
        assert answer.value == pytest.approx(float(nats.sum().detach()), abs=1e-4)
        assert answer.scores["tokens"] == len(text.ids) - 1
        assert answer.scores["end"] == pytest.approx(float(nats[-1].detach()), abs=1e-4)
        [alone] = language_model.predict(loaded, [example], batch_tokens=1, progress=False)
        assert alone.value == pytest.approx(answer.value, abs=1e-4)


def test_a_long_text_is_read_in_pieces_with_the_state_carried_on():
    model = trained().model
    row = [BEGIN, *(4 + n % 5 for n in range(2 * PIECE + 3)), END]
    [nats] = nats_of_tokens(model, [row], batch_tokens=64)
    logs = model(torch.tensor([row])).logits[0].log_softmax(-1)
    expected = -logs[torch.arange(len(row) - 1), torch.tensor(row[1:])]
    assert nats == pytest.approx(expected.detach().numpy(), abs=1e-4)


def test_trigrams_of_the_family_are_those_of_the_evaluation():
    words = Words(vocab_size=5, min_freq=1)
    loaded = trained(language_model.TRIGRAM, words=words)
    answers = language_model.predict(loaded, EXAMPLES, progress=False)
    for spelt in (False, True):
        expected = trigram_nats(EXAMPLES, EXAMPLES, words=words, spelt=spelt)
        found = [answer.value + spelt * answer.scores["spelling"] for answer in answers]
        assert found == pytest.approx(expected[:, 0].tolist(), abs=1e-5)
    assert [answer.scores["tokens"] for answer in answers] == expected[:, 1].tolist()


def test_a_transformer_scores_texts_and_control_tokens_are_text(network, tokenizer):
    examples = [Example("0", "a patient"), Example("1", "an </s> end"), Example("2", "")]
    answers = causal_nats(network, tokenizer, examples, progress=False)
    begin = begin_of_text(tokenizer)
    ids = [begin, *tokenizer("a patient", add_special_tokens=False)["input_ids"]]
    loss = network(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert answers[0].value == pytest.approx(float(loss.detach()) * (len(ids) - 1), rel=1e-4)
    assert answers[0].scores == {"tokens": len(ids) - 1}
    assert answers[1].scores["tokens"] >= len("an </s> end")  # a token a byte
    assert (answers[2].value, answers[2].scores["tokens"]) == (0, 0)


def test_a_text_beyond_the_context_is_read_in_windows(network):
    network.config.max_position_embeddings = 8
    row = [1, *range(5, 26)]
    [nats] = nats_of_tokens(network, [row], batch_tokens=64)
    assert len(nats) == len(row) - 1
    for position in range(1, len(row)):
        # Windows begin every 4 tokens; a token is scored by the first one that it is in.
        start = 0 if position < 8 else (position // 4 - 1) * 4
        ids = torch.tensor([row[start : position + 1]])
        logs = network(ids).logits[0, -2].log_softmax(-1)
        assert nats[position - 1] == pytest.approx(-float(logs[row[position]].detach()), rel=1e-3)


def test_perplexity_per_word_spells_unknown_words_and_leaves_end_marks_out():
    words = Words(vocab_size=5, min_freq=1)
    answers = language_model.predict(
        trained(language_model.TRIGRAM, words=words), EXAMPLES, progress=False
    )
    found = word_perplexity(EXAMPLES, answers)
    nats = sum(
        answer.value - answer.scores["end"] + answer.scores["spelling"] for answer in answers
    )
    n_words = sum(len(text.split()) for text in TEXTS)
    assert found.words == n_words
    assert found.unknown == sum(answer.scores["unknown"] for answer in answers)
    assert found.per_word == pytest.approx(math.exp(nats / n_words))
    assert found.interval[0] <= found.per_word <= found.interval[1]


def test_sampling_follows_the_prompt_the_seed_and_the_limits():
    loaded = trained()
    likeliest = language_model.sample(loaded, "the patient", temperature=0, max_new_tokens=5)
    assert likeliest.startswith("the patient")
    assert len(likeliest.split()) <= 7
    assert likeliest == language_model.sample(
        loaded, "the patient", temperature=0, max_new_tokens=5
    )
    narrow = language_model.sample(loaded, "the patient", top_p=1e-6, max_new_tokens=5, seed=3)
    assert narrow == likeliest
    drawn = {language_model.sample(loaded, "the", seed=seed, temperature=2.0) for seed in range(8)}
    assert len(drawn) > 1
    assert not any("[" in text.removeprefix("the") and "[UNK]" in text for text in drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0, "top_p": 0.0}, "--temperature -1.*--top_p 0"),
        ({"max_new_tokens": 0}, "--sample_tokens 0"),
    ],
)
def test_sampling_options_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        language_model.sample(trained(), "the", **options)


def test_trigrams_do_not_write():
    with pytest.raises(UserError, match="draws from a network"):
        language_model.sample(trained(language_model.TRIGRAM), "the")


@pytest.mark.parametrize("network", language_model.NETWORKS)
def test_what_is_saved_answers_the_same(network, tmp_path):
    loaded = trained(network)
    language_model.save(tmp_path, loaded)
    assert family_of(tmp_path) is language_model
    again = language_model.load(tmp_path)
    examples = [*EXAMPLES, Example("3", "the new word")]
    before = language_model.predict(loaded, examples, progress=False)
    assert language_model.predict(again, examples, progress=False) == before


def test_a_damaged_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no finished model"):
        language_model.load(tmp_path)
    language_model.save(tmp_path, trained())
    settings = tmp_path / language_model.MODEL_FILE
    settings.write_text(json.dumps({"network": "other", "characters": ""}))
    with pytest.raises(UserError, match="damaged"):
        language_model.load(tmp_path)
