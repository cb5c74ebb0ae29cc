"""The loss of a language model on text that it was not trained on: of masked or of next tokens."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pipelines.families.batching import length_batches
from pipelines.families.training import TrainerMixin
from pipelines.families.training.losses import class_loss
from pipelines.networks.labels import IGNORED


class HeldOutLoss(NamedTuple):
    """The mean loss, in nats, and over how many predicted tokens."""

    loss: float
    predicted: int


class RowsByLength(Protocol):
    """Rows that know how many tokens each has."""

    @property
    def lengths(self) -> list[int]: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class TokenLoss(TrainerMixin):
    """The cross-entropy of predicted tokens, in training and on held-out rows.

    A trainer defines `token_logits`, and names `SummedLoss` behind this part.
    """

    def token_logits(
        self, model: nn.Module, inputs: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, object]:
        """Logits (N, V), the tokens that they predict (N,), and what the model returned.

        A token of -100 is not predicted.

        Args:
            model: as it is called, so perhaps wrapped.
            inputs: with `labels`.
        """
        raise NotImplementedError

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over its predicted tokens, and what the model returned."""
        trainer: Any = self
        logits, targets, outputs = self.token_logits(model, inputs)
        return trainer.class_loss(logits, targets), outputs

    @torch.inference_mode()
    def held_out_loss(self, rows: RowsByLength, *, batch_tokens: int) -> HeldOutLoss:
        """The mean loss over the predicted tokens of rows, in nats, without label smoothing.

        Args:
            batch_tokens: tokens of a batch at most, padding included.
        """
        model: Any = self.accelerator.unwrap_model(self.model).eval()
        collator: Any = self.data_collator
        total, predicted = 0.0, 0
        for batch in length_batches(rows.lengths, batch_tokens):
            inputs = self._prepare_inputs(collator([rows[index] for index in batch]))
            with self.accelerator.autocast():  # before training as after it
                logits, targets, _ = self.token_logits(model, inputs)
            total += float(class_loss(logits, targets))
            predicted += int((targets != IGNORED).sum())
        return HeldOutLoss(total / max(predicted, 1), predicted)
