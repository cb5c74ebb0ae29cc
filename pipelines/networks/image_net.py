"""Small networks that classify pictures: residual convolutions, and a linear model on the pixels.

Importing this module registers them, so that `from_pretrained` knows them.
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

NETWORKS = ("convolutional", "linear")


@strict
class SmallImageNetConfig(PreTrainedConfig):
    """Options of the small networks for pictures.

    Args:
        network: one of `NETWORKS`.
        image_size: side of the square pictures; only the linear model is bound to it.
        num_channels: of a picture.
        widths: channels of the first convolution, then of each stage; a stage halves the sides.
        depth: residual blocks of a stage.
        dropout: on the vector of a picture.
    """

    model_type = "small_image_net"

    network: str = "convolutional"
    image_size: int = 64
    num_channels: int = 3
    widths: list[int] | tuple[int, ...] = (16, 32, 64, 128)
    depth: int = 1
    dropout: float = 0.2

    def __post_init__(self, **keywords: Any) -> None:
        """Checks the options.

        Raises:
            ValueError: for an unknown network, or a size below 1.
        """
        super().__post_init__(**keywords)
        if self.network not in NETWORKS:
            raise ValueError(f"got the network {self.network!r}; wanted {' or '.join(NETWORKS)}")
        if len(self.widths) < 2 or min(self.depth, self.image_size, *self.widths) < 1:
            raise ValueError("wanted two widths or more, and widths, depth and sizes from 1 on")
        if self.image_size < 2 ** len(self.widths):
            raise ValueError(
                f"{len(self.widths)} widths halve the sides as often; wanted pictures of "
                f"{2 ** len(self.widths)} pixels a side or more, got {self.image_size}"
            )


class SmallImageNet(PreTrainedModel):
    """x = stages(relu(W * picture)), y = softmax(V mean(x) + c): a vector and classes a picture."""

    config_class = SmallImageNetConfig
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: SmallImageNetConfig):
        super().__init__(config)
        classes = int(config.num_labels or 2)
        self.stages: nn.Sequential | None = None
        width = config.num_channels * config.image_size**2
        if config.network == "convolutional":
            self.stages = _stages(config)
            width = config.widths[-1]
        self.drop = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, classes)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise themselves."""

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Classifies a batch.

        Args:
            pixel_values: (B, channels, height, width).
            labels: (B,) class ids.

        Returns:
            The mean loss if there are labels, and logits (B, C).
        """
        if self.stages is None:
            vectors = pixel_values.flatten(1)  # (B, channels · height · width)
        else:
            x = pixel_values.contiguous(memory_format=torch.channels_last)
            vectors = self.stages(x).mean(dim=(2, 3))  # (B, W)
        logits = self.classifier(self.drop(vectors))  # (B, C)
        loss = None if labels is None else cross_entropy(logits.float(), labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


class ResidualBlock(nn.Module):
    """y = relu(b(W2 * relu(b(W1 * x))) + s(x)), b batch normalisation (He et al. 2016, section 3).

    The shortcut s is the identity, or a convolution of size 1 where width or sides change.
    """

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width_in != width:
            convolution = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, h, w) to (B, width, h / stride, w / stride)."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def _stages(config: SmallImageNetConfig) -> nn.Sequential:
    """From (B, channels, S, S) to (B, W, S / 2^n, S / 2^n) with n stages."""
    first, *widths = config.widths
    layers: list[nn.Module] = [
        nn.Conv2d(config.num_channels, first, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(),
    ]
    before = first
    for stage, width in enumerate(widths):
        for block in range(config.depth):
            # The first convolution has halved the sides for the first stage.
            layers.append(ResidualBlock(before, width, 2 if stage and not block else 1))
            before = width
    return nn.Sequential(*layers)


AutoConfig.register("small_image_net", SmallImageNetConfig)
AutoModelForImageClassification.register(SmallImageNetConfig, SmallImageNet)
