"""Training a sequence regressor: its size and scales from the data, rows, and the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer

from pipelines.errors import UserError
from pipelines.evaluation.regression import value_scores
from pipelines.examples import Example, Fields, JsonObject
from pipelines.families.sequence_regressor import (
    check_width,
    padded,
    predict_values,
    sequence_of,
)
from pipelines.families.training.dev_scores import DevScores
from pipelines.families.training.losses import SummedLoss
from pipelines.networks.sequence_regression import SequenceRegressionConfig, SequenceRegressor


def new_network(examples: Sequence[Example], *, network: str, **options: Any) -> SequenceRegressor:
    """A network with random weights, of the size and with the scales of its training examples.

    Args:
        network: one of `NETWORKS`.
        options: of `SequenceRegressionConfig`.

    Raises:
        UserError: for options that do not fit together.
        DataError: for sequences of another width than the first.
    """
    check_width(examples, sequence_of(examples[0]).shape[1])
    sequences = list(map(sequence_of, examples))
    lengths = list(map(len, sequences))
    shape = {
        "input_size": sequences[0].shape[1],
        "steps": min(lengths) if network == "truncated" else max(lengths),
    }
    try:
        config = SequenceRegressionConfig(
            network=network, **shape, **_scales(sequences, targets(examples)), **options
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the options do not fit together: {reason}") from error
    return SequenceRegressor(config)


def targets(examples: Sequence[Example]) -> np.ndarray:
    """The numbers to predict, (N,)."""
    return np.array([example.label for example in examples], dtype=float)


def _scales(sequences: Sequence[np.ndarray], numbers: np.ndarray) -> JsonObject:
    """Means and standard deviations of the steps and of the numbers; a constant has scale 1."""
    steps = np.concatenate(sequences).astype(float)  # (sum of T, D)
    scale, target_scale = steps.std(axis=0), float(numbers.std())
    return {
        "input_mean": steps.mean(axis=0).tolist(),
        "input_scale": np.where(scale > 0, scale, 1.0).tolist(),
        "target_mean": float(numbers.mean()),
        "target_scale": target_scale or 1.0,
    }


def training_rows(examples: Sequence[Example], model: SequenceRegressor) -> list[JsonObject]:
    """`features` (T, D) and `labels`, the number in standard deviations from the mean.

    So no label is -100, which the library would not count.
    """
    labels = model.standardised(torch.from_numpy(targets(examples))).tolist()
    return [
        {"features": sequence_of(example), "labels": label}
        for example, label in zip(examples, labels, strict=True)
    ]


def pad_rows(rows: Sequence[Fields]) -> dict[str, Tensor]:
    """A batch of rows, with its mask."""
    labels = torch.tensor([row["labels"] for row in rows], dtype=torch.float32)  # (B,)
    return {**padded([row["features"] for row in rows]), "labels": labels}


class ValueLoss(SummedLoss):
    """The mean squared error, in units of the variance of the numbers of training."""

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The squared errors of a batch, summed, and what the model returned."""
        labels = inputs["labels"]  # (B,)
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        network: Any = self.accelerator.unwrap_model(model)
        errors = network.standardised(outputs.logits[:, 0].float()) - labels  # (B,)
        return (errors**2).sum(), outputs


class ValueScores(DevScores, ValueLoss):
    """The mean squared error of the numbers predicted, in the units of the data."""

    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Predicts numbers as `predict` does."""
        model: Any = self.accelerator.unwrap_model(self.model)
        scores = value_scores(targets(examples), predict_values(model, examples))
        mse = float(scores["mse"] or 0.0)
        return {"loss": mse / model.config.target_scale**2, "mse": mse}


class RegressorTrainer(ValueScores, Trainer):
    """Trains a sequence regressor; checkpoints are compared by their MSE on dev."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords | {"data_collator": pad_rows})
