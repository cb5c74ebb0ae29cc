"""The networks that classify texts by words: poolings, padding, torch's own layers, dropout, vectors."""

import gzip
import json

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.sequence_classifier import encode, word_rows
from pipelines.networks.pooled_classifier import pool
from pipelines.networks.recurrent import GRU
from pipelines.networks.text_classifier import (
    NETWORKS,
    POOLINGS,
    Convolutions,
    RecurrentLayers,
    TextClassifier,
    TextClassifierConfig,
    last_states,
)
from pipelines.networks.vector_files import read_vectors

SIZES = {"vocab_size": 12, "embedding_dim": 5, "hidden_size": 4, "num_labels": 3}
KINDS = [
    *[(network, {"pooling": pooling}) for network in ("lstm", "gru") for pooling in POOLINGS],
    ("rnn", {"num_layers": 2, "bidirectional": True}),
    ("lstm", {"dense_size": 3, "bidirectional": True, "pooling": "attention"}),
    *[(network, {"dense_size": 3}) for network in ("cnn", "bag_of_embeddings")],
    *[(network, {"pooling": "mean"}) for network in ("cnn", "bag_of_embeddings")],
]


def network(kind, **options):
    torch.manual_seed(0)
    return TextClassifier(TextClassifierConfig(network=kind, **SIZES, **options)).eval()


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_padding_on_either_side_changes_nothing(kind, options):
    model = network(kind, **options)
    texts = [[2, 3, 4, 5, 6], [7], [8, 9, 2], []]
    alone = []
    for words in texts:
        ids = torch.tensor([words or [0]])
        alone.append(model(ids, torch.tensor([[1] * len(words) or [0]])).logits[0])
    for left in (False, True):
        ids, mask = torch.full((4, 7), 11), torch.zeros(4, 7, dtype=torch.long)
        for row, words in enumerate(texts):
            place = slice(7 - len(words), 7) if left else slice(len(words))
            ids[row, place], mask[row, place] = torch.tensor(words, dtype=torch.long), 1
        assert torch.allclose(model(ids, mask).logits, torch.stack(alone), atol=1e-6)


def test_texts_without_words_alone_in_a_batch():
    model = network("lstm")
    empty = model(torch.zeros(2, 0), torch.zeros(2, 0)).logits
    assert torch.equal(empty, model(torch.zeros(2, 1, dtype=torch.long)).logits)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_the_recurrent_layers_compute_what_torchs_do(kind, bidirectional):
    config = TextClassifierConfig(
        network=kind, num_layers=2, bidirectional=bidirectional, hidden_size=4
    )
    torch.manual_seed(0)
    ours = RecurrentLayers(config, 5)
    peer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](
        5, 4, num_layers=2, bidirectional=bidirectional, batch_first=True
    )
    weights = {}
    for depth, cells in enumerate(ours.layers):
        for direction, cell in enumerate(cells):
            end = f"l{depth}" + ("_reverse" if direction else "")
            weights[f"weight_ih_{end}"], weights[f"weight_hh_{end}"] = cell.W.weight, cell.U.weight
            weights[f"bias_ih_{end}"] = cell.W.bias
            weights[f"bias_hh_{end}"] = torch.zeros_like(cell.W.bias)
            if kind == "gru":
                nn.init.normal_(cell.a)
                weights[f"bias_hh_{end}"][8:] = cell.a.detach()
    peer.load_state_dict(weights)
    states = torch.randn(3, 6, 5)
    lengths = torch.tensor([6, 2, 4])
    mask = torch.arange(6) < lengths[:, None]
    packed = nn.utils.rnn.pack_padded_sequence(
        states, lengths, batch_first=True, enforce_sorted=False
    )
    outputs, last = peer(packed)
    wanted = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0]
    computed = ours(states, mask)
    assert torch.allclose(computed, wanted, atol=1e-6)
    last = last[0] if kind == "lstm" else last
    wanted = torch.cat([last[-2], last[-1]], 1) if bidirectional else last[-1]
    ends = last_states(computed, mask, bidirectional=bidirectional)
    assert torch.allclose(ends, wanted, atol=1e-6)


def test_a_convolution_by_hand():
    config = TextClassifierConfig(network="cnn", filter_widths=[3], hidden_size=1)
    layer = Convolutions(config, 1)
    with torch.no_grad():
        layer.filters[0][1].weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]]]))
        layer.filters[0][1].bias.zero_()
    states = torch.tensor([[[1.0], [-2.0], [3.0], [9.0]]])
    mask = torch.tensor([[True, True, True, False]])
    # 10·1 - 100·2 < 0; 1 - 10·2 + 100·3; -2 + 10·3, since the fourth is padding.
    assert layer(states, mask)[0, :3, 0].tolist() == [0, 281, 28]


