"""Small networks on words that classify texts: bag of embeddings, CNN, RNN, GRU and LSTM.

Importing this module registers them, so that `from_pretrained` knows them.
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from pipelines.networks.embeddings import WordVectors
from pipelines.networks.pooled_classifier import classification_output, pool
from pipelines.networks.recurrent import CELLS, GRU, LSTM, RNN, Cell
from pipelines.networks.tagger import pack

NETWORKS = ("bag_of_embeddings", "cnn", *CELLS)
POOLINGS = ("last", "mean", "max", "attention")
DEFAULT_POOLING = {"bag_of_embeddings": "mean", "cnn": "max"}  # of a recurrent network: `last`
CELL_CLASSES: dict[str, type[Cell]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


@strict
class TextClassifierConfig(PreTrainedConfig):
    """Options of the word-level text classifiers.

    Args:
        network: one of `NETWORKS`.
        vocab_size: V.
        embedding_dim: D of the word vectors.
        train_embeddings: whether word vectors are trained further.
        dense_size: units of a ReLU layer on each word vector; 0 = no such layer.
        hidden_size: H of each direction, or filters of each width of the CNN.
        num_layers: stacked recurrent layers.
        bidirectional: whether each recurrent layer reads in both directions.
        filter_widths: words that the filters of the CNN span.
        pooling: `last` (the last state of each direction, recurrent networks only), `mean`, `max`
            or `attention`, a mean weighted by a learnt query; by default `last`, of the CNN `max`,
            of the bag of embeddings `mean`.
        dropout: on word vectors, between layers and on the text vector.
        recurrent_dropout: on the state that a step reads, one mask a text (Gal and Ghahramani
            2016).
        word_dropout: share of the training words that are read as the unknown word.
        pad_token_id: the padding word.
        unk_token_id: the unknown word.
    """

    model_type = "text_classifier"
    character_feature = "none"  # which `WordVectors` asks for: the spelling of words is not read

    network: str = "lstm"
    vocab_size: int = 1
    embedding_dim: int = 300
    train_embeddings: bool = True
    dense_size: int = 0
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    filter_widths: list[int] | tuple[int, ...] = (3, 4, 5)
    pooling: str | None = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    word_dropout: float = 0.0
    pad_token_id: int | None = 0
    unk_token_id: int = 1

    def __post_init__(self, **keywords: Any) -> None:
        """Fills in the pooling.

        Raises:
            ValueError: for an unknown network or pooling, a last state where there are none, or a
                size below 1.
        """
        super().__post_init__(**keywords)
        if self.pooling is None:
            self.pooling = DEFAULT_POOLING.get(self.network, "last")
        for name, value, known in (
            ("network", self.network, NETWORKS),
            ("pooling", self.pooling, POOLINGS),
        ):
            if value not in known:
                raise ValueError(f"got the {name} {value!r}; wanted one of {', '.join(known)}")
        if self.pooling == "last" and self.network not in CELLS:
            raise ValueError(f"a {self.network} has no last state; take mean, max or attention")
        if min(self.hidden_size, self.num_layers, self.embedding_dim, *self.filter_widths) < 1:
            raise ValueError("sizes, the number of layers and filter widths have to be 1 or more")


class TextClassifier(PreTrainedModel):
    """x = E[word], h = layers(x), y = softmax(V pool(h) + c): one vector and its classes a text.

    Padding takes no part: neither its number nor its side changes anything. A text without words is
    read as one word whose vector is 0.
    """

    config_class = TextClassifierConfig
    main_input_name = "input_ids"

    def __init__(self, config: TextClassifierConfig):
        super().__init__(config)
        self.embeddings = WordVectors(config)
        width = config.embedding_dim
        self.dense = nn.Linear(width, config.dense_size) if config.dense_size else None
        width = config.dense_size or width
        self.encoder: Convolutions | RecurrentLayers | None = None
        if config.network == "cnn":
            self.encoder = Convolutions(config, width)
        elif config.network in CELLS:
            self.encoder = RecurrentLayers(config, width)
        if self.encoder is not None:
            width = self.encoder.width
        self.pooling = str(config.pooling)
        self.query = nn.Linear(width, 1, bias=False) if self.pooling == "attention" else None
        self.drop = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, int(config.num_labels or 2))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise themselves."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.words

    def set_input_embeddings(self, value: Any) -> None:
        self.embeddings.words = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Classifies a batch.

        Args:
            input_ids: (B, T) word ids.
            attention_mask: (B, T), 1 where there is a word; by default everywhere.
            labels: (B,) class ids, or (B, C) of 0 and 1 where a text may have several classes.

        Returns:
            The loss if there are labels, and logits (B, C).
        """
        words, mask = self._at_least_one_word(input_ids, attention_mask)
        states = self.drop(self.embeddings(words))  # (B, T, D)
        if self.dense is not None:
            states = self.drop(torch.relu(self.dense(states)))
        if self.encoder is not None:
            states = self.encoder(states, mask)  # (B, T, W)
        if self.pooling == "last":
            vectors = last_states(states, mask, bidirectional=self.config.bidirectional)
        else:
            vectors = pool(states, mask, self.pooling, self.query)  # (B, W)
        logits = self.classifier(self.drop(vectors))  # (B, C)
        return classification_output(logits, labels)

    def _at_least_one_word(
        self, input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B, T) words and their mask, where a text without words has one padding word."""
        if not input_ids.shape[1]:
            input_ids = input_ids.new_zeros(len(input_ids), 1, dtype=torch.long)
            attention_mask = input_ids
        if attention_mask is None:
            return input_ids, torch.ones_like(input_ids, dtype=torch.bool)
        mask = attention_mask.bool()
        words = input_ids.masked_fill(~mask, self.config.pad_token_id)
        mask[:, 0] |= ~mask.any(dim=1)
        return words, mask


class Convolutions(nn.Module):
    """ReLU of filters over neighbouring words, several widths side by side (Kim 2014, section 2).

    A text begins and ends with zeros, so that each word is the middle of a window.
    """

    def __init__(self, config: TextClassifierConfig, input_width: int):
        super().__init__()
        self.filters = nn.ModuleList()
        for width in config.filter_widths:
            ends = nn.ConstantPad1d(((width - 1) // 2, width // 2), 0.0)
            convolution = nn.Conv1d(input_width, config.hidden_size, width)
            self.filters.append(nn.Sequential(ends, convolution))
        self.width = len(self.filters) * config.hidden_size

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) to (B, T, widths · H)."""
        x = states.masked_fill(~mask[..., None], 0).transpose(1, 2)  # (B, D, T)
        features = [torch.relu(convolution(x)) for convolution in self.filters]
        return torch.cat(features, dim=1).transpose(1, 2)


