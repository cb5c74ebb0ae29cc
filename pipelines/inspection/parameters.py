"""What a network is made of: its parameters tensor by tensor, and the multiply-adds of a token, counted and told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipelines.networks.embeddings import LONGEST_WORD, CharacterCNN

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One tensor of parameters.

    Attributes:
        multiply_adds: for a token, of the module that holds it; None but for the module's first tensor.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool
    multiply_adds: float | None = None


@dataclass(frozen=True, slots=True)
class ParameterTable:
    """Attributes:
        multiply_adds: for a token, counted by torch over all matrix products of a forward pass.
        elsewhere: those in modules without parameters of their own, such as the products inside attention.
        tokens: of the sentence that was counted on; only attention depends on it.
        closed_form: the formula and its value, for a network that has one.
    """

    rows: list[ParameterRow]
    multiply_adds: float
    elsewhere: float
    tokens: int
    closed_form: tuple[str, int] | None

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        return sum(row.parameters for row in self.rows if row.trainable)


def parameter_table(model: nn.Module, *, tokens: int = 32) -> ParameterTable:
    """Counts the parameters of a network, and the multiply-adds of a forward pass over one sentence.

    Args:
        tokens: T, of the sentence; it is made of T different words.
    """
    counts = _multiply_adds(model, tokens)
    rows, shown = [], set()
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        own = None
        if module not in shown:
            shown.add(module)
            own = counts.get(module, 0.0)
        rows.append(ParameterRow(name, tuple(parameter.shape), parameter.numel(), parameter.requires_grad, own))
    total = counts[""]
    # A module that holds parameters and other modules would count theirs twice.
    inside = {module for module in shown if any(other != module and other.startswith(f"{module}.") for other in shown)}
    return ParameterTable(rows, total, total - sum(counts.get(module, 0.0) for module in shown - inside), tokens,
                          closed_form(model))


def _multiply_adds(model: nn.Module, tokens: int) -> dict[str, float]:
    """Multiply-adds for a token, by the name of the module; "" is the whole network."""
    size = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    given: dict[str, Any] = {"input_ids": torch.arange(tokens)[None] % size}
    spelling = getattr(getattr(model, "embeddings", None), "characters_of", None)
    if spelling is not None and model.embeddings.characters is not None:  # type: ignore[union-attr]
        given["characters"] = torch.tensor([spelling([f"w{number}" for number in range(tokens)])])
    device = next(model.parameters()).device
    was_training = model.training
    # Of oneDNN's LSTM and of the CPU's fused attention torch's counter knows nothing.
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _lstm_operations})
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.eval()(**{name: value.to(device) for name, value in given.items()})
    model.train(was_training)
    root = type(model).__name__
    return {"": 0.0} | {name.removeprefix(root).removeprefix("."): sum(products.values()) / 2 / tokens
                        for name, products in counter.get_flop_counts().items() if name != "Global"}


def _lstm_operations(inputs: Sequence[int], w: Sequence[int], u: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of one layer of oneDNN's LSTM, from the shapes of (T, B, D) inputs, (4H, D) W and (4H, H) U."""
    return 2 * inputs[0] * inputs[1] * (math.prod(w) + math.prod(u))


def closed_form(model: nn.Module) -> tuple[str, int] | None:
    """Multiply-adds for a token, from the formula of the network (CS224n, assignment 2 and 3, where T counts tokens).

    Returns:
        The formula with its numbers, and its value; None for a network that is none of ours.
    """
    config: Any = model.config
    if config.model_type not in ("feedforward_tagger", "recurrent_tagger"):
        return None
    D, C = model.embeddings.dim, config.num_labels  # type: ignore[union-attr]
    if config.model_type == "feedforward_tagger":
        wide = 2 * config.window + 1
        widths = [wide * D, *config.hidden_sizes, C]
        value = sum(a * b for a, b in pairwise(widths))
        if len(config.hidden_sizes) == 1:
            formula = f"H·(C + (2w+1)·D), H = {config.hidden_sizes[0]}, C = {C}, w = {config.window}, D = {D}"
        else:
            formula = " + ".join(f"{a}·{b}" for a, b in pairwise(widths)) + f", D = {D}, C = {C}, w = {config.window}"
    else:
        H, gates, directions = config.hidden_size, GATES[config.cell], 2 if config.bidirectional else 1
        inputs = [D] + [directions * H] * (config.num_layers - 1)
        value = directions * (sum(gates * H * (H + wide) for wide in inputs) + H * C)
        numbers = f"H = {H}, D = {D}, C = {C}"
        if (gates, directions, config.num_layers) == (1, 1, 1):
            formula = f"H·(H + D + C), {numbers}"
        else:
            layers = " + ".join(f"{gates}·H·(H + {'D' if number == 0 else f'{directions}H'})"
                                for number in range(config.num_layers))
            formula = f"{directions}·({layers} + H·C), {numbers}"
    characters: Any = model.embeddings.characters  # type: ignore[union-attr]
    if isinstance(characters, CharacterCNN):
        sizes = (LONGEST_WORD, characters.convolution.kernel_size[0], characters.convolution.in_channels,
                 characters.convolution.out_channels)
        value += math.prod(sizes)
        formula += f"; and {'·'.join(map(str, sizes))} of the character CNN for each different word"
    return formula, value


def table_as_text(table: ParameterTable) -> str:
    """One line a tensor and the sums, for a terminal."""
    rows: list[Sequence[str]] = [("tensor", "shape", "parameters", "trainable", "multiply-adds per token")]
    rows += [(row.name, "×".join(f"{size:,}" for size in row.shape), f"{row.parameters:,}",
              "yes" if row.trainable else "no", "" if row.multiply_adds is None else f"{row.multiply_adds:,.0f}")
             for row in table.rows]
    if round(table.elsewhere):
        rows.append((f"products without parameters, at {table.tokens} tokens", "", "", "", f"{table.elsewhere:,.0f}"))
    rows.append(("total", "", f"{table.parameters:,}", f"{table.trainable:,}", f"{table.multiply_adds:,.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                       enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
    if table.closed_form:
        formula, value = table.closed_form
        agrees = "as counted" if value == round(table.multiply_adds) else f"counted: {table.multiply_adds:,.0f}"
        lines += ["", f"closed form for T tokens: T·{value:,} multiply-adds ({agrees}): {formula}"]
    return "\n".join(lines)
