"""What networks on top of any encoder share: their config, and the window."""

from __future__ import annotations

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

UNLIMITED = 1 << 20
# Models whose positions start behind the id of the padding token.
_POSITIONS_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


@strict
class OnEncoderConfig(PreTrainedConfig):
    """Contains the config of the encoder below.

    Args:
        encoder: that config, or its fields as a saved file has them.
    """

    sub_configs = {"encoder": AutoConfig}  # noqa: RUF012

    encoder: dict | PreTrainedConfig | None = None

    def __post_init__(self, **keywords: Any):
        if isinstance(self.encoder, dict):
            self.encoder = AutoConfig.for_model(**self.encoder)
        # A copy: the library resets the attention of a nested config, and a loaded encoder would
        # lose its own.
        self.encoder = copy.deepcopy(self.encoder)
        super().__post_init__(**keywords)

    @property
    def hidden_size(self) -> int:
        """H of the encoder's states."""
        return int(self.encoder.hidden_size)  # type: ignore[union-attr]


def window_of(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """The number of tokens that a model takes at most, by its config and its tokenizer.

    The config counts for relative positions too (DeBERTa): the encoder never read beyond it.
    """
    config = getattr(config, "encoder", config)
    positions = getattr(config, "max_position_embeddings", None) or UNLIMITED
    if config.model_type in _POSITIONS_BEHIND_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    return min(UNLIMITED, positions, tokenizer.model_max_length)
