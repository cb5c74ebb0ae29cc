"""Many classification heads on the same frozen features, trained at once, and the best one as an ordinary checkpoint.

A head is linear or has one hidden layer. Heads of one shape are stacked, (P, ·, ·), so that a step of all of them is
one batched product. A point's numbers depend on itself and the seed alone: all points see the same batches, start from
the same weights, and draw the same random numbers for their dropout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.activations import ACT2FN

from pipelines.families.sequence_classifier import Settings
from pipelines.networks.pooled_classifier import PooledClassifier, PooledClassifierConfig

# Where the library's own classification model has a hidden layer on the first token, and what it puts behind it.
OWN_HIDDEN_LAYER = {"bert": ("bert.pooler.dense", "classifier", "tanh"),
                    "distilbert": ("pre_classifier", "classifier", "relu"),
                    "roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
                    "deberta-v2": ("pooler.dense", "classifier", "gelu")}
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the grid.

    Attributes:
        pooling: the features that it reads.
        hidden_layer: width of the hidden layer; 0 = a linear head.
        learning_rate: of AdamW at the first step; it falls to 0 in a straight line.
        weight_decay: decoupled, on weights and not on biases.
        dropout: on the features and on the hidden layer.
        class_weight: `none`, or `balanced`: each class weighs as much as any other.
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
    """P trained heads of one shape, which read features as they are: the scaling is in their weights.

    Attributes:
        dense: (P, H, K) and (P, 1, K) of the hidden layer; None for linear heads.
        out: (P, K, C) and (P, 1, C); K is H for linear heads.
        activation: behind the hidden layer.
    """

    dense: tuple[Tensor, Tensor] | None
    out: tuple[Tensor, Tensor]
    activation: str

    @torch.inference_mode()
    def scores(self, features: np.ndarray) -> np.ndarray:
        """From (N, H), or states of tokens (N, T, H), to (P, N, C)."""
        found = []
        for part in torch.from_numpy(features).split(512):
            x, there = _tokens(part)
            if self.dense is not None:
                x = ACT2FN[self.activation](torch.matmul(x, self.dense[0]) + self.dense[1])    # (P, n, K)
            found.append(_best(torch.matmul(x, self.out[0]) + self.out[1], there))
        return torch.cat(found, dim=1).numpy()


def activation_for(model_type: str) -> str:
    """What the library's own head has behind its hidden layer, so that the best head may fit into it."""
    return OWN_HIDDEN_LAYER.get(model_type, ("", "", "tanh"))[2]


