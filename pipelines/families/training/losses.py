"""Losses of labels, summed and divided once; class weights and focal loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from pipelines.families.training import TrainerMixin
from pipelines.networks.labels import IGNORED


class SummedLoss(TrainerMixin):
    """A loss that is a sum over labels, divided once: by the number of labels of the whole step.

    A trainer defines `summed_loss`; -100 is no label.

    Args:
        weight: (C,), of the classes.
        focal_gamma: exponent of a focal loss; 0 = cross-entropy.
    """

    def __init__(
        self,
        *arguments: Any,
        weight: Tensor | None = None,
        focal_gamma: float = 0.0,
        **keywords: Any,
    ):
        super().__init__(*arguments, **keywords)
        self.weight, self.focal_gamma = weight, focal_gamma
        # So that `num_items_in_batch` counts the labels of a whole step.
        self.model_accepts_loss_kwargs = True

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over its labels, and what the model returned.

        Args:
            model: as it is called, so perhaps wrapped.
            inputs: with `labels`.
        """
        raise NotImplementedError

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        """The mean loss over labels: of the whole step where their number is given."""
        count = num_items_in_batch
        if count is None:
            count = (inputs["labels"] != IGNORED).sum()
        loss, outputs = self.summed_loss(model, inputs)
        loss = loss / torch.as_tensor(count).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`class_loss` with the options of this trainer."""
        return class_loss(
            logits,
            labels,
            weight=self.weight,
            focal_gamma=self.focal_gamma,
            label_smoothing=self.args.label_smoothing_factor,
        )


def class_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Summed cross-entropy of classes, exclusive or not.

    Args:
        logits: (N, C).
        labels: (N,) class indices, or (N, C) of 0 and 1 where several classes may hold.
        weight: (C,); where several may hold, the weight of having a class against lacking it.
        focal_gamma: multiplies each loss by (1 - p) ** gamma, p the probability of the true label
            (Lin et al. 2017, equation 4).
        label_smoothing: share of the target that is spread evenly.
    """
    logits = logits.float()
    weight = None if weight is None else weight.to(labels.device)
    if labels.dim() == 2:
        targets = labels.float() * (1 - label_smoothing) + label_smoothing / 2
        losses = binary_cross_entropy_with_logits(
            logits, targets, reduction="none", pos_weight=weight
        )  # (N, C)
    else:
        losses = cross_entropy(
            logits, labels, reduction="none", label_smoothing=label_smoothing
        )  # (N,)
        if weight is not None:
            losses = losses * weight[labels]
    if focal_gamma:
        losses = losses * (1 - _likelihood(logits, labels)) ** focal_gamma
    return losses.sum()


def _likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The probability of each label, of the shape of the labels."""
    if labels.dim() == 2:
        return (logits * (2 * labels - 1)).sigmoid()
    return logits.softmax(-1).gather(1, labels[:, None])[:, 0]


def frequency_weights(counts: np.ndarray, *, power: float) -> Tensor:
    """Weights frequency ** -power of exclusive classes, whose mean over all labels is 1.

    Args:
        counts: (C,), how often each class is a label. One that never is counts as once.
        power: 0 = all labels alike, 1 = all classes alike.

    Returns:
        (C,)
    """
    weights = counts.clip(1).astype(float) ** -power
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def presence_weights(counts: np.ndarray, *, total: int, power: float) -> Tensor:
    """Weights of having a class against lacking it, (lacking / having) ** power.

    Args:
        counts: (C,), how many of the `total` examples have each class; several may.

    Returns:
        (C,)
    """
    having = counts.clip(1)
    return torch.tensor(((total - having).clip(1) / having) ** power, dtype=torch.float32)
