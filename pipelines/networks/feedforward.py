"""Feedforward taggers: one word at a time, or a window of words (CS224n, assignment 2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification

from pipelines.networks.tagger import Packed, Tagger, TaggerConfig

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "prelu": nn.PReLU}


@strict
class FeedforwardConfig(TaggerConfig):
    """Options of the feedforward taggers.

    Args:
        window: w; a tag is predicted from 2w + 1 words. With 0 the tagger sees one word.
        hidden_sizes: H of each hidden layer, any number of them.
        activation: `relu`, `tanh` or `prelu`.
    """

    model_type = "feedforward_tagger"

    window: int = 0
    hidden_sizes: list[int] | tuple[int, ...] = (512,)
    activation: str = "relu"


class FeedforwardTagger(Tagger):
    """x_t = [E[w_{t-w}], ..., E[w_t], ..., E[w_{t+w}]], h = f(W x + b), y = softmax(V h + c).

    Positions beyond the ends of a sentence have the zero vector. With one hidden layer, a word
    takes H · (C + (2w + 1) · D) multiply-adds.
    """

    config_class = FeedforwardConfig

    def build(self, config: Any, input_width: int) -> None:
        self.window, self.word_by_word = config.window, not config.window
        widths = [(2 * config.window + 1) * input_width, *config.hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise(widths))
        activation = ACTIVATIONS[config.activation]
        self.activations = nn.ModuleList(activation() for _ in self.layers)
        self.hidden_width = widths[-1]

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        if self.window:
            x = self._windows(x, packed)  # (N, (2w + 1) D)
        layers = zip(self.layers, self.activations, strict=True)
        for depth, (layer, activation) in enumerate(layers):
            if depth:
                x = self.drop(x, packed)
            x = activation(layer(x))  # (U or N, H)
        return x

    def _windows(self, x: Tensor, packed: Packed) -> Tensor:
        """Vectors (U, D) to those of each word and its neighbours, (N, (2w + 1) D)."""
        padded = torch.cat([packed.spread(x), x.new_zeros(1, x.shape[1])])  # (N + 1, D)
        distances = range(-self.window, self.window + 1)
        around = torch.stack([packed.neighbour(distance) for distance in distances], dim=1)
        return padded[around].flatten(1)


AutoConfig.register("feedforward_tagger", FeedforwardConfig)
AutoModelForTokenClassification.register(FeedforwardConfig, FeedforwardTagger)
