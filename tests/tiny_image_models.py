"""Tiny checkpoints for pictures with random weights, of architectures of the library."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    AutoModelForImageClassification,
    ConvNextConfig,
    PreTrainedConfig,
    ResNetConfig,
    ViTConfig,
)

_VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_NORM = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
MODELS: dict[str, tuple[PreTrainedConfig, dict[str, object]]] = {
    "vit": (
        ViTConfig(intermediate_size=16, image_size=24, patch_size=8, **_VIT),
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 24}},
    ),
    "resnet": (
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 24}},
    ),
    "convnext": (
        ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 24}},
    ),
}


def write(folder: Path, kind: str) -> Path:
    """Writes a checkpoint without a head for anybody's classes, and its image processor."""
    config, processor = MODELS[kind]
    torch.manual_seed(0)
    AutoModelForImageClassification.from_config(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | _NORM))
    return folder
