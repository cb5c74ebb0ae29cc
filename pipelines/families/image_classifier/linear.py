"""Logistic regression on the pixels (scikit-learn): what a picture's class owes to colours alone.

It becomes a network of one linear layer, so that it is saved and predicts as every other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from transformers import BaseImageProcessor

from pipelines.examples import Example
from pipelines.families.image_classifier import (
    ImageSettings,
    Loaded,
    open_example,
    pixel_values,
    targets,
)
from pipelines.families.image_classifier.image_training import new_network

IMAGE_SIZE = 32  # pixels a side
C = 1e-4  # regularises: there are as many pixels as pictures, or more


def fit_linear(
    examples: Sequence[Example],
    settings: ImageSettings,
    *,
    image_size: int = IMAGE_SIZE,
    c: float = C,
) -> Loaded:
    """Fits the classes on standardised pixels, with an L2 penalty.

    Args:
        image_size: side of the square that pictures are reduced to, in pixels.
        c: inverse strength of the penalty.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    network, processor = new_network(
        settings, image_size=image_size, network="linear", widths=(1, 1), dropout=0.0
    )
    pixels = _pixels(examples, processor)  # (N, channels · S · S)
    mean, scale = pixels.mean(axis=0), pixels.std(axis=0) + 1e-6
    model = LogisticRegression(C=c, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough for a baseline
        model.fit((pixels - mean) / scale, targets(examples, settings))
    weight = model.coef_ / scale  # (C, K), or one row where there are two classes
    bias = model.intercept_ - weight @ mean
    if len(settings.labels) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(weight))
        network.classifier.bias.copy_(torch.from_numpy(bias))
    return Loaded(network.eval(), processor, settings)


def _pixels(examples: Sequence[Example], processor: BaseImageProcessor) -> np.ndarray:
    rows = []
    for example in examples:
        values = pixel_values(processor, [open_example(example, processor)])
        rows.append(values.flatten().numpy())
    return np.stack(rows)
