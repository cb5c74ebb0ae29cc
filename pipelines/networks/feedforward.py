"""Feedforward taggers: one word at a time, or a window of words (CS224n, assignment 2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification

from pipelines.networks.tagger import Packed, Tagger, TaggerConfig

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "prelu": nn.PReLU}


@strict
class FeedforwardConfig(TaggerConfig):
    """Options of the feedforward taggers.

    Args:
        hidden_sizes: H of each hidden layer, any number of them.
        activation: `relu`, `tanh` or `prelu`.
    """

    model_type = "feedforward_tagger"

    hidden_sizes: list[int] | tuple[int, ...] = (512,)
    activation: str = "relu"


class FeedforwardTagger(Tagger):
    """x_t = [E[w_{t-w}], ..., E[w_t], ..., E[w_{t+w}]], h = f(W x + b), y = softmax(V h + c).

    Positions beyond the ends of a sentence have the zero vector; with w = 0 the tagger sees one
    word. With one hidden layer, a word takes H · (C + (2w + 1) · D) multiply-adds.
    """

    config_class = FeedforwardConfig

    def build(self, config: Any, input_width: int) -> None:
        self.word_by_word = not config.window
        widths = [input_width, *config.hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise(widths))
        activation = ACTIVATIONS[config.activation]
        self.activations = nn.ModuleList(activation() for _ in self.layers)
        self.hidden_width = widths[-1]

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        layers = zip(self.layers, self.activations, strict=True)
        for depth, (layer, activation) in enumerate(layers):
            if depth:
                x = self.drop(x, packed)
            x = activation(layer(x))  # (U or N, H)
        return x


AutoConfig.register("feedforward_tagger", FeedforwardConfig)
AutoModelForTokenClassification.register(FeedforwardConfig, FeedforwardTagger)
