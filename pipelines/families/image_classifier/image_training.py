"""Fine-tuning on pictures: rows that change with each epoch, and the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, Trainer, TrainerCallback, ViTImageProcessorPil

from pipelines.evaluation.thresholds import decision_scores
from pipelines.examples import Example
from pipelines.families.image_classifier import (
    ImageSettings,
    Loaded,
    logits_of,
    open_example,
    pixel_values,
    side_of,
    targets,
)
from pipelines.families.image_classifier.augmentation import Augmentation, augmented
from pipelines.families.sequence_classifier.classifier_training import ClassLoss
from pipelines.families.training.dev_scores import DevScores
from pipelines.families.training.encoders import FrozenParts
from pipelines.networks.image_net import SmallImageNet, SmallImageNetConfig
from pipelines.networks.labels import label_map

MOST_KEPT = 2**30  # bytes of opened pictures that are kept in memory


class Pictures:
    """Opens the pictures of examples, each once where all of them fit into memory."""

    def __init__(self, examples: Sequence[Example], processor: BaseImageProcessor):
        self.examples, self.processor = examples, processor
        needed = len(examples) * 3 * (2 * side_of(processor)) ** 2
        self.kept: dict[int, Image.Image] | None = {} if needed <= MOST_KEPT else None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Image.Image:
        if self.kept is None:
            return open_example(self.examples[index], self.processor)
        if index not in self.kept:
            self.kept[index] = open_example(self.examples[index], self.processor)
        return self.kept[index]


class PictureRows(Dataset[dict[str, Tensor]]):
    """Rows of `pixel_values` (channels, height, width) and `labels`, changed anew in each epoch.

    A row depends on seed, epoch and index alone, so that a resumed training sees the same ones.

    Args:
        epoch: of training, from 0.
    """

    has_tokens = False

    def __init__(
        self,
        examples: Sequence[Example],
        processor: BaseImageProcessor,
        settings: ImageSettings,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        self.pictures, self.processor = Pictures(examples, processor), processor
        self.targets = targets(examples, settings)
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.pictures[index]
        if self.augmentation is not None:
            random = np.random.default_rng([self.seed, self.epoch, index])
            image = augmented(image, self.augmentation, random)
        [values] = pixel_values(self.processor, [image])
        return {"pixel_values": values, "labels": torch.tensor(self.targets[index])}


class NextEpoch(TrainerCallback):
    """Gives the rows the number of the epoch."""

    def __init__(self, rows: PictureRows):
        self.rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.rows.epoch = int(state.epoch or 0)


class ImageScores(DevScores, ClassLoss):
    """Scores of the classes that pictures are given, and the loss of the same logits.

    Args:
        settings: how classes are decided.
    """

    def __init__(self, *arguments: Any, settings: ImageSettings, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.settings = settings
        self.opened: dict[int, Pictures] = {}

    @torch.inference_mode()
    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Classifies examples as `predict` does."""
        processor: Any = self.processing_class
        model: Any = self.accelerator.unwrap_model(self.model)
        pictures = self.opened.setdefault(id(examples), Pictures(examples, processor))
        images = (pictures[index] for index in range(len(pictures)))
        loaded = Loaded(model, processor, self.settings)
        logits = logits_of(loaded, images, count=len(pictures), progress=False)  # (N, C)
        labels = np.array(targets(examples, self.settings))
        loss = self.class_loss(torch.from_numpy(logits), torch.from_numpy(labels))
        return {"loss": float(loss) / max(labels.size, 1), **decision_scores(logits, labels)}


class ImageTrainer(FrozenParts, ImageScores, Trainer):
    """Trains a classifier of pictures; checkpoints are compared by the scores of dev."""


def new_network(
    settings: ImageSettings, *, image_size: int, **options: Any
) -> tuple[SmallImageNet, BaseImageProcessor]:
    """A small network with random weights, and the image processor that goes with it.

    Args:
        image_size: side of the square that pictures are reduced to, in pixels.
        options: of `SmallImageNetConfig`.
    """
    size = {"height": image_size, "width": image_size}
    processor = ViTImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    labels = label_map(settings.labels)
    config = SmallImageNetConfig(image_size=image_size, **labels, **options)
    return SmallImageNet(config), processor
