"""The recurrent language model: its formula, what a text's state is, generate, tied weights, parameters."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines.networks.recurrent_lm import (
    CELLS,
    RecurrentLanguageModel,
    RecurrentLMConfig,
    closed_form,
)

BEGIN, PAD = 2, 0
SHAPES = [
    {},
    {"num_layers": 2},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": True, "embedding_dim": 7},
]


def network(cell="lstm", seed=0, **options):
    torch.manual_seed(seed)
    values = {"vocab_size": 13, "embedding_dim": 5, "hidden_size": 7, **options}
    model = RecurrentLanguageModel(RecurrentLMConfig(cell=cell, **values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(-1, 1)
    return model


def test_the_sigmoid_cell_is_the_formula():
    model = network("sigmoid")
    layer = model.layers[0]
    i, h, b1 = layer.W.weight.T, layer.U.weight.T, layer.W.bias
    state = torch.zeros(7)
    for position, word in enumerate([BEGIN, 5, 9, 4]):
        state = 1 / (1 + torch.exp(-(state @ h + model.embeddings.weight[word] @ i + b1)))
        logits = state @ model.output.weight.T + model.output.bias
        found = model(torch.tensor([[BEGIN, 5, 9, 4]])).logits[0, position]
        torch.testing.assert_close(found, logits)


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh"])
def test_cells_agree_with_torchs_layers(cell):
    model = network(cell)
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "tanh": torch.nn.RNN}[cell]
    peer, layer = kind(5, 7, batch_first=True), model.layers[0]
    peer.weight_ih_l0.data, peer.weight_hh_l0.data = layer.W.weight.data, layer.U.weight.data
    peer.bias_ih_l0.data = layer.W.bias.data
    peer.bias_hh_l0.data.zero_()
    if cell == "gru":
        peer.bias_hh_l0.data[14:] = layer.a.data
    ids = torch.tensor([[BEGIN, 5, 9, 4], [BEGIN, 6, 6, 7]])
    states, _ = peer(model.embeddings(ids))
    torch.testing.assert_close(model(ids).logits, model.output(states))


@pytest.mark.parametrize("cell", CELLS)
def test_a_carried_state_gives_what_the_whole_text_gives(cell):
    model = network(cell, num_layers=2)
    ids = torch.tensor([[BEGIN, 5, 9, 4, 7], [BEGIN, 6, 6, 7, 3]])
    first = model(ids[:, :2])
    rest = model(ids[:, 2:], past_key_values=first.past_key_values).logits
    torch.testing.assert_close(rest, model(ids).logits[:, 2:])


@pytest.mark.parametrize("cell", CELLS)
def test_a_begin_mark_starts_from_the_zero_state(cell):
    model = network(cell)
    alone = model(torch.tensor([[BEGIN, 5, 9]])).logits
    after_another = model(torch.tensor([[BEGIN, 7, 3, BEGIN, 5, 9]])).logits
    torch.testing.assert_close(after_another[:, 3:], alone)


def test_padding_on_either_side_changes_nothing():
    model = network()
    alone = model(torch.tensor([[5, 9, 4]])).logits
    left = torch.tensor([[PAD, PAD, 5, 9, 4]])
    padded = model(left, attention_mask=(left != PAD).long()).logits
    torch.testing.assert_close(padded[:, 2:], alone)
    labels = torch.tensor([[5, 9, 4, -100]])
    loss = model(torch.tensor([[5, 9, 4, PAD]]), labels=labels).loss
    torch.testing.assert_close(loss, model(labels[:, :3], labels=labels[:, :3]).loss)


def test_the_loss_is_the_mean_cross_entropy_of_the_next_tokens():
    model = network()
    ids = torch.tensor([[BEGIN, 5, 9, 4]])
    outputs = model(ids, labels=ids)
    logs = outputs.logits[0].log_softmax(-1)
    expected = -(logs[0, 5] + logs[1, 9] + logs[2, 4]) / 3
    torch.testing.assert_close(outputs.loss, expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}])
def test_generate_with_the_carried_state_writes_what_it_writes_without(cell, options):
    model = network(cell)
    prompts = torch.tensor([[BEGIN, 5, 9, 4], [PAD, BEGIN, 6, 8]])
    options = {**options, "max_new_tokens": 8, "do_sample": False, "suppress_tokens": [0, 1, 2]}
    options["attention_mask"] = (prompts != PAD).long()
    carried = model.generate(prompts, **options)
    assert torch.equal(carried, model.generate(prompts, use_cache=False, **options))
    alone = model.generate(prompts[1:, 1:], **options | {"attention_mask": torch.ones(1, 3)})
    length = alone.shape[1]
    assert torch.equal(carried[1:, 1 : 1 + length], alone)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", SHAPES)
def test_saved_and_loaded_with_the_parameters_of_the_closed_form(cell, options, tmp_path):
    model = network(cell, **options)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.tensor([[BEGIN, 5, 9, 4]])
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    counted = sum(weight.numel() for weight in loaded.parameters())
    assert counted == sum(part.size for part in closed_form(model.config))


def test_the_courses_formula_of_the_parameters():
    words, d, width = 13, 5, 7
    parts = closed_form(network("sigmoid").config)
    total = words * d + d * width + width**2 + width * words + width + words
    assert sum(part.size for part in parts) == total


def test_tied_weights_stay_tied_in_training():
    model = network(tie_word_embeddings=True, embedding_dim=7)
    assert model.output.weight is model.embeddings.weight
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout", "word_dropout"])
def test_each_dropout_changes_training_and_not_evaluation(name):
    plain, dropped = network(), network(**{name: 0.5})
    ids = torch.tensor([[BEGIN, 5, 9, 4, 6, 7]])
    assert torch.equal(dropped(ids).logits, plain(ids).logits)
    torch.manual_seed(0)
    assert not torch.equal(dropped.train()(ids).logits, plain(ids).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "rnn"}, "sigmoid, tanh, gru, lstm"),
        ({"hidden_size": 0}, "1 or more"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_a_config_that_makes_no_network_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RecurrentLMConfig(**options)
