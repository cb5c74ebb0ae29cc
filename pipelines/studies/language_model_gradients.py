"""The gradients of a recurrent language model derived by hand, beside autograd and differences.

    h_t = sigmoid(h_{t-1} H + e_t I + b1),  ŷ_t = softmax(h_t U + b2),  J = -Σ_t log ŷ_t[x_{t+1}]

With row vectors, the one-hot y_t of the next word, and ∘ for products of entries:

    δ_t = ŷ_t - y_t                                          of h_t U + b2
    γ_t = (δ_t Uᵀ + γ_{t+1} Hᵀ) ∘ h_t ∘ (1 - h_t)            of h_{t-1} H + e_t I + b1; γ_{T+1} = 0
    ∂J/∂U = Σ h_tᵀ δ_t,  ∂J/∂b2 = Σ δ_t,  ∂J/∂I = Σ e_tᵀ γ_t,  ∂J/∂H = Σ h_{t-1}ᵀ γ_t,
    ∂J/∂b1 = Σ γ_t,  ∂J/∂h_0 = γ_1 Hᵀ,  and γ_t Iᵀ is added to the row of L of each word x_t

At one step the sums have one term. CS224d 2016, problem set 2; Rumelhart et al. 1986 for the
unrolling through time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipelines.networks.recurrent import Cell
from pipelines.networks.recurrent_lm import (
    RecurrentLanguageModel,
    RecurrentLMConfig,
    RecurrentState,
)

MARKS = 4  # ids of the vocabulary before the first word
STEP = 1e-5  # of central differences
TOLERANCE = 1e-6
# Name -> its formula at one step.
FORMULAS = {
    "U": "h(t)ᵀ δ",
    "b2": "δ = ŷ - y",
    "I": "e(t)ᵀ γ",
    "H": "h(t-1)ᵀ γ",
    "b1": "γ = δ Uᵀ ∘ h(t) ∘ (1 - h(t))",
    "h(t-1)": "γ Hᵀ",
    "L": "γ Iᵀ, at the row of x(t)",
}


class Case(NamedTuple):
    """A network and what it reads, float64.

    Attributes:
        network: cell `sigmoid`, one layer, separate output weights.
        words: (T + 1,), of which the last T are predicted.
        before: (D,), the state before the first word.
    """

    network: RecurrentLanguageModel
    words: Tensor
    before: Tensor


class Weights(NamedTuple):
    """The weights by their names in the formulas, with h(t-1), the state before the first word."""

    L: Tensor  # (|V|, d)
    I: Tensor  # (d, D)  # noqa: E741
    H: Tensor  # (D, D)
    b1: Tensor  # (D,)
    U: Tensor  # (D, |V|)
    b2: Tensor  # (|V|,)
    before: Tensor  # (D,)


class Check(NamedTuple):
    """One gradient and how far the other two ways to compute it are from it.

    Attributes:
        name: of the weight.
        shape: of the gradient.
        autograd: relative error against autograd on the network.
        differences: relative error against central differences of the loss.
    """

    name: str
    shape: tuple[int, ...]
    autograd: float
    differences: float

    @property
    def agrees(self) -> bool:
        """Whether both errors are below `TOLERANCE`; NaN is not."""
        return self.autograd < TOLERANCE and self.differences < TOLERANCE


def draw_case(
    *, vocab_size: int, embedding_dim: int, hidden_size: int, tokens: int, seed: int
) -> Case:
    """A network with random weights, and a random text.

    Args:
        vocab_size: |V|, the four marks among them.
        tokens: T, words that are predicted.
    """
    random = torch.Generator().manual_seed(seed)
    config = RecurrentLMConfig(
        cell="sigmoid",
        vocab_size=vocab_size,
        embedding_dim=embedding_dim,
        hidden_size=hidden_size,
    )
    network = RecurrentLanguageModel(config).double().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random, dtype=torch.float64) / 2)
    words = torch.randint(MARKS, vocab_size, (tokens + 1,), generator=random)
    before = torch.rand(hidden_size, generator=random, dtype=torch.float64)
    return Case(network, words, before)


def weights_of(case: Case) -> Weights:
    """The weights of the network under the names of the formulas."""
    layer = cast(Cell, case.network.layers[0])
    weights = Weights(
        L=case.network.embeddings.weight,
        I=layer.W.weight.T,
        H=layer.U.weight.T,
        b1=layer.W.bias,
        U=case.network.output.weight.T,
        b2=case.network.output.bias,
        before=case.before,
    )
    return Weights(*(weight.detach().clone() for weight in weights))


def loss(weights: Weights, words: Tensor) -> Tensor:
    """J by the formulas, in nats."""
    h, total = weights.before, weights.before.new_zeros(())
    for word, following in pairwise(words):
        h = torch.sigmoid(h @ weights.H + weights.L[word] @ weights.I + weights.b1)  # (D,)
        total = total - torch.log_softmax(h @ weights.U + weights.b2, dim=0)[following]
    return total


def gradients_by_hand(weights: Weights, words: Tensor) -> dict[str, Tensor]:
    """∂J of each weight by the formulas; the names are those of `FORMULAS`."""
    states = [weights.before]
    for word in words[:-1]:
        before = states[-1] @ weights.H + weights.L[word] @ weights.I + weights.b1
        states.append(1 / (1 + torch.exp(-before)))  # (D,)
    sums = {name: torch.zeros_like(weight) for name, weight in weights._asdict().items()}
    gamma = torch.zeros_like(weights.b1)  # of the step after the last one
    for t in range(len(words) - 1, 0, -1):
        h, h_before, e = states[t], states[t - 1], weights.L[words[t - 1]]
        scores = torch.exp(h @ weights.U + weights.b2)  # (|V|,)
        delta = scores / scores.sum()
        delta[words[t]] -= 1
        gamma = (weights.U @ delta + weights.H @ gamma) * h * (1 - h)
        sums["U"] += torch.outer(h, delta)
        sums["b2"] += delta
        sums["I"] += torch.outer(e, gamma)
        sums["H"] += torch.outer(h_before, gamma)
        sums["b1"] += gamma
        sums["L"][words[t - 1]] += weights.I @ gamma
    sums["h(t-1)"] = weights.H @ gamma
    return {name: sums[name] for name in FORMULAS}


def gradients_by_autograd(case: Case) -> dict[str, Tensor]:
    """∂J of each weight of the network itself."""
    network, words = case.network, case.words
    before = case.before.clone().requires_grad_()
    network.zero_grad()
    state = RecurrentState(before[None, None], torch.zeros_like(before)[None, None])
    logits = network(input_ids=words[None, :-1], past_key_values=state).logits[0]  # (T, |V|)
    cross_entropy(logits, words[1:], reduction="sum").backward()
    layer = cast(Cell, network.layers[0])
    return {
        "U": _gradient(network.output.weight).T,
        "b2": _gradient(network.output.bias),
        "I": _gradient(layer.W.weight).T,
        "H": _gradient(layer.U.weight).T,
        "b1": _gradient(layer.W.bias),
        "h(t-1)": _gradient(before),
        "L": _gradient(network.embeddings.weight),
    }


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad


def gradients_by_differences(weights: Weights, words: Tensor) -> dict[str, Tensor]:
    """(J(w + s) - J(w - s)) / 2s of each entry of each weight, s = `STEP`."""
    found = {}
    for name in FORMULAS:
        weight = weights.before if name == "h(t-1)" else getattr(weights, name)
        entries = weight.view(-1)  # the weight itself is changed, and restored
        gradient = torch.zeros_like(entries)
        for index, value in enumerate(entries.tolist()):
            ends = []
            for moved in (value + STEP, value - STEP):
                entries[index] = moved
                ends.append(float(loss(weights, words)))
            entries[index] = value
            gradient[index] = (ends[0] - ends[1]) / (2 * STEP)
        found[name] = gradient.view(weight.shape)
    return found


def relative_error(first: Tensor, second: Tensor) -> float:
    """‖first - second‖ / max(‖first‖, ‖second‖); 0 where both are 0."""
    norm = max(float(first.norm()), float(second.norm()))
    return float((first - second).norm()) / norm if norm else 0.0


def check_gradients(case: Case) -> list[Check]:
    """The gradients by hand against autograd and central differences."""
    weights = Weights(*(weight.contiguous() for weight in weights_of(case)))
    by_hand = gradients_by_hand(weights, case.words)
    by_autograd = gradients_by_autograd(case)
    by_differences = gradients_by_differences(weights, case.words)
    return [
        Check(
            name,
            tuple(gradient.shape),
            relative_error(gradient, by_autograd[name]),
            relative_error(gradient, by_differences[name]),
        )
        for name, gradient in by_hand.items()
    ]
