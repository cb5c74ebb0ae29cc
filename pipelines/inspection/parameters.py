"""What a network is made of: its parameters tensor by tensor, and the multiply-adds for a token."""

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

from pipelines.examples import JsonObject
from pipelines.formatting import text_table
from pipelines.networks.embeddings import LONGEST_WORD, CharacterCNN
from pipelines.networks.tagger import Tagger

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
HEAD = ("tensor", "shape", "parameters", "trainable", "multiply-adds per token")


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One tensor of parameters.

    Attributes:
        multiply_adds: for a token, of the module that holds it; only with the module's first
            tensor, else None.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool
    multiply_adds: float | None = None


@dataclass(frozen=True, slots=True)
class ParameterTable:
    """The parameters of a network and what a forward pass costs.

    Attributes:
        multiply_adds: for a token, counted by torch over all matmuls of a forward pass.
        elsewhere: those in modules without parameters of their own, inside attention for example.
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
        """All parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """The parameters that training changes."""
        return sum(row.parameters for row in self.rows if row.trainable)


def parameter_table(model: nn.Module, *, tokens: int = 32) -> ParameterTable:
    """Counts the parameters of a network, and the multiply-adds of a forward pass.

    Args:
        tokens: T, of the sentence that is counted on; it is made of T different words.
    """
    counts = _multiply_adds(model, tokens)
    rows, modules = [], set()
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        own = None if module in modules else counts.get(module, 0.0)
        modules.add(module)
        shape = tuple(parameter.shape)
        rows.append(ParameterRow(name, shape, parameter.numel(), parameter.requires_grad, own))
    # A module that holds parameters and other modules would count theirs twice.
    leaves = [name for name in modules if not any(m.startswith(f"{name}.") for m in modules)]
    elsewhere = counts[""] - sum(counts.get(module, 0.0) for module in leaves)
    return ParameterTable(rows, counts[""], elsewhere, tokens, closed_form(model))


def _multiply_adds(model: nn.Module, tokens: int) -> dict[str, float]:
    """Multiply-adds for a token, by the name of the module; "" is the whole network."""
    size = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    inputs: JsonObject = {"input_ids": torch.arange(tokens)[None] % size}  # (1, T)
    if isinstance(model, Tagger):
        words = [f"w{number}" for number in range(tokens)]
        extra = model.extra_inputs(words)
        inputs |= {name: torch.tensor([values]) for name, values in extra.items()}
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in inputs.items()}
    was_training = model.training
    # torch's counter knows neither oneDNN's LSTM nor the CPU's fused attention.
    lstm = {torch.ops.aten.mkldnn_rnn_layer: _lstm_operations}
    counter = FlopCounterMode(display=False, custom_mapping=lstm)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.eval()(**inputs)
    model.train(was_training)
    root = type(model).__name__
    counts = {"": 0.0}
    for name, operations in counter.get_flop_counts().items():
        if name != "Global":
            module = name.removeprefix(root).removeprefix(".")
            counts[module] = sum(operations.values()) / 2 / tokens
    return counts


def _lstm_operations(
    inputs: Sequence[int], w: Sequence[int], u: Sequence[int], *_: object, **__: object
) -> int:
    """Operations of one layer of oneDNN's LSTM.

    Args:
        inputs, w, u: the shapes (T, B, D), (4H, D) and (4H, H).
    """
    return 2 * inputs[0] * inputs[1] * (math.prod(w) + math.prod(u))


def closed_form(model: nn.Module) -> tuple[str, int] | None:
    """Multiply-adds for a token, from the network's formula (CS224n, assignments 2 and 3).

    Returns:
        The formula with its numbers, and its value; None for a network of a library.
    """
    config: Any = model.config
    if config.model_type == "feedforward_tagger":
        formula, value = _feedforward_form(model)
    elif config.model_type == "recurrent_tagger":
        formula, value = _recurrent_form(model)
    else:
        return None
    characters: Any = model.embeddings.characters  # type: ignore[union-attr]
    if isinstance(characters, CharacterCNN):
        convolution = characters.convolution
        [kernel], channels = convolution.kernel_size, convolution.in_channels
        sizes = (LONGEST_WORD, kernel, channels, convolution.out_channels)
        value += math.prod(sizes)
        product = "·".join(map(str, sizes))
        formula += f"; and {product} of the character CNN for each different word"
    return formula, value


def _feedforward_form(model: Any) -> tuple[str, int]:
    config = model.config
    D, C, w = model.input_dim, config.num_labels, config.window
    layers = list(pairwise([(2 * w + 1) * D, *config.hidden_sizes, C]))
    value = sum(a * b for a, b in layers)
    if len(config.hidden_sizes) == 1:
        [H] = config.hidden_sizes
        return f"H·(C + (2w+1)·D), H = {H}, C = {C}, w = {w}, D = {D}", value
    products = " + ".join(f"{a}·{b}" for a, b in layers)
    return f"{products}, D = {D}, C = {C}, w = {w}", value


def _recurrent_form(model: Any) -> tuple[str, int]:
    config = model.config
    D, H, C = model.input_dim, config.hidden_size, config.num_labels
    w = config.window
    gates, directions = GATES[config.cell], 2 if config.bidirectional else 1
    inputs = [(2 * w + 1) * D] + [directions * H] * (config.num_layers - 1)
    cells = sum(gates * H * (H + size) for size in inputs)
    value = directions * (cells + H * C)
    numbers = f"H = {H}, D = {D}, C = {C}"
    width = "D"
    if w:
        width, numbers = "(2w+1)·D", f"{numbers}, w = {w}"
    if (gates, directions, config.num_layers) == (1, 1, 1):
        return f"H·(H + {width} + C), {numbers}", value
    names = [width] + [f"{directions}H"] * (config.num_layers - 1)
    layers = " + ".join(f"{gates}·H·(H + {name})" for name in names)
    return f"{directions}·({layers} + H·C), {numbers}", value


def table_as_text(table: ParameterTable) -> str:
    """One line a tensor and the sums, for a terminal."""
    rows = [_cells(row) for row in table.rows]
    if round(table.elsewhere):
        name = f"matmuls without parameters, at {table.tokens} tokens"
        rows.append([name, "", "", "", f"{table.elsewhere:,.0f}"])
    sums = [table.parameters, table.trainable, round(table.multiply_adds)]
    rows.append(["total", "", *(f"{number:,}" for number in sums)])
    lines = text_table(HEAD, rows)
    if table.closed_form:
        formula, value = table.closed_form
        counted = f"counted: {table.multiply_adds:,.0f}"
        agrees = "as counted" if value == round(table.multiply_adds) else counted
        multiply_adds = f"closed form for T tokens: T·{value:,} multiply-adds"
        lines += ["", f"{multiply_adds} ({agrees}): {formula}"]
    return "\n".join(lines)


def _cells(row: ParameterRow) -> list[str]:
    shape = "×".join(f"{size:,}" for size in row.shape)
    trainable = "yes" if row.trainable else "no"
    multiply_adds = "" if row.multiply_adds is None else f"{row.multiply_adds:,.0f}"
    return [row.name, shape, f"{row.parameters:,}", trainable, multiply_adds]
