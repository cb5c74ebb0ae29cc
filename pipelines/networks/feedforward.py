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
        window: w; a tag is told from 2w + 1 words. 0 is the tagger that sees one word.
        hidden_sizes: H of each hidden layer, any number of them.
        activation: ``relu``, ``tanh`` or ``prelu``.
    """

    model_type = "feedforward_tagger"

    window: int = 0
    hidden_sizes: list[int] | tuple[int, ...] = (512,)
    activation: str = "relu"


class FeedforwardTagger(Tagger):
    """x_t = [E[w_{t-w}], ..., E[w_t], ..., E[w_{t+w}]], h = f(W x + b), y = softmax(V h + c).

    Beyond the ends of a sentence stands the zero vector. A token takes T·H·(C + (2w+1)·D) multiply-adds with one
    hidden layer, T being 1.
    """

    config_class = FeedforwardConfig

    def build(self, config: Any, input_width: int) -> None:
        self.window, self.word_by_word = config.window, not config.window
        widths = [(2 * config.window + 1) * input_width, *config.hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairwise(widths))
        self.activations = nn.ModuleList(ACTIVATIONS[config.activation]() for _ in self.layers)
        self.hidden_width = widths[-1]

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        if self.window:
            padded = torch.cat([packed.spread(x), x.new_zeros(1, x.shape[1])])              # (N + 1, D)
            around = [packed.neighbour(distance) for distance in range(-self.window, self.window + 1)]
            x = padded[torch.stack(around, dim=1)].flatten(1)                               # (N, (2w+1) D)
        for number, (layer, activation) in enumerate(zip(self.layers, self.activations, strict=True)):
            x = activation(layer(x if not number else self.drop(x, packed)))                # (U or N, H)
        return x


AutoConfig.register("feedforward_tagger", FeedforwardConfig)
AutoModelForTokenClassification.register(FeedforwardConfig, FeedforwardTagger)
