"""Initial weights: the variance of each scheme, gate by gate; what stays as it is."""

import math

import pytest
import torch
from torch import nn

from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.initialization import INITIALIZATIONS, SCHEMES, initialize
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger
from pipelines.networks.text_classifier import TextClassifier, TextClassifierConfig

TAGS = {0: "O", 1: "B-X", 2: "I-X"}
D, H = 120, 90
# The standard deviation of a matrix of `out` x `inputs` weights.
DEVIATIONS = {
    "xavier_uniform": lambda out, inputs: math.sqrt(2 / (out + inputs)),
    "xavier_normal": lambda out, inputs: math.sqrt(2 / (out + inputs)),
    "kaiming_uniform": lambda out, inputs: math.sqrt(2 / inputs),
    "kaiming_normal": lambda out, inputs: math.sqrt(2 / inputs),
    "normal": lambda out, inputs: 0.02,
}


def recurrent(cell, **options):
    options = {"vocab_size": 9, "embedding_dim": D, "hidden_size": H, "id2label": TAGS} | options
    torch.manual_seed(0)
    return RecurrentTagger(RecurrentConfig(cell=cell, **options))


@pytest.mark.parametrize("library", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("scheme", DEVIATIONS)
def test_each_gate_has_the_deviation_of_its_own_sizes(scheme, cell, library):
    model = recurrent(cell, library_cell=library)
    initialize(model, scheme)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    matrices = {
        tuple(weight.shape): weight
        for name, weight in model.layers.named_parameters()
        if weight.ndim == 2
    }
    for inputs in (D, H):
        for gate in matrices[gates * H, inputs].chunk(gates):
            expected = DEVIATIONS[scheme](H, inputs)
            assert float(gate.detach().std()) == pytest.approx(expected, rel=0.05)
    assert all(
        not bias.any()
        for name, bias in model.named_parameters()
        if bias.ndim == 1 and not name.endswith(".a")
    )


def test_orthogonal_states_keep_their_length():
    model = recurrent("gru")
    initialize(model, "orthogonal")
    for gate in model.layers[0][0].U.weight.detach().chunk(3):
        assert torch.allclose(gate @ gate.T, torch.eye(H), atol=1e-5)


@pytest.mark.parametrize("scheme", INITIALIZATIONS)
def test_word_vectors_stay_and_default_changes_nothing(scheme):
    for model in (
        FeedforwardTagger(FeedforwardConfig(vocab_size=9, hidden_sizes=[4], id2label=TAGS)),
        TextClassifier(TextClassifierConfig(network="cnn", vocab_size=9, hidden_size=4)),
        TextClassifier(TextClassifierConfig(network="lstm", vocab_size=9, hidden_size=4)),
    ):
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        initialize(model, scheme)
        changed = {
            name
            for name, weight in model.named_parameters()
            if not torch.equal(weight, before[name])
        }
        assert "embeddings.words.weight" not in changed
        matrices = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        wanted = set() if scheme == "default" else {f"{name}.weight" for name in matrices}
        assert wanted <= changed
        assert bool(changed) == (scheme != "default")


def test_every_scheme_is_an_option():
    from conftest import load_recipe

    for recipe in ("train_tagger", "train_text_classifier"):
        help_text = (
            load_recipe(recipe).RecipeArguments.__dataclass_fields__["init"].metadata["help"]
        )
        assert all(scheme in help_text for scheme in SCHEMES)
