"""A recurrent language model: RNN with a sigmoid or tanh, GRU or LSTM over words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import ModelOutput

from pipelines.networks import recurrent
from pipelines.networks.labels import IGNORED
from pipelines.networks.recurrent import Cell


class SigmoidRNN(recurrent.RNN):
    """h_t = sigmoid(h_{t-1} H + e_t I + b1)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.f = nn.Sigmoid()


CELLS: dict[str, type[Cell]] = {
    "sigmoid": SigmoidRNN,
    "tanh": recurrent.RNN,
    "gru": recurrent.GRU,
    "lstm": recurrent.LSTM,
}


@strict
class RecurrentLMConfig(PreTrainedConfig):
    """Options of the recurrent language models.

    Args:
        cell: `sigmoid`, `tanh`, `gru` or `lstm`.
        vocab_size: |V|.
        embedding_dim: d of the word vectors.
        hidden_size: D of the state.
        num_layers: stacked layers.
        tie_word_embeddings: predict by the word vectors themselves, U = P Lᵀ, where P of shape
            (D, d) is the identity if d = D (Press and Wolf 2017; Inan et al. 2017).
        dropout: of word vectors, between layers and before the output, one mask a sequence (Gal and
            Ghahramani 2016).
        recurrent_dropout: of the state that a step reads, one mask a sequence.
        word_dropout: share of the training words that are read as the unknown word.
        pad_token_id: the padding word.
        unk_token_id: the unknown word.
        bos_token_id: the begin mark. What reads it starts from the zero state.
        eos_token_id: the end mark.
    """

    model_type = "recurrent_lm"

    cell: str = "lstm"
    vocab_size: int = 4
    embedding_dim: int = 256
    hidden_size: int = 256
    num_layers: int = 1
    tie_word_embeddings: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    word_dropout: float = 0.0
    pad_token_id: int | None = 0
    unk_token_id: int = 1
    bos_token_id: int | None = 2
    eos_token_id: int | None = 3

    def __post_init__(self, **keywords: Any) -> None:
        """Checks the options.

        Raises:
            ValueError: for an unknown cell, a size below 1 or a dropout that is no share.
        """
        super().__post_init__(**keywords)
        if self.cell not in CELLS:
            raise ValueError(f"got the cell {self.cell!r}; wanted one of {', '.join(CELLS)}")
        sizes = self.vocab_size, self.embedding_dim, self.hidden_size, self.num_layers
        if min(sizes) < 1:
            raise ValueError("sizes and the number of layers have to be 1 or more")
        for name in ("dropout", "recurrent_dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"got {name} {getattr(self, name)}; wanted 0 or more, below 1")


@dataclass
class RecurrentState:
    """What a model carries from one token to the next, each of shape (layers, B, D).

    Attributes:
        hidden: the states.
        memory: what a cell hands on beside them: c of an LSTM; of the others not read.
    """

    hidden: Tensor
    memory: Tensor

    def detach(self) -> RecurrentState:
        """The same numbers, through which no gradient flows back."""
        return RecurrentState(self.hidden.detach(), self.memory.detach())

    def rows(self, index: Tensor) -> RecurrentState:
        """The states of some sequences of the batch."""
        return RecurrentState(self.hidden[:, index], self.memory[:, index])


@dataclass
class RecurrentLMOutput(ModelOutput):
    """What `RecurrentLanguageModel` returns.

    Attributes:
        loss: mean cross-entropy in nats, where there are labels.
        logits: (B, T, |V|).
        past_key_values: the state after the last token, under the name that `generate` carries.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: RecurrentState | None = None


class RecurrentLanguageModel(PreTrainedModel, GenerationMixin):
    """e = x L, h_t = cell(e_t, h_{t-1}), y = softmax(h U + b2): the next word given those before.

    With the cell `sigmoid` and one layer: h_t = sigmoid(h_{t-1} H + e_t I + b1) (Mikolov et al.
    2010), and |V| d + d D + D² + D |V| + D + |V| parameters. L is `embeddings`; I, H and b1 are
    `layers[0].W.weight`, `.U.weight` (both transposed) and `.W.bias`; U and b2 are `output`.
    """

    config_class = RecurrentLMConfig
    config: RecurrentLMConfig
    main_input_name = "input_ids"
    _tied_weights_keys = {"output.weight": "embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: RecurrentLMConfig):
        super().__init__(config)
        d, hidden = config.embedding_dim, config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, d, padding_idx=config.pad_token_id)
        nn.init.uniform_(self.embeddings.weight, -0.1, 0.1)
        widths = [d, *[hidden] * (config.num_layers - 1)]
        self.layers = nn.ModuleList(CELLS[config.cell](width, hidden) for width in widths)
        tied = bool(config.tie_word_embeddings)
        self.projection = nn.Linear(hidden, d, bias=False) if tied and d != hidden else None
        self.output = nn.Linear(d if tied else hidden, config.vocab_size)
        if tied:  # so that `Trainer` ties them again when it loads a checkpoint
            self._keys_to_ignore_on_save = {"output.weight"}
        nn.init.zeros_(self.output.bias)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise themselves."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: Any) -> None:
        self.embeddings = value

    def get_output_embeddings(self) -> nn.Module:
        return self.output

    def set_output_embeddings(self, value: Any) -> None:
        self.output = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: RecurrentState | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> RecurrentLMOutput:
        """Reads tokens and scores what follows each of them.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T) or longer, its last T columns being those of the tokens; 0 at
                padding, after which a text starts from the zero state.
            past_key_values: the state to go on from; by default zero.
            labels: (B, T), the tokens themselves, -100 where one is not to be predicted: they are
                shifted here.
            logits_to_keep: of the last tokens of each sequence only; 0 = all.
        """
        state = past_key_values or self.zero_state(len(input_ids))
        keep = self._keeps_state(input_ids, attention_mask)  # (B, T, 1)
        x = self._dropped(self.embeddings(self._dropped_words(input_ids)))  # (B, T, d)
        hidden, memory = [], []
        for depth, cell in enumerate(cast(Sequence[Cell], self.layers)):
            x = self._dropped(x) if depth else x
            before = state.hidden[depth], state.memory[depth]
            x, last, kept = self._run(cell, x, keep, *before)  # (B, T, D)
            hidden.append(last)
            memory.append(kept)
        x = self._dropped(x[:, -logits_to_keep:])
        if self.projection is not None:
            x = self._dropped(self.projection(x))  # (B, T, d)
        logits = self.output(x)  # (B, T, |V|)
        loss = None
        if labels is not None:
            targets = labels[:, 1:].flatten()
            loss = cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), targets, ignore_index=IGNORED
            )
        after = RecurrentState(torch.stack(hidden), torch.stack(memory))
        return RecurrentLMOutput(loss=loss, logits=logits, past_key_values=after)

    def zero_state(self, batch_size: int) -> RecurrentState:
        """The state before a text."""
        weight = self.output.weight
        shape = self.config.num_layers, batch_size, self.config.hidden_size
        zeros = weight.new_zeros(shape)
        return RecurrentState(zeros, zeros)

    def _run(
        self, cell: Cell, x: Tensor, keep: Tensor, state: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer over (B, T, width): its states (B, T, D), and the last state and memory."""
        mask = None
        p = self.config.recurrent_dropout
        if self.training and p:
            mask = nn.functional.dropout(torch.ones_like(state), p)  # (B, D)
        # One matmul for the input's part of all steps: only what needs the state is in the loop.
        projected = cell.W(x).to(state.dtype)  # (B, T, gates · D)
        states = []
        # Autocast would make half copies of the weights anew at each step.
        with torch.autocast(x.device.type, enabled=False):
            for inputs, kept in zip(projected.unbind(1), keep.unbind(1), strict=True):
                state, memory = state * kept, memory * kept
                before = state if mask is None else state * mask
                state, memory = cell.step(inputs, before, memory)
                states.append(state)
        return torch.stack(states, dim=1), state, memory

    def _keeps_state(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, T, 1): 0 where a token starts from the zero state, after padding or as a begin mark.

        A step of a GRU reads its state as its memory, so that both are multiplied by it.
        """
        begin = self.config.bos_token_id
        keep = torch.ne(input_ids, -1 if begin is None else begin)  # (B, T)
        if attention_mask is not None:
            read = attention_mask[:, -input_ids.shape[1] :].bool()
            keep[:, 1:] &= read[:, :-1]
        return keep[..., None].to(self.output.weight.dtype)

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout of (B, T, width) with one mask for all tokens of a sequence."""
        if not (self.training and self.config.dropout):
            return x
        return x * nn.functional.dropout(torch.ones_like(x[:, :1]), self.config.dropout)

    def _dropped_words(self, input_ids: Tensor) -> Tensor:
        """Tokens of which a share, the begin mark not among them, is read as the unknown word."""
        if not (self.training and self.config.word_dropout):
            return input_ids
        dropped = torch.rand(input_ids.shape, device=input_ids.device) < self.config.word_dropout
        dropped &= input_ids != self.config.bos_token_id
        return input_ids.masked_fill(dropped, self.config.unk_token_id)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """`generate` makes no cache of keys and values: the first step returns the state."""
        return False

    @staticmethod
    def _reorder_cache(past_key_values: RecurrentState, beam_idx: Tensor) -> RecurrentState:
        """The states of the beams that go on."""
        return past_key_values.rows(beam_idx)


