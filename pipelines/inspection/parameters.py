"""What a network is made of: its parameters tensor by tensor, and the multiply-adds for a token."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from pipelines.examples import JsonObject
from pipelines.families.token_tagger import extra_inputs
from pipelines.formatting import text_table
from pipelines.networks.embeddings import LONGEST_WORD, CharacterCNN
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
HEAD = ("tensor", "shape", "parameters", "trained", "output", "multiply-adds per token")
NUMBERED = re.compile(r"(?:.*\.)?\d+(?=\.|$)")  # up to the last number: a layer of a list


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One tensor of parameters.

    Attributes:
        layer: the module that it is counted with.
        output: shape of what its module gives, only with the module's first tensor, else empty.
        runs: how often the module ran.
        multiply_adds: for a token, of the module itself and not of those in it; only with the
            module's first tensor, else None.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool
    multiply_adds: float | None = None
    layer: str = ""
    output: tuple[int, ...] = ()
    runs: int = 1


@dataclass(frozen=True, slots=True)
class LayerSum:
    """The sums over the tensors of a layer.

    Attributes:
        output: shape of what it gives; empty where it is no module that runs.
        multiply_adds: for a token, with those of modules without parameters.
    """

    name: str
    tensors: int
    parameters: int
    trainable: int
    output: tuple[int, ...]
    multiply_adds: float


@dataclass(frozen=True, slots=True)
class ParameterTable:
    """The parameters of a network and what a forward pass costs.

    Attributes:
        multiply_adds: for a token (a step of a sequence, a whole picture), counted by torch over
            all matmuls of a forward pass.
        elsewhere: those in modules without parameters of their own, inside attention for example.
        tokens: of the sentence that was counted on; only attention depends on it.
        closed_form: the formula and its value, for a network that has one.
        layers: sums by layer, in the order of the rows.
    """

    rows: list[ParameterRow]
    multiply_adds: float
    elsewhere: float
    tokens: int
    closed_form: tuple[str, int] | None
    layers: dict[str, LayerSum]

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
        tokens: T, of the sentence that is counted on; it is made of T different words. A picture
            counts as one.
    """
    if getattr(model, "main_input_name", "") == "pixel_values":
        tokens = 1
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    counts, outputs = _forward_pass(model, tokens)
    own = _without_inner(counts)
    names = [name for name, _ in model.named_parameters()]
    rows: list[ParameterRow] = []
    modules: set[str] = set()
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        shapes = outputs.get(module, [()])
        is_first = module not in modules
        modules.add(module)
        rows.append(
            ParameterRow(
                name,
                tuple(parameter.shape),
                parameter.numel(),
                name in trained,
                own.get(module, 0.0) if is_first else None,
                layer_of(name, names),
                shapes[0] if is_first and module else (),
                len(shapes),
            )
        )
    elsewhere = counts[""] - sum(own.get(module, 0.0) for module in modules)
    layers = {layer.name: layer for layer in _layer_sums(rows, counts, outputs)}
    return ParameterTable(rows, counts[""], elsewhere, tokens, closed_form(model), layers)


def layer_of(name: str, names: Sequence[str]) -> str:
    """The layer that a tensor is counted with.

    That is the member of a list of modules that it is in; else the module around its own, such as
    the embeddings, if this holds no list itself.
    """
    module = name.rpartition(".")[0]
    numbered = NUMBERED.match(module)
    for candidate in (numbered[0] if numbered else "", module.rpartition(".")[0]):
        if candidate and not _holds_a_list(candidate, names):
            return candidate
    return module


def _holds_a_list(module: str, names: Sequence[str]) -> bool:
    start = f"{module}."
    inside = [name.removeprefix(start) for name in names if name.startswith(start)]
    return any(NUMBERED.match(name) for name in inside)


def _by_layer(rows: Sequence[ParameterRow]) -> dict[str, list[ParameterRow]]:
    """Layer -> its rows, in the order in which layers begin."""
    by_layer: dict[str, list[ParameterRow]] = {}
    for row in rows:
        by_layer.setdefault(row.layer, []).append(row)
    return by_layer


def _layer_sums(
    rows: Sequence[ParameterRow],
    counts: Mapping[str, float],
    outputs: Mapping[str, list[tuple[int, ...]]],
) -> Iterator[LayerSum]:
    for name, tensors in _by_layer(rows).items():
        of_tensors = sum(row.multiply_adds or 0.0 for row in tensors)
        yield LayerSum(
            name,
            len(tensors),
            sum(row.parameters for row in tensors),
            sum(row.parameters for row in tensors if row.trainable),
            outputs.get(name, [()])[0] if name else (),
            counts.get(name, of_tensors) if name else of_tensors,
        )


def _without_inner(counts: Mapping[str, float]) -> dict[str, float]:
    """The multiply-adds of each module without those of the counted modules inside it."""
    own = dict(counts)
    for name, count in counts.items():
        if not name:
            continue
        around = name.rpartition(".")[0]
        while around and around not in counts:  # a list of modules does not run itself
            around = around.rpartition(".")[0]
        own[around] -= count
    return own


