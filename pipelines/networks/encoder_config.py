"""What the configs of networks that stand on any encoder share."""

from __future__ import annotations

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
        super().__post_init__(**keywords)

    @property
    def hidden_size(self) -> int:
        return int(self.encoder.hidden_size)  # type: ignore[union-attr]
