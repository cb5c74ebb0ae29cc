"""Many classification heads on the same frozen features, trained at once.

A head is linear or has one hidden layer. Heads of one shape are stacked, (P, ·, ·), so that a step
of all of them is one batched matmul. The result of a point depends on itself and the seed alone:
all points see the same batches, start from the same weights, and draw the same random numbers for
their dropout. The best head becomes an ordinary checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.activations import ACT2FN

from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.sequence_classifier import head_config
from pipelines.families.training.losses import frequency_weights, presence_weights
from pipelines.networks.pooled_classifier import PooledClassifier, PooledClassifierConfig

# The hidden layer on the first token of the library's classifiers, their output layer, and the
# activation between them.
OWN_HIDDEN_LAYER = {
    "bert": ("bert.pooler.dense", "classifier", "tanh"),
    "distilbert": ("pre_classifier", "classifier", "relu"),
    "roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
    "deberta-v2": ("pooler.dense", "classifier", "gelu"),
}
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the grid.

    Attributes:
        pooling: the features that the head reads.
        hidden_layer: width of the hidden layer; 0 = a linear head.
        learning_rate: of AdamW at the first step; it falls linearly to 0.
        weight_decay: decoupled, of weights and not of biases.
        dropout: on the features and on the hidden layer.
        class_weight: `none`, or `balanced`: all classes weigh the same.
        epochs: passes over the training texts.
    """

    pooling: str = "mean"
    hidden_layer: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    dropout: float = 0.0
    class_weight: str = "none"
    epochs: int = 20


class Heads(NamedTuple):
    """P trained heads of one shape, on unscaled features: the scaling is in their weights.

    Attributes:
        dense: (P, H, K) and (P, 1, K) of the hidden layer; None for linear heads.
        out: (P, K, C) and (P, 1, C); K is H for linear heads.
        activation: after the hidden layer.
    """

    dense: tuple[Tensor, Tensor] | None
    out: tuple[Tensor, Tensor]
    activation: str

    @torch.inference_mode()
    def scores(self, features: np.ndarray) -> np.ndarray:
        """Logits (P, N, C) of features (N, H), or of states of tokens (N, T, H)."""
        logits = []
        for part in torch.from_numpy(features).split(512):
            x, mask = _flat_tokens(part)
            if self.dense is not None:
                weight, bias = self.dense
                x = ACT2FN[self.activation](torch.matmul(x, weight) + bias)  # (P, n, K)
            weight, bias = self.out
            logits.append(_max_over_tokens(torch.matmul(x, weight) + bias, mask))
        return torch.cat(logits, dim=1).numpy()


def activation_for(model_type: str) -> str:
    """The activation of the library's own head, so that a trained head may fit into it."""
    return OWN_HIDDEN_LAYER.get(model_type, ("", "", "tanh"))[2]