def train_heads(features: np.ndarray, targets: Sequence[Any], points: Sequence[Point], *, n_classes: int,
                activation: str = "tanh", batch_size: int = 64, seed: int = 0, progress: bool = False) -> Heads:
    """Trains a head for each point, by AdamW (Loshchilov and Hutter 2019, algorithm 2) on scaled features.

    Args:
        features: float32 of shape (N, H); or (N, T, H), the states of T tokens, NaN where a text has fewer.
        targets: N class numbers, or N rows of 0.0 and 1.0 where a text may have several classes.
        points: of one pooling and one width of the hidden layer.
    """
    if len({(point.pooling, point.hidden_layer) for point in points}) != 1:
        raise ValueError("points of several shapes cannot be stacked")
    given = torch.from_numpy(features)
    rows, _ = _tokens(given)
    mean, scale = rows.mean(0), rows.std(0, correction=0)                                      # (H,)
    scale = scale.clamp_min(max(0.01 * float(scale.mean()), 1e-6))  # what hardly varies is not blown up
    y = torch.tensor(targets)
    weights = torch.stack([class_weights(y, point.class_weight, n_classes) for point in points])   # (P, C)
    trained = _Stack(points, given.shape[-1], n_classes, activation, seed)
    steps = -(-len(given) // batch_size)
    random = torch.Generator().manual_seed(seed)
    for epoch in tqdm(range(max(point.epochs for point in points)), desc=f"training {len(points)} heads", unit="epoch",
                      disable=None if progress else True):
        shuffled = torch.randperm(len(given), generator=random)
        for step in range(steps):
            batch = shuffled[step::steps]
            rows, there = _tokens(given[batch])
            scores = trained.forward((rows - mean) / scale, random)
            loss = _loss(_best(scores, there), y[batch], weights)
            trained.update(torch.autograd.grad(loss, trained.parameters), epoch * steps + step, steps)
    return trained.heads(mean, scale)


def _tokens(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The tokens of texts (N, T, H) in a row, (n, H), and where they stood, (N, T); texts as vectors, (N, H), stay."""
    if x.dim() == 2:
        return x, None
    there = ~x[..., 0].isnan()
    return x[there], there


def _best(scores: Tensor, there: Tensor | None) -> Tensor:
    """The highest score of a class among the tokens of each text: from (P, n, C) to (P, N, C)."""
    if there is None:
        return scores
    of_texts = scores.new_full((len(scores), *there.shape, scores.shape[-1]), torch.finfo(scores.dtype).min)
    of_texts[:, there] = scores
    return of_texts.amax(2)


def class_weights(targets: Tensor, kind: str, n_classes: int) -> Tensor:
    """(C,): 1, or the inverse of how common each class is, where the mean over the texts is 1.

    Where a text may have several classes it weighs the texts that have it against those that have not.
    """
    if kind == "none":
        return torch.ones(n_classes)
    if targets.dim() == 2:
        there = targets.sum(0).clamp_min(1)
        return (len(targets) - there).clamp_min(1) / there
    counts = torch.bincount(targets, minlength=n_classes).clamp_min(1)
    return len(targets) / ((torch.bincount(targets, minlength=n_classes) > 0).sum() * counts)


def _loss(logits: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The sum over heads of each one's mean weighted loss; logits are (P, B, C), weights (P, C)."""
    if y.dim() == 2:
        each = binary_cross_entropy_with_logits(logits, y.expand_as(logits), reduction="none",
                                                pos_weight=weights[:, None])
        return each.mean(dim=(1, 2)).sum()
    losses = cross_entropy(logits.transpose(1, 2), y.expand(len(logits), -1), reduction="none")   # (P, B)
    return (losses * weights[:, y]).mean(dim=1).sum()


class _Stack:
    """The stacked weights of P heads while they are trained, with AdamW's two moments of each."""

    def __init__(self, points: Sequence[Point], width: int, n_classes: int, activation: str, seed: int):
        self.activation, self.size = activation, len(points)
        self.rate, self.decay, self.dropout, self.epochs = (
            torch.tensor([getattr(point, name) for point in points], dtype=torch.float32)[:, None, None]
            for name in ("learning_rate", "weight_decay", "dropout", "epochs"))                # (P, 1, 1)
        hidden = points[0].hidden_layer
        random = torch.Generator().manual_seed(seed)
        self.parameters = []
        for rows, columns in [*([(width, hidden)] if hidden else []), (hidden or width, n_classes)]:
            # Of `nn.Linear`: uniform within one over the square root of the width.
            weight = (torch.rand(rows, columns, generator=random) * 2 - 1) / rows ** 0.5
            self.parameters += [weight.repeat(self.size, 1, 1), torch.zeros(self.size, 1, columns)]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.moments = [(torch.zeros_like(parameter), torch.zeros_like(parameter)) for parameter in self.parameters]

    def forward(self, x: Tensor, random: torch.Generator) -> Tensor:
        """From (B, H) to (P, B, C)."""
        x = self._dropped(x, random)
        for place in range(0, len(self.parameters), 2):
            if place:
                x = self._dropped(ACT2FN[self.activation](x), random)
            x = torch.matmul(x, self.parameters[place]) + self.parameters[place + 1]
        return x

    def _dropped(self, x: Tensor, random: torch.Generator) -> Tensor:
        drawn = torch.rand(x.shape[-2:], generator=random)  # one draw for all, compared with each one's rate
        if not self.dropout.any():
            return x
        return x * ((drawn >= self.dropout) / (1 - self.dropout))                              # (P, B, ·)

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], step: int, steps: int) -> None:
        # A head whose epochs are over has the rate 0 and stays as it is.
        rate = self.rate * (1 - step / (self.epochs * steps)).clamp_min(0)
        first, second = 1 - BETAS[0] ** (step + 1), 1 - BETAS[1] ** (step + 1)
        for place, (parameter, gradient, (mean, square)) in enumerate(
                zip(self.parameters, gradients, self.moments, strict=True)):
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            if place % 2 == 0:
                parameter.mul_(1 - rate * self.decay)
            parameter.sub_(rate * (mean / first) / ((square / second).sqrt_() + EPSILON))

    @torch.no_grad()
    def heads(self, mean: Tensor, scale: Tensor) -> Heads:
        weight, bias = self.parameters[:2]
        weight = weight / scale[:, None]
        layers = [(weight, bias - (mean @ weight)[:, None]),
                  *zip(self.parameters[2::2], self.parameters[3::2], strict=True)]
        layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
        return Heads(layers[0] if len(layers) > 1 else None, layers[-1], self.activation)


@torch.no_grad()
def classifier_with(encoder: PreTrainedModel, heads: Heads, number: int, point: Point,
                    settings: Settings) -> PreTrainedModel:
    """The encoder with one trained head: a library class where its head has that shape, else a `PooledClassifier`.

    The library's classes for BERT, DistilBERT, RoBERTa and DeBERTa read the first token through one hidden layer as
    wide as the encoder's states; a linear head, another width or another pooling does not fit into them.
    """
    labels: dict[str, Any] = {"id2label": dict(enumerate(settings.labels)),
                              "label2id": {label: i for i, label in enumerate(settings.labels)},
                              "problem_type": "multi_label_classification" if settings.multi_label else
                              "single_label_classification"}
    kind = encoder.config.model_type
    if kind in OWN_HIDDEN_LAYER and point.pooling == "cls" and point.hidden_layer == encoder.config.hidden_size \
            and heads.activation == OWN_HIDDEN_LAYER[kind][2]:
        config = type(encoder.config).from_dict(encoder.config.to_dict() | labels)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        # The encoder of a RoBERTa classifier has no pooling layer; all other weights are there.
        model.base_model.load_state_dict(encoder.state_dict(), strict=False)
        dense, out = map(model.get_submodule, OWN_HIDDEN_LAYER[kind][:2])
    else:
        given: dict[str, Any] = {"pad_token_id": encoder.config.pad_token_id, **labels}
        model = PooledClassifier(PooledClassifierConfig(
            encoder=encoder.config, pooling=point.pooling, hidden_layer=point.hidden_layer, dropout=point.dropout,
            activation=heads.activation, **given), encoder)
        dense, out = model.head.dense, model.head.classifier
    for layer, weights in ((dense, heads.dense), (out, heads.out)):
        if layer is not None and weights is not None:
            layer.weight.copy_(weights[0][number].T)
            layer.bias.copy_(weights[1][number, 0])
    return model.eval()
