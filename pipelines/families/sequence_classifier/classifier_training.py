"""Fine-tuning a classifier: rows with classes, the loss, and the trainer.

What is trained and how fast (`choose_trained`, `parameter_groups`), batches of one length and bf16 copies of the
weights are those of the token tagger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import DataCollatorWithPadding

from pipelines.examples import Example
from pipelines.families.frozen_head.head_search import scores
from pipelines.families.sequence_classifier import Encoded, Loaded, Settings, encode, predict_logits, targets
from pipelines.families.token_tagger.tagging import TaggerTrainer


def training_rows(examples: Sequence[Example], tokenizer: Any, settings: Settings) -> Encoded:
    """Token ids and `labels`, a class number or 0.0 and 1.0 for each class."""
    encoded = encode(examples, tokenizer, max_length=settings.max_length)
    for row, target in zip(encoded.rows, targets(examples, settings), strict=True):
        row["labels"] = target
    return encoded


def class_frequency_weights(examples: Sequence[Example], settings: Settings, *, power: float) -> Tensor:
    """(C,) weights frequency ** -power, scaled so that the mean over the texts is 1.

    Where a text may have several classes, the weight of having a class against not having it, ** power.
    """
    given = np.array(targets(examples, settings))
    if settings.multi_label:
        there = given.sum(0).clip(1)
        return torch.tensor(((len(given) - there).clip(1) / there) ** power, dtype=torch.float32)
    counts = np.bincount(given, minlength=len(settings.labels)).clip(1).astype(float)
    weights = counts ** -power
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


class ClassifierTrainer(TaggerTrainer):
    """Batches of one length, a rate for each layer, and best checkpoint by the classes of dev.

    Args:
        dev: examples that checkpoints are compared on.
        classes: how their classes are read.
    """

    def __init__(self, *arguments: Any, classes: Settings, **keywords: Any):
        super().__init__(*arguments, settings=None, **keywords)  # type: ignore[arg-type]
        self.classes = classes
        self.data_collator = DataCollatorWithPadding(keywords["processing_class"])

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> Any:
        if not self.classes.multi_label:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self.keep_frozen_steady(self.accelerator.unwrap_model(model))
        labels = inputs.pop("labels").float()                                                  # (B, C)
        outputs = self._outputs(model, inputs)
        weight = None if self.weight is None else self.weight.to(labels.device)
        smoothing = self.args.label_smoothing_factor
        wanted = labels * (1 - smoothing) + smoothing / 2
        losses = binary_cross_entropy_with_logits(outputs.logits.float(), wanted, reduction="none", pos_weight=weight)
        if self.focal_gamma:
            likelihood = (outputs.logits.float() * (2 * labels - 1)).sigmoid()
            losses = losses * (1 - likelihood) ** self.focal_gamma
        loss = losses.sum() / (num_items_in_batch if num_items_in_batch is not None else labels.numel())
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Predicts the dev examples and scores them."""
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        tokenizer: Any = self.processing_class
        with self.averaged():
            logits = predict_logits(Loaded(model, tokenizer, self.classes), self.dev, progress=False)
        found = scores(logits, np.array(targets(self.dev, self.classes)), None)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
