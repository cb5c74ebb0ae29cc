"""Two tasks of memory over bits, networks that learn them, and what one unit can and cannot do.

*Latch*: has a 1 been seen? *Parity*: is the number of 1s seen so far odd? Both are answered at
every position. CS224n's "Grooving with GRUs" (assignment 3, 2017) asks for weights by hand; here
they are, and why some cannot exist.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

TASKS = ("latch", "parity")
CELLS: dict[str, type[nn.RNN] | type[nn.GRU]] = {"rnn": nn.RNN, "gru": nn.GRU}


def answers(task: str, bits: Tensor) -> Tensor:
    """The right answer at each position, (B, T) of 0.0 and 1.0, for bits of the same shape."""
    seen = bits.cumsum(dim=1)
    return (seen > 0).float() if task == "latch" else seen % 2


def draw(
    task: str, batch_size: int, length: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws (B, T) bits with their answers.

    The share of 1s keeps both answers frequent at every length: 1/T for latch, so that 37 % of the
    sequences hold no 1 and the first 1 may be anywhere; 1/2 for parity.
    """
    share = 1 / length if task == "latch" else 0.5
    bits = (torch.rand(batch_size, length, generator=generator) < share).float()
    return bits, answers(task, bits)


def all_bits(length: int) -> Tensor:
    """Every sequence of a length, (2^T, T)."""
    sequences = list(product((0.0, 1.0), repeat=length))
    return torch.tensor(sequences).reshape(2**length, length)


class BitReaderConfig(PretrainedConfig):
    """The cell of a `BitReader`, `rnn` or `gru`, and its number of units."""

    model_type = "bit_reader"

    def __init__(self, cell: str = "rnn", hidden_size: int = 16, **more: Any):
        super().__init__(**more)
        self.cell = cell
        self.hidden_size = hidden_size