def _forward_pass(
    model: nn.Module, tokens: int
) -> tuple[dict[str, float], dict[str, list[tuple[int, ...]]]]:
    """Multiply-adds for a token, and the shapes that each run gave, by the name of the module.

    The name of the whole network is "".
    """
    was_training = model.training
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    # torch's counter knows neither oneDNN's LSTM nor the CPU's fused attention.
    lstm = {torch.ops.aten.mkldnn_rnn_layer: _lstm_operations}
    counter = FlopCounterMode(display=False, custom_mapping=lstm)
    outputs: dict[str, list[tuple[int, ...]]] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            keep = partial(_keep_shape, outputs, name)
            stack.callback(module.register_forward_hook(keep).remove)
        for weight in trained:  # the counter looks for the gradient of any that has one
            stack.callback(weight.requires_grad_, True)
            weight.requires_grad_(False)
        for context in (counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH)):
            stack.enter_context(context)
        model.eval()(**_inputs(model, tokens))
    model.train(was_training)
    root = type(model).__name__
    counts = {"": 0.0}
    for name, operations in counter.get_flop_counts().items():
        if name != "Global":
            module_name = name.removeprefix(root).removeprefix(".")
            counts[module_name] = sum(operations.values()) / 2 / tokens
    return counts, outputs


def _keep_shape(
    outputs: dict[str, list[tuple[int, ...]]], name: str, _: nn.Module, __: object, output: Any
) -> None:
    tensor = _first_tensor(output)
    if tensor is not None:
        outputs.setdefault(name, []).append(tuple(tensor.shape))


def _first_tensor(output: Any) -> Tensor | None:
    """The first tensor that a module gives: of a cell of torch, the states of all words."""
    while not isinstance(output, Tensor):
        values = output.values() if isinstance(output, dict) else output
        if not isinstance(output, dict | tuple | list) or not output:
            return None
        output = next(iter(values))
    return output


def _inputs(model: nn.Module, tokens: int) -> dict[str, Tensor]:
    """One text of different words, (1, T), with what else the network reads of them.

    A network on pictures gets a picture, and one on sequences T steps of its width.
    """
    config: Any = getattr(model, "config", None)
    read = getattr(model, "main_input_name", "input_ids")
    if read == "pixel_values":
        return {read: torch.zeros(1, config.num_channels, config.image_size, config.image_size)}
    if read == "features":
        return {read: torch.zeros(1, tokens, config.input_size)}
    vectors = next(module for module in model.modules() if isinstance(module, nn.Embedding))
    device = vectors.weight.device
    ids = torch.arange(tokens)[None] % vectors.num_embeddings  # (1, T)
    inputs = {"input_ids": ids.to(device)}
    words = [f"w{number}" for number in range(tokens)]
    extra = extra_inputs(model, words) if isinstance(model, PreTrainedModel) else {}
    for name, values in extra.items():
        inputs[name] = torch.tensor([values], device=device)
    return inputs


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
    config: Any = getattr(model, "config", None)
    if config is None:
        return None
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


def rnn_and_window(hidden_size: int, embedding_dim: int, window: int) -> tuple[int, int]:
    """Parameters of an RNN, and of a window model with the same words, hidden layer and tags.

    They differ by H(H - 2wD): H·H of the state against 2w·D·H of the neighbours.
    """
    shared: JsonObject = {"vocab_size": 10, "embedding_dim": embedding_dim, "num_labels": 3}
    config = FeedforwardConfig(hidden_sizes=[hidden_size], window=window, **shared)
    with torch.device("meta"):
        rnn = RecurrentTagger(RecurrentConfig(hidden_size=hidden_size, **shared))
        return rnn.num_parameters(), FeedforwardTagger(config).num_parameters()


def table_as_text(table: ParameterTable, *, layers_only: bool = False) -> str:
    """One line a tensor, the sums of each layer and of all, for a terminal."""
    rows: list[list[str]] = []
    for name, tensors in _by_layer(table.rows).items():
        layer = table.layers[name]
        if not layers_only:
            rows += [_cells(row) for row in tensors]
        if layers_only or len(tensors) > 1:
            rows.append(_layer_cells(layer, indented=not layers_only))
    if round(table.elsewhere):
        name = f"matmuls without parameters, at {table.tokens} tokens"
        rows.append([name, "", "", "", "", f"{table.elsewhere:,.0f}"])
    sums = [table.parameters, table.trainable]
    total = f"{round(table.multiply_adds):,}"
    rows.append(["total", "", *(f"{number:,}" for number in sums), "", total])
    lines = text_table(HEAD, rows)
    if table.closed_form:
        formula, value = table.closed_form
        counted = f"counted: {table.multiply_adds:,.0f}"
        agrees = "as counted" if value == round(table.multiply_adds) else counted
        multiply_adds = f"closed form for T tokens: T·{value:,} multiply-adds"
        lines += ["", f"{multiply_adds} ({agrees}): {formula}"]
    return "\n".join(lines)


def _cells(row: ParameterRow) -> list[str]:
    trained = "yes" if row.trainable else "no"
    output = _shape(row.output)
    if row.output and row.runs > 1:
        output += f", {row.runs} times"
    multiply_adds = "" if row.multiply_adds is None else f"{row.multiply_adds:,.0f}"
    return [row.name, _shape(row.shape), f"{row.parameters:,}", trained, output, multiply_adds]


def _layer_cells(layer: LayerSum, *, indented: bool) -> list[str]:
    trained = "yes" if layer.trainable == layer.parameters else f"{layer.trainable:,}"
    name = layer.name or "the network itself"
    return [
        f"  = {name}" if indented else name,
        "",
        f"{layer.parameters:,}",
        trained if layer.trainable else "no",
        _shape(layer.output),
        f"{layer.multiply_adds:,.0f}",
    ]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(f"{size:,}" for size in shape)