def test_poolings_by_hand():
    model = network("bag_of_embeddings", pooling="attention")
    states = torch.tensor([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    assert pool(states, mask, "mean").tolist() == [[2, 2]]
    assert pool(states, mask, "max").tolist() == [[3, 4]]
    assert last_states(states, mask, bidirectional=False).tolist() == [[3, 0]]
    assert last_states(states, mask, bidirectional=True).tolist() == [[3, 4]]
    query = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        query.weight.copy_(torch.tensor([[0.0, torch.log(torch.tensor(3.0)) / 4]]))
    # Weights 3/4 and 1/4.
    assert torch.allclose(pool(states, mask, "attention", query), torch.tensor([[1.5, 3.0]]))
    assert model.query.weight.shape == (1, SIZES["embedding_dim"])


def test_dropout_of_the_state_is_not_of_what_a_gru_hands_on():
    torch.manual_seed(0)
    cell = GRU(3, 4)
    with torch.no_grad():
        cell.W.bias[4:8] = 50.0  # the update gate is open: the old state is kept
    state = torch.randn(2, 4)
    kept = cell(torch.zeros(2, 3), state, [2], torch.tensor([[0.0, 2.0, 2.0, 0.0]]).expand(2, 4))
    assert torch.allclose(kept, state, atol=1e-5)


def test_each_dropout_has_its_rate():
    ids = torch.tensor([[2, 3, 4, 5]])
    for options in ({"recurrent_dropout": 0.5}, {"dropout": 0.5}, {"word_dropout": 0.5}):
        model = network("gru", **options)
        assert torch.equal(model(ids).logits, model(ids).logits)
        model.train()
        assert not torch.equal(model(ids).logits, model(ids).logits)
    model = network("gru").train()
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_the_loss_is_that_of_the_library():
    model = network("bag_of_embeddings")
    output = model(torch.tensor([[2], [3]]), labels=torch.tensor([0, 2]))
    wanted = nn.functional.cross_entropy(output.logits, torch.tensor([0, 2]))
    assert output.loss.item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("kind", NETWORKS)
def test_it_is_a_model_of_the_library(kind, tmp_path):
    model = network(kind, train_embeddings=False)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[2, 3, 4], [5, 6, 7]])
    assert torch.equal(model(ids).logits, again(ids).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "cnn", "pooling": "last"}, "cnn has no last state; take mean"),
        ({"network": "transformer"}, "wanted one of bag_of_embeddings, cnn"),
        ({"pooling": "median"}, "wanted one of last, mean"),
        ({"num_layers": 0}, "have to be 1 or more"),
        ({"dropout": 1.5}, "dropout probability has to be between"),
    ],
)
def test_options_that_do_not_fit_together(options, message):
    words = word_rows.fit_text_words([Example("0", "a b")], embedding_dim=4)
    with pytest.raises(UserError, match=message) as raised:
        word_rows.new_network(words, ClassifierSettings(("x", "y")), **options)
    assert "\n" not in str(raised.value)


def test_a_pair_has_a_separator_and_the_words_of_both():
    pairs = [Example("0", "Good film", pair="bad play"), Example("1", "bad", pair="good")]
    words = word_rows.fit_text_words(pairs, lowercase=True)
    encoded = encode(pairs, words.tokenizer, max_length=9)
    tokens = [words.tokenizer.convert_ids_to_tokens(row["input_ids"]) for row in encoded.rows]
    assert tokens == [["good", "film", "[SEP]", "bad", "play"], ["bad", "[SEP]", "good"]]


def test_the_length_is_that_of_most_training_texts():
    texts = [Example(str(n), "a " * n) for n in range(1, 21)]
    tokenizer = word_rows.fit_text_words(texts).tokenizer
    assert word_rows.length_of("auto", texts, tokenizer) == 19
    assert word_rows.length_of("auto", [Example("0", "a " * 50_000)], tokenizer) == 512
    assert word_rows.length_of("50", texts, tokenizer) == 50
    for bad in ("0", "-3", "many", "1.5"):
        with pytest.raises(UserError, match="wanted a number of words, or auto"):
            word_rows.length_of(bad, texts, tokenizer)


def test_a_long_text_is_cut_and_named():
    long = Example("7", "a b " * 25_000)
    encoded = encode([long], word_rows.fit_text_words([long]).tokenizer, max_length=50)
    assert [len(row["input_ids"]) for row in encoded.rows] == [50]
    assert encoded.cut == ["7"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["vectors.txt", "glove_reviews.json"])
def test_vectors_as_text_and_json(name, compressed, tmp_path):
    content = "Good 1 -0.5\nbad 2 3\n"
    if name.endswith("json"):
        content = json.dumps({"Good": [1, -0.5], "bad": [2, 3]})
    path = tmp_path / (name + ".gz" * compressed)
    path.write_bytes(gzip.compress(content.encode()) if compressed else content.encode())
    vectors = read_vectors(path, ["Good", "BAD", "none"])
    assert vectors == {"Good": [1, -0.5], "BAD": [2, 3]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.json", '{"a": [1, 2], "b": [1]}', r"v.json: 'b': 1 numbers; the first row has 2"),
        ("v.json", '{"a": [1, 2], "b": "x"}', "'b': no list of finite numbers"),
        ("v.json", "[1, 2]", "not a readable file of word vectors .got no object"),
        ("v.json", '{"a": [1', "not a readable file of word vectors"),
        ("v.json", "{}", "no word vectors in it"),
        ("v.txt.gz", "a 1 2", "not a readable file of word vectors"),
    ],
)
def test_bad_files_of_vectors(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises((UserError, DataError), match=message):
        read_vectors(tmp_path / name, ["a", "b"])
