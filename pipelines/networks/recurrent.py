"""Recurrent taggers: RNN, GRU and LSTM, written by hand and by torch's own layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.nn.utils.rnn import PackedSequence
from transformers import AutoConfig, AutoModelForTokenClassification

from pipelines.networks.tagger import Packed, Tagger, TaggerConfig

CELLS = ("rnn", "gru", "lstm")
INITIAL_STATES = ("zero", "random", "learned")
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "prelu": nn.PReLU}


@strict
class RecurrentConfig(TaggerConfig):
    """Options of the recurrent taggers.

    Args:
        cell: `rnn`, `gru` or `lstm`.
        library_cell: torch's own layer instead of the one written here.
        activation: f of the RNN: `tanh`, `relu` or `prelu` (by hand only).
        hidden_size: H of each direction.
        num_layers: stacked layers.
        bidirectional: whether each layer reads in both directions.
        initial_state: `zero`, `random` (drawn for each sentence in training, zero otherwise) or
            `learned`.
    """

    model_type = "recurrent_tagger"

    cell: str = "rnn"
    library_cell: bool = False
    activation: str = "tanh"
    hidden_size: int = 512
    num_layers: int = 1
    bidirectional: bool = False
    initial_state: str = "zero"

    def __post_init__(self, **keywords: Any) -> None:
        super().__post_init__(**keywords)
        if self.library_cell and self.activation == "prelu" and self.cell == "rnn":
            raise ValueError(
                "torch's RNN has no PReLU; take tanh or relu, or the cell written by hand"
            )


class StateLinear(nn.Linear):
    """U z, or U z + x with the sum made inside the matmul."""

    def forward(self, z: Tensor, x: Tensor | None = None) -> Tensor:
        return super().forward(z) if x is None else torch.addmm(x, z, self.weight.T)


class Cell(nn.Module):
    """Weights of one layer in one direction: W, U and b of all gates, one below the other.

    The input's part, W x_t + b, is one matmul for all steps; the loop contains only what depends on
    z_{t-1}.
    """

    gates = 1

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.W = nn.Linear(input_size, self.gates * hidden_size)  # its bias is b
        self.U = StateLinear(hidden_size, self.gates * hidden_size, bias=False)
        bound = hidden_size**-0.5  # as in torch's layers
        for weights in self.parameters():
            nn.init.uniform_(weights, -bound, bound)

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        batch_sizes: list[int],
        state_mask: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Reads packed sentences.

        Args:
            x: (N, D) packed words, or (U, D) with `rows`.
            state: (B, H), the initial state of each sentence.
            batch_sizes: sentences that run at each step, the longest first.
            state_mask: (B, H), variational dropout of the state that a step reads.
            rows: (N,), the row of x that each word reads; by default its own.

        Returns:
            (N, H), the state after each word.
        """
        states, memory = [], self.initial_memory(state)
        projected = self.W(x)  # (N, gates · H)
        if rows is not None:
            projected = embedding(rows, projected)
        for inputs, size in zip(projected.split(batch_sizes), batch_sizes, strict=True):
            if size < len(state):
                state, memory = state[:size], memory[:size]
            before = state if state_mask is None else state * state_mask[:size]
            state, memory = self.step(inputs, before, memory)  # (size, H)
            states.append(state)
        return torch.cat(states)  # (N, H)

    def initial_memory(self, state: Tensor) -> Tensor:
        """(B, H), what the first step remembers, of the initial state (B, H)."""
        return torch.zeros_like(state)

    def step(self, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (size, gates · H), state and memory (size, H) to the next state and memory.

        The memory is what a cell hands on unchanged, which has no dropout.
        """
        raise NotImplementedError


class RNN(Cell):
    """z_t = f(W x_t + U z_{t-1} + b) (Elman 1990)."""

    def __init__(self, input_size: int, hidden_size: int, *, activation: str = "tanh"):
        super().__init__(input_size, hidden_size)
        self.f: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]()

    def step(self, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.f(self.U(state, inputs)), memory


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate as in cuDNN and torch.

    r = s(W_r x + U_r z + b_r), u = s(W_u x + U_u z + b_u)
    n = tanh(W_n x + b_n + r * (U_n z + a)),  z' = (1 - u) * n + u * z
    """

    gates = 3

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.a = nn.Parameter(torch.zeros(hidden_size))

    def initial_memory(self, state: Tensor) -> Tensor:
        return state

    def step(self, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        x_r, x_u, x_n = inputs.chunk(3, dim=1)  # (size, H) each
        z_r, z_u, z_n = self.U(state).chunk(3, dim=1)
        r, u = torch.sigmoid(x_r + z_r), torch.sigmoid(x_u + z_u)
        n = torch.tanh(x_n + r * (z_n + self.a))
        state = (1 - u) * n + u * memory
        return state, state


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000).

    i, f, o = s(W x + U z + b),  g = tanh(W_g x + U_g z + b_g)
    c' = f * c + i * g,  z' = o * tanh(c')
    """

    gates = 4

    def step(self, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = self.U(state, inputs).chunk(4, dim=1)  # in torch's order, (size, H) each
        i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
        memory = f * memory + i * torch.tanh(g)
        return o * torch.tanh(memory), memory


class LibraryCell(nn.Module):
    """One layer in one direction of `nn.RNN`, `nn.GRU` or `nn.LSTM`, on packed words."""

    def __init__(self, config: RecurrentConfig, input_size: int):
        super().__init__()
        kinds: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
        options = {"nonlinearity": config.activation} if config.cell == "rnn" else {}
        self.layer = kinds[config.cell](input_size, config.hidden_size, **options)

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        batch_sizes: list[int],
        state_mask: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """As `Cell.forward`."""
        if state_mask is not None:
            raise ValueError(
                "torch's recurrent layers have no variational dropout of the state; "
                "take the cell written by hand (--library_cell false)"
            )
        x = x if rows is None else embedding(rows, x)  # (N, D)
        initial: Any = state[None]  # (1, B, H)
        if isinstance(self.layer, nn.LSTM):
            initial = initial, torch.zeros_like(initial)
        words = PackedSequence(x, torch.tensor(batch_sizes))
        return self.layer(words, initial)[0].data  # (N, H)


def make_cell(config: RecurrentConfig, input_size: int) -> nn.Module:
    """One layer in one direction, as the config asks for it."""
    if config.library_cell:
        return LibraryCell(config, input_size)
    if config.cell == "rnn":
        return RNN(input_size, config.hidden_size, activation=config.activation)
    return {"gru": GRU, "lstm": LSTM}[config.cell](input_size, config.hidden_size)


class RecurrentTagger(Tagger):
    """z_t = cell(x_t, z_{t-1}), y_t = softmax(V z_t + c); optionally stacked and bidirectional.

    x_t = [E[w_{t-w}], ..., E[w_{t+w}]], which is E[w_t] by default (w = 0). With the RNN's cell,
    one layer and one direction, a word takes H · (H + (2w + 1) · D + C) multiply-adds.
    """

    config_class = RecurrentConfig

    def build(self, config: Any, input_width: int) -> None:
        directions = 2 if config.bidirectional else 1
        self.hidden_width = directions * config.hidden_size
        widths = [input_width, *[self.hidden_width] * (config.num_layers - 1)]
        self.layers = nn.ModuleList()
        for width in widths:
            cells = (make_cell(config, width) for _ in range(directions))
            self.layers.append(nn.ModuleList(cells))
        if config.initial_state == "learned":
            shape = config.num_layers, directions, config.hidden_size
            self.initial = nn.Parameter(torch.zeros(shape))

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        backwards = packed.mirrored() if self.config.bidirectional else None
        layers = cast(Iterable[nn.ModuleList], self.layers)
        for depth, cells in enumerate(layers):
            x = self.drop(x, packed) if depth else x
            # Without a window the first layer reads word vectors, which equal words may share.
            vector = None if depth else packed.vector
            outputs = []
            for direction, cell in enumerate(cells):
                order = backwards if direction else None
                rows = vector
                if order is not None:
                    rows = order if vector is None else vector[order]
                state = self.initial_state(x, packed, depth, direction)  # (B, H)
                mask = None
                if self.drop.variational and self.training:
                    mask = self.drop.mask(state, packed)
                z = cell(x, state, packed.batch_sizes, mask, rows)  # (N, H)
                outputs.append(z if order is None else z[order])
            x = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]  # (N, directions · H)
        return x

    def initial_state(self, x: Tensor, packed: Packed, layer: int, direction: int) -> Tensor:
        """(B, H), the state before the first word of each sentence."""
        shape = packed.batch_sizes[0], self.config.hidden_size
        if self.config.initial_state == "learned":
            return self.initial[layer, direction].expand(shape)
        if self.config.initial_state == "random" and self.training:
            return torch.randn(shape, dtype=x.dtype, device=x.device)
        return x.new_zeros(shape)


AutoConfig.register("recurrent_tagger", RecurrentConfig)
AutoModelForTokenClassification.register(RecurrentConfig, RecurrentTagger)
