"""Training with what is fast on a CPU; on another device LoRA layers alone are fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines import cpu
from pipelines.errors import UserError
from pipelines.families.training import TrainerMixin
from pipelines.families.training.batches import input_ids
from pipelines.networks import precision


class CpuTraining(TrainerMixin):
    """Trains within `cpu.training`.

    Args:
        half_copies: compute in bf16 copies of the weights; see `use_half_copies`.
    """

    def __init__(self, *arguments: Any, half_copies: bool | None = None, **keywords: Any):
        self.half_copies = use_half_copies(half_copies, keywords["args"])
        if self.half_copies:
            keywords["args"].bf16 = False  # no autocast around them
        super().__init__(*arguments, **keywords)

    def train(self, *arguments: Any, **keywords: Any) -> Any:
        """Trains; afterwards the model is the library's again."""
        network: Any = self.accelerator.unwrap_model(self.model)
        # AdamW without weight decay leaves the embeddings of tokens that are not read as they are.
        only_used = self.args.weight_decay == 0 and "adamw" in self.args.optim
        used_ids = self._used_ids() if only_used else None
        with cpu.training(network, used_ids=used_ids, half_copies=self.half_copies):
            return super().train(*arguments, **keywords)

    def _used_ids(self) -> Tensor | None:
        """All token ids that training reads; None to train all embeddings."""
        tokenizer: Any = self.processing_class
        padding = torch.tensor([tokenizer.pad_token_id or 0])
        rows = [torch.as_tensor(ids) for ids in input_ids(self.train_dataset)]
        return torch.cat([padding, *rows]).unique()


def use_half_copies(asked: bool | None, training: Any) -> bool:
    """Whether to train in bf16 copies of the weights: as asked, else on a CPU with fast bf16.

    Args:
        training: the `TrainingArguments`.

    Raises:
        UserError: where they are asked for and impossible.
    """
    # Gradient checkpointing computes the states again, and DDP gathers gradients, by the weights
    # that are not copies.
    conflict = None
    if training.gradient_checkpointing:
        conflict = "gradient_checkpointing"
    elif training.world_size > 1:
        conflict = f"{training.world_size} processes"
    if asked and conflict:
        raise UserError(
            f"got --half_copies true with {conflict}, which do not go together; leave out one of "
            "them"
        )
    if asked is not None:
        return asked
    return bool(training.bf16 and precision.choose().device == "cpu" and not conflict)