def train_heads(
    features: np.ndarray,
    targets: Sequence[object],
    points: Sequence[Point],
    *,
    n_classes: int,
    activation: str = "tanh",
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> Heads:
    """Trains a head for each point, by AdamW (Loshchilov and Hutter 2019, algorithm 2).

    Features are scaled to zero mean and unit variance.

    Args:
        features: float32 of shape (N, H); or (N, T, H), the states of T tokens, NaN where a text
            has fewer.
        targets: N class indices, or N rows of 0.0 and 1.0 where a text may have several classes.
        points: of one pooling and one width of the hidden layer.

    Raises:
        ValueError: for points of several shapes.
    """
    if len({(point.pooling, point.hidden_layer) for point in points}) != 1:
        raise ValueError("points of several shapes cannot be stacked")
    x, y = torch.from_numpy(features), torch.tensor(targets)
    rows, _ = _flat_tokens(x)
    mean, scale = rows.mean(0), rows.std(0, correction=0)  # (H,)
    # What hardly varies is not scaled up.
    scale = scale.clamp_min(max(0.01 * float(scale.mean()), 1e-6))
    weights = torch.stack(
        [class_weights(y, point.class_weight, n_classes) for point in points]
    )  # (P, C)
    stack = _Stack(points, x.shape[-1], n_classes, activation, seed)
    steps = -(-len(x) // batch_size)
    random = torch.Generator().manual_seed(seed)
    epochs = tqdm(
        range(max(point.epochs for point in points)),
        desc=f"training {len(points)} heads",
        unit="epoch",
        disable=None if progress else True,
    )
    for epoch in epochs:
        shuffled = torch.randperm(len(x), generator=random)
        for step in range(steps):
            batch = shuffled[step::steps]
            rows, mask = _flat_tokens(x[batch])
            logits = stack.forward((rows - mean) / scale, random)
            loss = _loss(_max_over_tokens(logits, mask), y[batch], weights)
            gradients = torch.autograd.grad(loss, stack.parameters)
            stack.update(gradients, epoch * steps + step, steps)
    return stack.heads(mean, scale)


def _flat_tokens(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """All tokens of texts (N, T, H), as (n, H), and their mask (N, T); vectors (N, H) stay."""
    if x.dim() == 2:
        return x, None
    mask = ~x[..., 0].isnan()
    return x[mask], mask


def _max_over_tokens(logits: Tensor, mask: Tensor | None) -> Tensor:
    """The highest logit of each class among the tokens of a text: from (P, n, C) to (P, N, C)."""
    if mask is None:
        return logits
    lowest = torch.finfo(logits.dtype).min
    of_tokens = logits.new_full((len(logits), *mask.shape, logits.shape[-1]), lowest)
    of_tokens[:, mask] = logits  # (P, N, T, C)
    return of_tokens.amax(2)


def class_weights(targets: Tensor, kind: str, n_classes: int) -> Tensor:
    """(C,): ones, or for `balanced` the inverse frequency of each class.

    See `frequency_weights`, and `presence_weights` where a text may have several classes.
    """
    power = 1.0 if kind == "balanced" else 0.0
    if targets.dim() == 2:
        return presence_weights(targets.sum(0).numpy(), total=len(targets), power=power)
    return frequency_weights(torch.bincount(targets, minlength=n_classes).numpy(), power=power)


def _loss(logits: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The sum over heads of each one's mean weighted loss; logits (P, B, C), weights (P, C)."""
    if y.dim() == 2:
        losses = binary_cross_entropy_with_logits(
            logits, y.expand_as(logits), reduction="none", pos_weight=weights[:, None]
        )  # (P, B, C)
        return losses.mean(dim=(1, 2)).sum()
    labels = y.expand(len(logits), -1)  # (P, B)
    losses = cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # (P, B)
    return (losses * weights[:, y]).mean(dim=1).sum()


class _Stack:
    """The stacked weights of P heads in training, with AdamW's two moments of each."""

    def __init__(
        self, points: Sequence[Point], width: int, n_classes: int, activation: str, seed: int
    ):
        self.activation, self.size = activation, len(points)
        self.learning_rate = self._of_points(points, "learning_rate")
        self.weight_decay = self._of_points(points, "weight_decay")
        self.dropout = self._of_points(points, "dropout")
        self.epochs = self._of_points(points, "epochs")
        hidden = points[0].hidden_layer
        shapes = [(width, hidden), (hidden, n_classes)] if hidden else [(width, n_classes)]
        random = torch.Generator().manual_seed(seed)
        self.parameters: list[Tensor] = []  # weight and bias of each layer in turn
        for rows, columns in shapes:
            # As in `nn.Linear`: uniform within one over the square root of the width.
            weight = (torch.rand(rows, columns, generator=random) * 2 - 1) / rows**0.5
            bias = torch.zeros(self.size, 1, columns)
            self.parameters += [weight.repeat(self.size, 1, 1), bias]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]

    @staticmethod
    def _of_points(points: Sequence[Point], name: str) -> Tensor:
        values = [getattr(point, name) for point in points]
        return torch.tensor(values, dtype=torch.float32)[:, None, None]  # (P, 1, 1)

    def forward(self, x: Tensor, random: torch.Generator) -> Tensor:
        """From features (n, H) to logits (P, n, C)."""
        x = self._drop(x, random)
        for index in range(0, len(self.parameters), 2):
            if index:
                x = self._drop(ACT2FN[self.activation](x), random)
            x = torch.matmul(x, self.parameters[index]) + self.parameters[index + 1]
        return x

    def _drop(self, x: Tensor, random: torch.Generator) -> Tensor:
        # One draw for all points, compared with the dropout of each.
        draw = torch.rand(x.shape[-2:], generator=random)
        if not self.dropout.any():
            return x
        return x * ((draw >= self.dropout) / (1 - self.dropout))  # (P, n, ·)

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], step: int, steps: int) -> None:
        """One step of AdamW; `steps` is their number in an epoch."""
        # A head whose epochs are over has the learning rate 0 and stays as it is.
        rate = self.learning_rate * (1 - step / (self.epochs * steps)).clamp_min(0)
        first, second = 1 - BETAS[0] ** (step + 1), 1 - BETAS[1] ** (step + 1)
        for index, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            mean, square = self.means[index], self.squares[index]
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            if index % 2 == 0:
                parameter.mul_(1 - rate * self.weight_decay)
            parameter.sub_(rate * (mean / first) / ((square / second).sqrt_() + EPSILON))

    @torch.no_grad()
    def heads(self, mean: Tensor, scale: Tensor) -> Heads:
        """The heads with the scaling of the features, (H,) each, in their first layer."""
        parameters = [parameter.detach() for parameter in self.parameters]
        weight = parameters[0] / scale[:, None]
        bias = parameters[1] - (mean @ weight)[:, None]
        if len(parameters) == 2:
            return Heads(None, (weight, bias), self.activation)
        return Heads((weight, bias), (parameters[2], parameters[3]), self.activation)


@torch.no_grad()
def classifier_with(
    encoder: PreTrainedModel,
    heads: Heads,
    index: int,
    point: Point,
    settings: ClassifierSettings,
) -> PreTrainedModel:
    """The encoder with one trained head, as an ordinary classifier.

    The library's classes for BERT, DistilBERT, RoBERTa and DeBERTa read the first token through one
    hidden layer as wide as the encoder's states; any other head becomes a `PooledClassifier`.

    Args:
        index: of the head among `heads`.
    """
    config = encoder.config
    own = OWN_HIDDEN_LAYER.get(config.model_type)
    fits = point.pooling == "cls" and point.hidden_layer == config.hidden_size
    if own and fits and heads.activation == own[2]:
        own_config = type(config).from_dict(config.to_dict() | head_config(settings))
        model = AutoModelForSequenceClassification.from_config(own_config, dtype=torch.float32)
        # The encoder of a RoBERTa classifier has no pooling layer; all other weights are there.
        model.base_model.load_state_dict(encoder.state_dict(), strict=False)
        dense, out = map(model.get_submodule, own[:2])
    else:
        options = head_config(settings) | {"pad_token_id": config.pad_token_id}
        pooled_config = PooledClassifierConfig(
            encoder=config,
            pooling=point.pooling,
            hidden_layer=point.hidden_layer,
            dropout=point.dropout,
            activation=heads.activation,
            **options,
        )
        model = PooledClassifier(pooled_config, encoder)
        dense, out = model.head.dense, model.head.classifier
    for layer, weights in ((dense, heads.dense), (out, heads.out)):
        if layer is not None and weights is not None:
            layer.weight.copy_(weights[0][index].T)
            layer.bias.copy_(weights[1][index, 0])
    return model.eval()
