"""Written questions about padding and memory: masks, distance, units that latch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.examples import JsonObject
from pipelines.networks.labels import IGNORED
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger
from pipelines.studies.latch_and_parity import all_bits, answers, latch_gru, latch_holds_for

TAGS = {0: "O", 1: "B-X", 2: "I-X"}
DISTANCES = tuple(2**power for power in range(13))  # 1 to 4,096 tokens
CELLS: dict[str, type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]] = {
    "rnn": nn.RNN,
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


@dataclass(frozen=True, slots=True)
class Masking:
    """A batch of sentences of two lengths.

    Attributes:
        kind: what is masked.
        loss: mean over the words, or over all positions where padding counts.
        gradient: its norm over all parameters.
        distance: norm of the difference from the gradient without padding, over the latter's norm.
    """

    kind: str
    loss: float
    gradient: float
    distance: float


def masking(lengths: Sequence[int] = (4, 12, 30)) -> list[Masking]:
    """Loss and gradient of a bidirectional RNN, with padding masked or not.

    Args:
        lengths: words of each sentence; all are padded to the longest.
    """
    torch.manual_seed(0)
    config = RecurrentConfig(
        vocab_size=50, embedding_dim=16, hidden_size=24, bidirectional=True, id2label=TAGS
    )
    model = RecurrentTagger(config).double()
    rows = [torch.randint(2, 50, (length,)) for length in lengths]
    tags = [torch.randint(0, 3, (length,)) for length in lengths]
    words = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (B, T), padding is 0
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    labels = nn.utils.rnn.pad_sequence(tags, batch_first=True, padding_value=IGNORED)
    as_o = labels.masked_fill(labels == IGNORED, 0)
    total = sum(lengths)
    one_by_one: list[JsonObject] = [
        {"input_ids": row[None], "labels": tag[None], "num_items_in_batch": total}
        for row, tag in zip(rows, tags, strict=True)
    ]
    masked = {"input_ids": words, "labels": labels, "attention_mask": mask}
    batches: dict[str, list[JsonObject]] = {
        "no padding: one sentence at a time": one_by_one,
        "padding masked in state and loss": [masked],
        "masked in the loss alone": [{"input_ids": words, "labels": labels}],
        "masked nowhere: padding is O": [{"input_ids": words, "labels": as_o}],
    }
    results: list[Masking] = []
    exact = None
    for kind, parts in batches.items():
        loss, gradient = _loss_and_gradient(model, parts)
        exact = gradient if exact is None else exact
        distance = float((gradient - exact).norm() / exact.norm())
        results.append(Masking(kind, loss, float(gradient.norm()), distance))
    return results


def _loss_and_gradient(model: nn.Module, parts: list[JsonObject]) -> tuple[float, Tensor]:
    """The sum of the losses of the parts, and its gradient as one vector."""
    loss = torch.stack([model(**part).loss for part in parts]).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return float(loss.detach()), torch.cat([gradient.flatten() for gradient in gradients])


def gradient_by_distance(network: str, *, hidden_size: int = 32) -> dict[int, float]:
    """How much the last output depends on an input k tokens before it, at initial weights.

    Args:
        network: `rnn`, `gru`, `lstm`, or `attention`, one head in which the last token reads all.

    Returns:
        k -> the norm of the gradient of a random projection of the last output by x_{T-k}. In
        float64, where 0 is less than 1e-308.
    """
    torch.manual_seed(0)
    longest = DISTANCES[-1] + 1
    x = torch.randn(longest, 1, hidden_size, dtype=torch.float64, requires_grad=True)  # (T, 1, H)
    if network == "attention":
        last = _attention(x[:, 0])[-1]
    else:
        layer = CELLS[network](hidden_size, hidden_size).double()
        last = layer(x)[0][-1, 0]  # (H,)
    projection = torch.randn(hidden_size, dtype=torch.float64)
    [gradient] = torch.autograd.grad(last @ projection, x)
    # Scaled, since the squares of what is under 1e-154 are 0.
    largest = gradient.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-300)  # (T, 1, 1)
    norms = largest.flatten() * (gradient / largest).flatten(1).norm(dim=1)  # (T,)
    return {distance: float(norms[-1 - distance]) for distance in DISTANCES}


def _attention(x: Tensor) -> Tensor:
    """The last token's attention over all tokens (T, H), as (1, H)."""
    width = x.shape[1]
    queries, keys, values = (nn.Linear(width, width, bias=False).double() for _ in range(3))
    scores = queries(x[-1:]) @ keys(x).T / math.sqrt(width)  # (1, T)
    return scores.softmax(dim=1) @ values(x)


@dataclass(frozen=True, slots=True)
class LatchUnit:
    """One unit that remembers whether a 1 was seen; its answer is h > 1/2.

    Attributes:
        weights: in words.
        right: of all sequences of 12 bits, how many it answers right at each position.
        zeros: its state 4,096 zeros after a 1.
        gradient: of that state by the one 100 steps before, the product of 100 slopes.
        holds_for: positions for which it is surely right; None for no limit.
    """

    name: str
    weights: str
    right: float
    zeros: float
    gradient: float
    holds_for: int | None


def latch_rnn(w: float = 20.0, u: float = 20.0, b: float = -10.0) -> Any:
    """h_t = σ(w x_t + u h_{t-1} + b) as a function of bits (B, T): states (B, T).

    Near h = 0 the sum is b without a 1, so h stays near σ(-10); with a 1, or near h = 1, it is at
    least 10, so h stays near σ(10). Both are fixed points: nothing leaks.
    """

    def states(bits: Tensor) -> Tensor:
        h = torch.zeros(len(bits), dtype=bits.dtype)
        steps = []
        for position in range(bits.shape[1]):
            h = torch.sigmoid(w * bits[:, position] + u * h + b)
            steps.append(h)
        return torch.stack(steps, dim=1)

    return states


def latch_units() -> list[LatchUnit]:
    """The RNN's unit beside the GRU's: both latch, but the gradient passes only through one."""
    gru = latch_gru().double()

    def gru_states(bits: Tensor) -> Tensor:
        return gru(bits[..., None])[0][..., 0]

    w, u, b, a = 20.0, 20.0, -10.0, 10.0
    rnn_states = latch_rnn(w, u, b)
    kept = 1 / (1 + math.exp(-10.0))  # σ(10): the RNN's state, and what the GRU keeps a step
    rnn = f"h' = σ({w:g}x + {u:g}h {b:+g})"
    of_gru = f"z = σ({a:g} {-2 * a:+g}x), h~ = tanh(3x), h' = zh + (1 - z)h~"
    return [
        _unit("RNN", rnn, rnn_states, u * kept * (1 - kept), None),
        _unit("GRU", of_gru, gru_states, kept, latch_holds_for()),
    ]


@torch.no_grad()
def _unit(name: str, weights: str, states: Any, slope: float, holds_for: int | None) -> LatchUnit:
    bits = all_bits(12).double()  # (4096, 12)
    right = ((states(bits) > 0.5).double() == answers("latch", bits)).all(dim=1)
    one_then_zeros = torch.zeros(1, 4097, dtype=torch.float64)
    one_then_zeros[0, 0] = 1
    last = float(states(one_then_zeros)[0, -1])
    return LatchUnit(name, weights, float(right.double().mean()), last, slope**100, holds_for)