class RecurrentLayers(nn.Module):
    """Stacked layers of an RNN, GRU or LSTM in one direction or both."""

    def __init__(self, config: TextClassifierConfig, input_width: int):
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.width, self.hidden_size = directions * config.hidden_size, config.hidden_size
        self.drop = nn.Dropout(config.dropout)
        self.state_drop = nn.Dropout(config.recurrent_dropout)
        self.layers = nn.ModuleList()
        for input_size in (input_width, *[self.width] * (config.num_layers - 1)):
            cell = CELL_CLASSES[config.network]
            cells = [cell(input_size, config.hidden_size) for _ in range(directions)]
            self.layers.append(nn.ModuleList(cells))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) to (B, T, directions · H), 0 at padding."""
        packed = pack(mask)
        orders = (None, packed.mirrored())  # of the words, for each direction
        x = states.flatten(0, 1)[packed.rows]  # (N, D)
        for depth, cells in enumerate(self.layers):
            x = self.drop(x) if depth else x
            outputs = []
            for cell, order in zip(cells, orders, strict=False):  # type: ignore[call-overload]
                ordered = x if order is None else x[order]
                initial = x.new_zeros(len(mask), self.hidden_size)  # (B, H)
                state_mask = None
                if self.training and self.state_drop.p:
                    state_mask = self.state_drop(torch.ones_like(initial))
                z = cell(ordered, initial, packed.batch_sizes, state_mask)  # (N, H)
                outputs.append(z if order is None else z[order])
            x = torch.cat(outputs, dim=1)  # (N, directions · H)
        index = packed.rows[:, None].expand_as(x)
        padded = x.new_zeros(mask.numel(), self.width).scatter(0, index, x)
        return padded.view(*mask.shape, self.width)


def last_states(states: Tensor, mask: Tensor, *, bidirectional: bool) -> Tensor:
    """What a recurrent layer has read when it is through with a text: (B, W) of (B, T, W).

    The first direction ends at the last word; the second one, whose states are the second half of
    W, at the first word.
    """
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)  # (B,)
    ends = states[torch.arange(len(states), device=states.device), last]  # (B, W)
    if not bidirectional:
        return ends
    half = states.shape[2] // 2
    starts = pool(states, mask, "cls")
    return torch.cat([ends[:, :half], starts[:, half:]], dim=1)


AutoConfig.register("text_classifier", TextClassifierConfig)
AutoModelForSequenceClassification.register(TextClassifierConfig, TextClassifier)