class BitReader(PreTrainedModel):
    """h_t = cell(x_t, h_{t-1}), with h_0 = 0; logit_t = w·h_t + b.

    The loss is binary cross-entropy over all positions. `rnn`: h_t = tanh(W x_t + U h_{t-1} + b).
    `gru`: Cho et al. 2014, as `torch.nn.GRU` writes it.
    """

    config_class = BitReaderConfig
    config: BitReaderConfig

    def __init__(self, config: BitReaderConfig):
        super().__init__(config)
        self.cell = CELLS[config.cell](1, config.hidden_size, batch_first=True)
        self.head = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keeps torch's own initialisation: it is the one under study."""

    def forward(self, bits: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """Logits (B, T) of bits (B, T), and the loss where labels (B, T) are given."""
        hidden, _ = self.cell(bits[..., None])  # (B, T) -> (B, T, 1) -> (B, T, H)
        logits = self.head(hidden)[..., 0]  # (B, T, H) -> (B, T)
        if labels is None:
            return ModelOutput(loss=None, logits=logits)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return ModelOutput(loss=loss, logits=logits)


GateWeights = tuple[float, float, float]  # of the input, of the state, and the bias


def _one_unit_gru(*, update: GateWeights, candidate: GateWeights) -> nn.GRU:
    """A GRU of one unit with the reset gate open."""
    gru = nn.GRU(1, 1, batch_first=True)
    reset = (0.0, 0.0, 100.0)  # sigmoid(100) is 1 in float32
    weights = torch.tensor([reset, update, candidate])  # rows in torch's order
    of_input, of_state, bias = weights[:, :1], weights[:, 1:2], weights[:, 2]
    values = (of_input, of_state, bias, torch.zeros(3))
    with torch.no_grad():
        for parameter, value in zip(gru.parameters(), values, strict=True):
            parameter.copy_(value)
    return gru


def latch_gru(a: float = 10.0, c: float = 3.0) -> nn.GRU:
    """One GRU unit that latches: keep on 0, write 1 on 1; its answer is h > 1/2.

    With z_t = σ(a - 2a x_t) and h̃_t = tanh(c x_t), h_t = z_t h_{t-1} + (1 - z_t) h̃_t:

    - x = 0: h_t = σ(a) h_{t-1}, as tanh(0) = 0: the memory leaks by σ(a) a step and nothing else
      comes in;
    - x = 1: h_t = σ(-a) h_{t-1} + σ(a) tanh(c) >= σ(a) tanh(c).

    Before the first 1 the state is exactly 0, and n zeros after a 1 it is at least
    σ(a)^(n+1) tanh(c). So the weights are right as long as that is over 1/2: on `latch_holds_for`
    positions.
    """
    return _one_unit_gru(update=(-2 * a, 0.0, a), candidate=(c, 0.0, 0.0))


def latch_holds_for(a: float = 10.0, c: float = 3.0) -> int:
    """The greatest length T with σ(a)^T tanh(c) > 1/2, on which `latch_gru` is surely right."""
    keep = 1 / (1 + math.exp(-a))
    steps = math.log(0.5 / math.tanh(c)) / math.log(keep)
    return max(0, math.ceil(steps) - 1)


def parity_gru(a: float = 10.0, c: float = 3.0) -> nn.GRU:
    """One GRU unit that counts modulo 2: keep on 0, flip on 1; its answer is h > 1/2.

    z_t = σ(a - 2a x_t) as for latch, and h̃_t = tanh(c x_t - c h_{t-1}): on a 1 the state h near 0
    becomes tanh(c), near 1, and one near tanh(c) becomes tanh(c (1 - tanh(c))), near 0. A GRU can
    because its gate multiplies the state by a function of the input, which no weighted sum does
    (`threshold_functions`).
    """
    return _one_unit_gru(update=(-2 * a, 0.0, a), candidate=(c, -c, 0.0))


class ThresholdFunction(NamedTuple):
    """A Boolean function of two bits, and whether it is of the form [w x + u y + b > 0].

    Attributes:
        truth: its values at (x, y) = (0, 0), (0, 1), (1, 0), (1, 1).
        weights: (w, u, b) that compute it, or None.
        certificate: the proof that no weights do: how often each of the four conditions on
            (w, u, b) is to be added for a sum that reads 0 > 0.
    """

    truth: tuple[int, ...]
    weights: tuple[Fraction, ...] | None
    certificate: tuple[int, ...] | None


POINTS = tuple(product((0, 1), repeat=2))


def threshold_functions() -> list[ThresholdFunction]:
    """Decides all 16 Boolean functions of two bits in exact arithmetic: 14 are threshold functions.

    The planes b = 0, w + b = 0, u + b = 0 and w + u + b = 0 cut the space of the weights (w, u, b)
    into cells in which the unit computes one function each; a plane itself belongs to the side
    where its sum is not over 0. A function gets weights from its cell, or else a Farkas certificate
    that the cell is empty: multiples >= 0 of its four conditions, one of them a strict inequality
    with a multiple > 0, that add up to 0 > 0 for every (w, u, b).
    """
    grid = [Fraction(step, 2) for step in range(-3, 4)]
    by_size = sorted(product(grid, repeat=3), key=lambda weights: sum(map(abs, weights)))
    witnesses: dict[tuple[int, ...], tuple[Fraction, ...]] = {}
    for w, u, b in by_size:
        truth = tuple(int(w * x + u * y + b > 0) for x, y in POINTS)
        witnesses.setdefault(truth, (w, u, b))
    functions = []
    for truth in product((0, 1), repeat=4):
        weights = witnesses.get(truth)
        certificate = _certificate(truth) if weights is None else None
        functions.append(ThresholdFunction(truth, weights, certificate))
    return functions


def _certificate(truth: tuple[int, ...]) -> tuple[int, ...] | None:
    """Multiples of the conditions ±(w x + u y + b) that add up to 0, a strict one among them."""
    for multiples in product((0, 1, 2), repeat=4):
        signed = [times if value else -times for times, value in zip(multiples, truth, strict=True)]
        sums = [0, 0, 0]  # the factors of w, u and b
        for sign, (x, y) in zip(signed, POINTS, strict=True):
            sums = [sums[0] + sign * x, sums[1] + sign * y, sums[2] + sign]
        has_strict = any(sign > 0 for sign in signed)  # [… > 0] where the function is 1
        if not any(sums) and has_strict:
            return multiples
    return None


def two_unit_parity(bits: Tensor) -> Tensor:
    """Parity by two threshold units, what one cannot do: (B, T) bits to (B, T) answers.

    s = a_{t-1} - b_{t-1} is the parity so far; a_t = [x_t + s > 1/2] is x OR s,
    b_t = [x_t + s > 3/2] is x AND s, and a_t - b_t is x XOR s.
    """
    first, second = torch.zeros(len(bits)), torch.zeros(len(bits))  # (B,)
    parities = []
    for position in range(bits.shape[1]):
        total = bits[:, position] + first - second
        first, second = (total > 0.5).float(), (total > 1.5).float()
        parities.append(first - second)
    return torch.stack(parities, dim=1)  # (B, T)
