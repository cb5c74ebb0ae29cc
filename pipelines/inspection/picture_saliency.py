"""Which pixels the class of a picture depends on: the gradient of its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pipelines.examples import Example
from pipelines.families.image_classifier import Loaded, open_example, pixel_values

COPIES = 12  # with noise
NOISE = 0.1  # standard deviation, as a share of the range of the values


class Saliency(NamedTuple):
    """A picture as the network reads it, and what its class depends on.

    Attributes:
        pixels: uint8 of shape (height, width, 3).
        heat: float of shape (height, width), between 0 and 1.
    """

    pixels: np.ndarray
    heat: np.ndarray


def saliency(
    loaded: Loaded, examples: Sequence[Example], labels: Sequence[str], *, seed: int = 0
) -> list[Saliency]:
    """For each pixel how much the score of a class changes with it.

    The largest absolute gradient over the channels, averaged over copies of the picture with noise
    (SmoothGrad: Smilkov et al. 2017, arXiv 1706.03825) and over the pixels around it. It works for
    every network, and says where the score would change, not that the network looks there only.

    Args:
        labels: of each example the class whose score, before softmax, is traced back.
    """
    images = [open_example(example, loaded.processor) for example in examples]
    random = torch.Generator().manual_seed(seed)
    found = []
    for image, label in zip(images, labels, strict=True):
        values = pixel_values(loaded.processor, [image])  # (1, channels, h, w)
        heat = _smoothed_gradient(loaded, values, loaded.settings.labels.index(label), random)
        found.append(Saliency(_as_read(loaded, values[0]), heat))
    return found


def _smoothed_gradient(
    loaded: Loaded, values: Tensor, target: int, random: torch.Generator
) -> np.ndarray:
    """(h, w), between 0 and 1."""
    model: Any = loaded.model.eval()
    spread = NOISE * float(values.max() - values.min())
    noise = torch.randn(COPIES, *values.shape[1:], generator=random) * spread
    copies = (values + noise).to(model.device).requires_grad_()
    with torch.enable_grad():
        scores = model(pixel_values=copies).logits[:, target]
        [gradient] = torch.autograd.grad(scores.sum(), copies)
    strength = gradient.abs().amax(dim=1).mean(dim=0)[None, None].float().cpu()  # (1, 1, h, w)
    window = max(3, strength.shape[-1] // 16 | 1)
    smooth = avg_pool2d(strength, window, stride=1, padding=window // 2, count_include_pad=False)
    heat = smooth[0, 0].numpy()
    # One strong pixel would leave the others pale.
    top = max(float(np.quantile(heat, 0.995)), 1e-12)
    return np.clip(heat / top, 0, 1)


def _as_read(loaded: Loaded, values: Tensor) -> np.ndarray:
    """The pixels that a processor made the values (channels, h, w) of."""
    processor: Any = loaded.processor
    pixels = values.permute(1, 2, 0).numpy()
    if getattr(processor, "do_normalize", False):
        pixels = pixels * np.array(processor.image_std) + np.array(processor.image_mean)
    if getattr(processor, "do_rescale", True):
        pixels = pixels / processor.rescale_factor
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
