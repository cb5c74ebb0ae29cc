"""A network that classifies pictures: opening, prediction, saving and loading.

Any `AutoModelForImageClassification`: a small network of ours, or a checkpoint such as a ViT,
ResNet or ConvNeXt. Pictures are prepared by the checkpoint's own image processor, on Pillow and
NumPy. Training and prediction open a picture by the same function, `open_example`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedModel,
)

from pipelines.corpora.images.pictures import open_picture
from pipelines.corpora.writing import replacing
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction
from pipelines.families.batching import progress_bar
from pipelines.families.class_answers import ClassifierSettings, predictions_from
from pipelines.networks import image_net, precision, weights
from pipelines.networks.labels import follow_labels, label_map, labels_of

MODEL_FILE = "image_classifier.json"
BATCH_SIZE = 64  # pictures of a batch in prediction
_OUR_NETWORKS = (image_net,)  # importing them registers them


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How classes are decided.

    Attributes:
        labels: the classes, in the order of the logits.
    """

    labels: tuple[str, ...]


class Loaded(NamedTuple):
    """A model ready to predict."""

    model: PreTrainedModel
    processor: BaseImageProcessor
    settings: ImageSettings


def side_of(processor: BaseImageProcessor) -> int:
    """The shorter side, in pixels, that a processor reduces pictures to."""
    sizes: Any = getattr(processor, "size", None) or {}
    sides = [sizes.get(name) for name in ("shortest_edge", "height", "width")]
    known = [int(side) for side in sides if side]
    return min(known) if known else 224


def open_example(example: Example, processor: BaseImageProcessor) -> Image.Image:
    """The picture of an example in RGB, upright, and at most twice as large as the network's.

    Raises:
        DataError: for a text.
        UserError: for a picture that cannot be read.
    """
    if not isinstance(example.features, str):
        raise DataError(f"example {example.id} is a text; wanted pictures for this model")
    image = open_picture(example.features)
    factor = 2 * side_of(processor) / min(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(factor * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def pixel_values(processor: BaseImageProcessor, images: Sequence[Image.Image]) -> Tensor:
    """(B, channels, height, width) as the network reads pictures."""
    prepared: Any = processor(images=list(images), return_tensors="pt")
    values: Tensor = prepared["pixel_values"]
    return values


def targets(examples: Sequence[Example], settings: ImageSettings) -> list[int]:
    """The class index of each example."""
    index = {label: i for i, label in enumerate(settings.labels)}
    return [index[str(example.label)] for example in examples]


def load_processor(name: str) -> BaseImageProcessor:
    """Loads the image processor of a checkpoint, in the form that needs Pillow and NumPy only.

    Raises:
        UserError: when it could not be loaded.
    """
    try:
        processor: BaseImageProcessor = AutoImageProcessor.from_pretrained(
            weights.resolve(name), backend="pil", trust_remote_code=False
        )
    except (*weights.LOADING_ERRORS, ImportError) as error:
        raise weights.unavailable(name, error) from error
    return processor


def load_network(name: str, settings: ImageSettings) -> tuple[PreTrainedModel, list[str]]:
    """Loads a checkpoint with a head for the classes, in float32.

    A head of the checkpoint for the same classes is kept.

    Returns:
        The model, and the names of the weights that start at random.

    Raises:
        UserError: when it could not be loaded.
    """
    path = weights.resolve(name)
    head = label_map(settings.labels)
    try:
        before = labels_of(AutoConfig.from_pretrained(path, trust_remote_code=False))
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, **head)
        model, report = AutoModelForImageClassification.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(name, error) from error
    lacking = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    return model, follow_labels(model, before, new=lacking)


def save(
    folder: str | Path,
    *,
    model: PreTrainedModel,
    processor: BaseImageProcessor,
    settings: ImageSettings,
) -> None:
    """Saves a model as safetensors, with its image processor and settings.

    The settings are written last: a folder without them was not saved to the end.
    """
    folder = Path(folder)
    model.save_pretrained(str(folder))
    processor.save_pretrained(folder)
    with replacing(folder / MODEL_FILE) as f:
        json.dump(asdict(settings), f, indent=1, ensure_ascii=False)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no finished model, or a damaged one.
    """
    folder = Path(folder)
    settings = _read_settings(folder)
    processor = load_processor(str(folder))
    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(str(folder), error) from error
    if report["missing_keys"] or labels_of(model.config) != list(settings.labels):
        raise UserError(
            f"{folder}: its weights are not those of the {len(settings.labels)} classes of "
            f"{MODEL_FILE}; train it again, or give the folder that training wrote"
        )
    return Loaded(model.to(device or precision.choose().device).eval(), processor, settings)


def _read_settings(folder: Path) -> ImageSettings:
    file = folder / MODEL_FILE
    if not file.is_file():
        raise UserError(
            f"{folder}: no {MODEL_FILE}, so no finished model; give the folder of a run that has "
            "model/"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return ImageSettings(labels=tuple(map(str, content["labels"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: damaged ({type(error).__name__}: {error}); give the folder of a run that "
            "finished training"
        ) from error


def predict(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    batch_tokens: int | None = None,
    progress: bool = True,
) -> list[Prediction]:
    """Predicts the class of each picture, and the probability of each class.

    Args:
        batch_tokens: refused: pictures have no tokens.
        progress: show a bar on a terminal.

    Raises:
        UserError: for pictures that cannot be read.
    """
    if batch_tokens is not None:
        raise UserError(f"got --batch_tokens {batch_tokens}; pictures have no tokens: leave it out")
    logits = predict_logits(loaded, examples, progress=progress)
    return predictions_from(examples, logits, ClassifierSettings(loaded.settings.labels))


@torch.inference_mode()
def predict_logits(
    loaded: Loaded, examples: Sequence[Example], *, progress: bool = True
) -> np.ndarray:
    """Logits of the classes, float32 of shape (N, C)."""
    images = (open_example(example, loaded.processor) for example in examples)
    return logits_of(loaded, images, count=len(examples), progress=progress)


@torch.inference_mode()
def logits_of(
    loaded: Loaded, images: Iterator[Image.Image], *, count: int, progress: bool = True
) -> np.ndarray:
    """Logits (N, C) of opened pictures.

    Args:
        count: N.
    """
    model: Any = loaded.model
    parts = [np.zeros((0, len(loaded.settings.labels)), np.float32)]
    with progress_bar(count, "classifying", show=progress) as bar:
        for start in range(0, count, BATCH_SIZE):
            batch = [next(images) for _ in range(min(BATCH_SIZE, count - start))]
            values = pixel_values(loaded.processor, batch).to(model.device)
            parts.append(model(pixel_values=values).logits.float().cpu().numpy())
            bar.update(len(batch))
    return np.concatenate(parts)
