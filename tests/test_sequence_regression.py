"""The networks: worked by hand, against torch's RNN, and blind to padding in state, loss and gradient."""

import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from pipelines.networks.sequence_regression import (
    ALIGNMENTS,
    NETWORKS,
    SequenceRegressionConfig,
    SequenceRegressor,
)

KINDS = [("shared", "start")]
KINDS += [(network, align) for network in NETWORKS[1:] for align in ALIGNMENTS]


def new(network="shared", align="start", **options):
    torch.manual_seed(0)
    scales = {"input_mean": [0.5, -1.0, 2.0], "input_scale": [2.0, 0.5, 1.0]}
    scales |= {"target_mean": -3.0, "target_scale": 4.0, "hidden_size": 5, "steps": 4}
    options = scales | {"network": network, "align": align, "input_size": 3} | options
    return SequenceRegressor(SequenceRegressionConfig(**options)).double()


def loss_and_gradient(model, features, mask, labels):
    model.zero_grad()
    output = model(features, mask, labels)
    output.loss.backward()
    gradient = torch.cat([weights.grad.flatten() for weights in model.parameters()])
    return output.logits.detach(), output.loss.detach(), gradient


def test_a_shared_network_worked_by_hand():
    options = {"input_size": 1, "hidden_size": 1, "target_mean": 1.0, "target_scale": 2.0}
    model = new(**options, input_mean=[1.0], input_scale=[2.0])
    with torch.no_grad():
        for weights, value in zip((model.W, model.U, model.b), (0.5, -2.0, 0.25), strict=True):
            weights.fill_(value)
        model.output.weight.fill_(3.0)
        model.output.bias.fill_(0.125)
    first = math.tanh(0.5 * 1.0 + 0.25)  # (3 - 1) / 2 = 1
    second = math.tanh(0.5 * -0.5 - 2.0 * first + 0.25)  # (0 - 1) / 2 = -0.5
    wanted = (3.0 * second + 0.125) * 2.0 + 1.0
    output = model(torch.tensor([[[3.0], [0.0]]]).double(), labels=torch.tensor([2.0]))
    assert output.logits.item() == pytest.approx(wanted)
    assert output.loss.item() == pytest.approx(((wanted - 2.0) / 2.0) ** 2)


def test_a_shared_network_is_torchs_rnn():
    model = new()
    peer = torch.nn.RNN(3, 5, batch_first=True).double()
    with torch.no_grad():
        peer.weight_ih_l0.copy_(model.W[0].T)
        peer.weight_hh_l0.copy_(model.U[0].T)
        peer.bias_ih_l0.copy_(model.b[0])
        peer.bias_hh_l0.zero_()
    features, lengths = torch.randn(6, 7, 3).double(), torch.tensor([7, 1, 3, 6, 2, 5])
    mask = torch.arange(7) < lengths[:, None]
    mean, scale = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([2.0, 0.5, 1.0])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        (features - mean) / scale, lengths, batch_first=True, enforce_sorted=False
    )
    state = peer(packed)[1][0]  # (B, H)
    torch.testing.assert_close(model(features, mask).logits, model.output(state) * 4.0 - 3.0)


@pytest.mark.parametrize(("network", "align"), KINDS)
def test_padding_changes_neither_prediction_nor_loss_nor_gradient(network, align):
    model = new(network, align)
    lengths, labels = [1, 2, 4, 6, 3], torch.randn(5).double()
    sequences = [torch.randn(length, 3).double() for length in lengths]
    rows = [
        loss_and_gradient(model, one[None], None, label[None])
        for one, label in zip(sequences, labels, strict=True)
    ]
    wanted = [torch.stack(part).squeeze() for part in zip(*rows, strict=True)]
    for width, garbage in ((6, 0.0), (9, float("nan")), (20, float("inf"))):
        features, mask = torch.full((5, width, 3), garbage).double(), torch.zeros(5, width)
        for row, steps in enumerate(sequences):
            start = (width - len(steps)) * row // 4  # behind, before, and on both sides
            features[row, start : start + len(steps)] = steps
            mask[row, start : start + len(steps)] = 1
        predictions, loss, gradient = loss_and_gradient(model, features, mask, labels)
        torch.testing.assert_close(predictions[:, 0], wanted[0])
        torch.testing.assert_close(loss, wanted[1].mean())
        torch.testing.assert_close(gradient, wanted[2].mean(dim=0))


def test_without_the_mask_padding_does_change_them():
    model, features = new("padded"), torch.zeros(1, 4, 3).double()
    features[0, :2] = torch.randn(2, 3)
    mask = torch.tensor([[1, 1, 0, 0]])
    assert model(features, mask).logits.item() != pytest.approx(model(features).logits.item())


@pytest.mark.parametrize(
    ("network", "align", "read"),
    [
        ("shared", "start", [0, 1, 2, 3, 4, 5]),
        ("truncated", "start", [0, 1, 2]),
        ("truncated", "end", [3, 4, 5]),
        ("padded", "start", [0, 1, 2]),
        ("padded", "end", [3, 4, 5]),
    ],
)
def test_which_steps_are_read(network, align, read):
    model = new(network, align, steps=3)
    features = torch.randn(1, 6, 3).double().requires_grad_()
    model(features).logits.sum().backward()
    assert features.grad[0].abs().sum(dim=1).nonzero()[:, 0].tolist() == read


@pytest.mark.parametrize(("align", "used"), [("start", [0, 1]), ("end", [2, 3])])
def test_which_weights_a_short_sequence_meets(align, used):
    model = new("padded", align)
    model(torch.randn(1, 2, 3).double()).logits.sum().backward()
    assert model.W.grad.abs().sum(dim=(1, 2)).nonzero()[:, 0].tolist() == used


@pytest.mark.parametrize("network", NETWORKS)
def test_the_number_of_parameters(network):
    model, inputs, hidden = new(network), 3, 5
    sets = 1 if network == "shared" else 4
    wanted = sets * (inputs * hidden + hidden**2 + hidden) + hidden + 1
    assert sum(weights.numel() for weights in model.parameters()) == wanted


def test_it_is_saved_and_loaded_by_the_library(tmp_path):
    model = new("truncated", "end").float()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    features = torch.randn(2, 6, 3)
    torch.testing.assert_close(loaded(features).logits, model.eval()(features).logits)
    assert loaded.config.align == "end"


def test_sequences_without_a_step_are_the_state_at_rest():
    model = new("padded").eval()
    wanted = model.output.bias * 4.0 - 3.0
    torch.testing.assert_close(model(torch.zeros(2, 0, 3).double()).logits[0], wanted)


@pytest.mark.parametrize(
    "options",
    [{"network": "lstm"}, {"align": "middle"}, {"hidden_size": 0}, {"input_mean": [1.0]}],
)
def test_options_that_do_not_fit(options):
    with pytest.raises(ValueError, match=r"wanted one of|1 or more|need 3 numbers"):
        new(**options)
