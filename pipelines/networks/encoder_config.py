"""What networks that stand on any encoder share: their config, the window, and the layer that scores labels."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from pipelines.spans import looks_like_tag

UNLIMITED = 1 << 20
# Their positions begin behind the padding token's number.
_POSITIONS_BEHIND_PADDING = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta",
                             "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


@strict
class OnEncoderConfig(PreTrainedConfig):
    """Holds the config of the encoder below.

    Args:
        encoder: that config, or its fields, as a saved file has them.
    """

    sub_configs = {"encoder": AutoConfig}  # noqa: RUF012

    encoder: dict | PreTrainedConfig | None = None

    def __post_init__(self, **keywords: Any):
        if isinstance(self.encoder, dict):
            self.encoder = AutoConfig.for_model(**self.encoder)
        # A copy: the library resets the attention of configs inside another, and a loaded encoder would lose its own.
        self.encoder = copy.deepcopy(self.encoder)
        super().__post_init__(**keywords)

    @property
    def hidden_size(self) -> int:
        return int(self.encoder.hidden_size)  # type: ignore[union-attr]


def window_of(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a model takes at most: as many as its config and its tokenizer admit.

    The config counts where positions are relative too (DeBERTa): beyond it lies what the encoder never read.
    """
    config = getattr(config, "encoder", config)
    positions = getattr(config, "max_position_embeddings", None) or UNLIMITED
    if config.model_type in _POSITIONS_BEHIND_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    return min(UNLIMITED, positions, tokenizer.model_max_length)


def config_labels(config: Any) -> list[str]:
    """The labels of a config, in order of their numbers."""
    return [label for _, label in sorted(config.id2label.items())]


@torch.no_grad()
def follow_labels(model: Any, before: Sequence[str], *, new: Iterable[str] = ()) -> list[str]:
    """Fits the layer that scores labels, and a CRF, to the model's labels, where those of its checkpoint were `before`.

    The same labels in another order move with their weights. Other labels start at random: a row that fits by its shape
    alone knows another class.

    Args:
        new: names of the weights that the checkpoint lacks.

    Returns:
        The names of all weights that start at random.
    """
    now, crf = config_labels(model.config), getattr(model, "crf", None)
    new = set(new) - {name for name, _ in model.named_buffers()}
    if crf is not None:
        # A checkpoint holds the rules of its own labels.
        crf.allow(now if all(map(looks_like_tag, now)) else None)
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)
              and layer.out_features == len(now) and not name.startswith(f"{model.base_model_prefix}.")]
    if list(before) == now or not layers:
        return sorted(new)
    name, layer = layers[-1]
    known = {f"{name}.{part}": weights for part, weights in layer.named_parameters()}
    if crf is not None:
        known |= {f"crf.{part}": weights for part, weights in crf.named_parameters()}
    known = {name: weights for name, weights in known.items() if name not in new}
    if sorted(before) == sorted(now):
        order = torch.tensor([before.index(label) for label in now])
        for name, weights in known.items():
            moved = weights[order]
            weights.copy_(moved[:, order] if name == "crf.transitions" else moved)
        return sorted(new)
    for name, weights in known.items():
        if weights.ndim == 2 and not name.startswith("crf."):
            nn.init.normal_(weights, std=0.02)
        else:
            nn.init.zeros_(weights)
    return sorted(new | set(known))
