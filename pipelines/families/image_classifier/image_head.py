"""The head of a frozen checkpoint: vectors of pictures, cached, and a grid of heads on them.

A head is the last linear layer of a checkpoint, so that the best one fits into the library's own
class, which then is saved as usual.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject
from pipelines.families.batching import progress_bar
from pipelines.families.frozen_head import Point, head_search
from pipelines.families.frozen_head.features import default_cache, read_cache, stored
from pipelines.families.image_classifier import (
    BATCH_SIZE,
    Loaded,
    open_example,
    pixel_values,
    targets,
)
from pipelines.networks import precision

POOLING = "head"  # what a point calls the vectors: those that the checkpoint's own head reads


class FoundHead(NamedTuple):
    """The best point of a grid, and all of them with their scores on dev."""

    best: JsonObject
    points: list[JsonObject]


def head_of(model: PreTrainedModel) -> nn.Linear:
    """The linear layer that scores the classes.

    Raises:
        UserError: for a network without one.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == model.config.num_labels
    ]
    if not layers:
        raise UserError(
            f"a {model.config.model_type} has no linear layer as its head; take --tune full"
        )
    return layers[-1]


def vectors_of(
    loaded: Loaded, examples: Sequence[Example], *, cache: str | Path | None = None
) -> np.ndarray:
    """What the head reads of each picture, float32 of shape (N, H): each is encoded once.

    Args:
        cache: folder of all caches, as for texts.
    """
    names = [_content_key(loaded, example) for example in examples]
    folder = Path(cache or default_cache()) / network_key(loaded)
    known = read_cache(folder, set(names))
    missing: dict[str, Example] = {}
    for name, example in zip(names, examples, strict=True):
        if name not in known:
            missing[name] = example
    if missing:
        batches = _vectors(loaded, list(missing.values()))
        with progress_bar(len(missing), "encoding", show=True) as bar:
            known |= stored(folder, list(missing), batches, bar)
    return torch.cat([known[name] for name in names]).numpy()


@torch.inference_mode()
def _vectors(
    loaded: Loaded, examples: Sequence[Example]
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Batches of indices of pictures, and of each the vector (1, H)."""
    model: Any = loaded.model.to(precision.choose().device).eval()  # type: ignore[arg-type]
    read: list[Tensor] = []
    hook = head_of(model).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        for start in range(0, len(examples), BATCH_SIZE):
            part = examples[start : start + BATCH_SIZE]
            images = [open_example(example, loaded.processor) for example in part]
            read.clear()
            model(pixel_values=pixel_values(loaded.processor, images).to(model.device))
            [vectors] = read  # (B, H)
            indices = list(range(start, start + len(part)))
            yield indices, list(vectors.float().cpu().split(1))
    finally:
        hook.remove()


def network_key(loaded: Loaded) -> str:
    """A hash of the weights but for the head, the config and the image processor."""
    digest = hashlib.sha256()
    head = {id(parameter) for parameter in head_of(loaded.model).parameters()}
    tensors = [*loaded.model.named_parameters(), *loaded.model.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        if id(tensor) not in head:
            digest.update(name.encode())
            values = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(values.view(torch.uint8).numpy().data)
    digest.update(json.dumps(loaded.processor.to_dict(), sort_keys=True, default=str).encode())
    return f"pictures-{digest.hexdigest()[:24]}"


def _content_key(loaded: Loaded, example: Example) -> str:
    image = open_example(example, loaded.processor)
    content = f"{image.size}".encode() + image.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def search_head(
    loaded: Loaded,
    train: Sequence[Example],
    dev: Sequence[Example],
    *,
    grid: Mapping[str, Sequence[Any]],
    folder: Path,
    cache: str | Path | None = None,
    seed: int = 0,
) -> FoundHead:
    """Trains the heads of a grid on train and puts the one that is best on dev into the model.

    Args:
        grid: field of `Point` -> values; every combination is tried.
        folder: where the rows are kept; those of an earlier, interrupted search are used.

    Raises:
        UserError: for values that cannot be.
    """
    # For its check of the values; pictures have vectors of one kind only.
    head_search.grid(**grid)
    combinations = itertools.product(*grid.values())
    points = [Point(POOLING, **dict(zip(grid, choice, strict=True))) for choice in combinations]
    data = head_search.SearchData(
        train={POOLING: vectors_of(loaded, train, cache=cache)},
        dev={POOLING: vectors_of(loaded, dev, cache=cache)},
        train_targets=targets(train, loaded.settings),
        dev_targets=targets(dev, loaded.settings),
        n_classes=len(loaded.settings.labels),
        seed=seed,
    )
    rows: list[JsonObject] = [dict(row) for row in head_search.search(data, points, folder)]
    best = head_search.best_row(rows, "macro_f1")
    point = head_search.point_of(best)
    heads = head_search.refit(data.train[POOLING], data.train_targets, point, data)
    head = head_of(loaded.model)
    with torch.no_grad():
        head.weight.copy_(heads.out[0][0].T)
        head.bias.copy_(heads.out[1][0, 0])
    return FoundHead(asdict(point) | best, rows)