class ParameterCount(NamedTuple):
    """Parameters of one part: its name, their closed form, and their number."""

    part: str
    formula: str
    size: int


GATES = {"sigmoid": 1, "tanh": 1, "gru": 3, "lstm": 4}


def closed_form(config: RecurrentLMConfig) -> list[ParameterCount]:
    """The parameters of a model by its formula, part by part.

    With the cell `sigmoid`, one layer and separate embeddings they add up to
    |V| d + d D + D² + D |V| + D + |V|.
    """
    words, d, width = config.vocab_size, config.embedding_dim, config.hidden_size
    gates = GATES[config.cell]
    factor = f"{gates} " if gates > 1 else ""
    parts = [ParameterCount("L", "|V| d", words * d)]
    for layer in range(config.num_layers):
        below, name = (width, "D²") if layer else (d, "d D")
        suffix = f" of layer {layer + 1}" if config.num_layers > 1 else ""
        parts += [
            ParameterCount(f"I{suffix}", f"{factor}{name}", gates * below * width),
            ParameterCount(f"H{suffix}", f"{factor}D²", gates * width**2),
            ParameterCount(f"b1{suffix}", f"{factor}D", gates * width),
        ]
        if config.cell == "gru":
            parts.append(ParameterCount(f"a{suffix}", "D", width))
    if config.tie_word_embeddings:
        projected = d != width
        parts.append(
            ParameterCount("P", "D d" if projected else "0", width * d if projected else 0)
        )
        parts.append(ParameterCount("U = P Lᵀ", "0", 0))
    else:
        parts.append(ParameterCount("U", "D |V|", width * words))
    parts.append(ParameterCount("b2", "|V|", words))
    return parts


AutoConfig.register("recurrent_lm", RecurrentLMConfig)
AutoModelForCausalLM.register(RecurrentLMConfig, RecurrentLanguageModel)
