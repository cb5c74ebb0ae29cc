"""Training a classifier: rows with classes, class weights, thresholds, and the trainer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, Trainer

from pipelines.corpora.class_splits import ClassSplits
from pipelines.corpora.splits import classes_of
from pipelines.evaluation.thresholds import decision_scores, has_rare_class, tune_offsets
from pipelines.examples import Example
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.sequence_classifier import (
    Encoded,
    Loaded,
    encode,
    predict_logits,
    targets,
)
from pipelines.families.training.averaging import WeightAveraging
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.dev_scores import DevScores
from pipelines.families.training.encoders import FrozenParts, LayerRates
from pipelines.families.training.losses import SummedLoss, frequency_weights, presence_weights
from pipelines.formatting import some

logger = logging.getLogger(__name__)


def training_rows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: ClassifierSettings
) -> Encoded:
    """Token ids and `labels`: a class index, or 0.0 and 1.0 for each class."""
    encoded = encode(examples, tokenizer, max_length=settings.max_length)
    for row, target in zip(encoded.rows, targets(examples, settings), strict=True):
        row["labels"] = target
    return encoded


def class_frequency_weights(
    examples: Sequence[Example], settings: ClassifierSettings, *, power: float
) -> Tensor:
    """(C,) weights of the classes by their frequency in the examples.

    See `frequency_weights`, and `presence_weights` where a text may have several classes.
    """
    labels = np.array(targets(examples, settings))
    if settings.multi_label:
        return presence_weights(labels.sum(0), total=len(labels), power=power)
    return frequency_weights(np.bincount(labels, minlength=len(settings.labels)), power=power)


def log_cut_texts(
    classes: ClassSplits, tokenizer: PreTrainedTokenizerBase, settings: ClassifierSettings
) -> None:
    """Logs the texts of each split that are longer than the model reads."""
    for split, part in classes.splits.items():
        texts = classes.usable("train") if split == "train" else part
        cut = encode(texts, tokenizer, max_length=settings.max_length).cut
        if cut:
            logger.info(
                "%s: %d texts are over that and lose their end: id %s", split, len(cut), some(cut)
            )


def tunes_thresholds(requested: bool | None, classes: ClassSplits) -> bool:
    """Whether thresholds are tuned: as requested, else where a class is rare."""
    if requested is not None:
        return requested
    train = classes.usable("train")
    return has_rare_class(
        Counter(label for example in train for label in classes_of(example)),
        n_examples=len(train),
        n_classes=len(classes.labels),
        multi_label=classes.multi_label,
    )


def with_thresholds(loaded: Loaded, dev: Sequence[Example]) -> Loaded:
    """A classifier with the thresholds that give the best macro F1 on dev."""
    logits = predict_logits(loaded, dev, progress=False)
    labels = np.array(targets(dev, loaded.settings), dtype=int)
    offsets = tune_offsets(logits, labels, "macro_f1")
    return loaded._replace(settings=replace(loaded.settings, offsets=tuple(offsets.tolist())))


class ClassLoss(SummedLoss):
    """The loss of one class a text, or of each class by itself where a text may have several."""

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over its labels, and what the model returned."""
        labels = inputs["labels"]  # (B,) or (B, C)
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        return self.class_loss(outputs.logits, labels), outputs


class ClassScores(DevScores, ClassLoss):
    """Scores of the classes that texts are given, and the loss of the same logits.

    Args:
        settings: how texts are encoded and classes are decided.
    """

    def __init__(self, *arguments: Any, settings: ClassifierSettings, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.settings = settings

    @torch.inference_mode()
    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Classifies examples as `predict` does."""
        model: Any = self.accelerator.unwrap_model(self.model)
        tokenizer: Any = self.processing_class
        loaded = Loaded(model, tokenizer, self.settings)
        logits = predict_logits(loaded, examples, progress=False)  # (N, C)
        labels = np.array(targets(examples, self.settings))
        loss = self.class_loss(torch.from_numpy(logits), torch.from_numpy(labels))
        return {"loss": float(loss) / max(labels.size, 1), **decision_scores(logits, labels)}


class ClassifierTrainer(
    CpuTraining, WeightAveraging, LayerRates, FrozenParts, LengthBatches, ClassScores, Trainer
):
    """Fine-tunes an encoder with a classification head; checkpoints are compared by dev scores."""

    def __init__(self, *arguments: Any, **keywords: Any):
        pad_rows = DataCollatorWithPadding(keywords["processing_class"])
        super().__init__(*arguments, **keywords | {"data_collator": pad_rows})
