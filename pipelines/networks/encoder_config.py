"""What the configs of networks that stand on any encoder share."""

from __future__ import annotations

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


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
