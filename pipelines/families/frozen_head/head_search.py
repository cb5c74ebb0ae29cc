"""A grid of heads on frozen features, trained in stacks; results are kept stack by stack."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.thresholds import decision_scores, tune_offsets
from pipelines.examples import Fields, JsonObject
from pipelines.families.frozen_head import Heads, Point, features, train_heads

STACK = 64  # heads at a time; a quarter of it where they have a hidden layer
VERSION = 2
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchData:
    """What all points of a grid share.

    Attributes:
        train, dev: pooling -> float32 of shape (N, H), or (N, T, H) for `token`.
        train_targets, dev_targets: class indices, or rows of 0.0 and 1.0 where a text may have
            several classes.
        activation: after a hidden layer.
        batch_size: texts of a step.
        seed: of the first weights, the order of the texts, and dropout.
        objective: one of `thresholds.OBJECTIVES`.
        tune: whether the thresholds of each point are tuned on the texts that it is scored on.
        folds: indices of the texts of train and dev together, in parts: a point is scored on all
            texts, each part by a head trained on the others. Empty: on dev.
        origin: identifies encoder and texts, such as `features.origin`. By default the bytes of
            the vectors do, which differ between machines.
    """

    train: Mapping[str, np.ndarray]
    dev: Mapping[str, np.ndarray]
    train_targets: Sequence[object]
    dev_targets: Sequence[object]
    n_classes: int
    activation: str = "tanh"
    batch_size: int = 64
    seed: int = 0
    objective: str = "macro_f1"
    tune: bool = False
    folds: Sequence[Sequence[int]] = ()
    origin: str = ""

    def key(self) -> str:
        """A hash of all of it, so that results of another search are never taken for these."""
        content = [
            VERSION,
            self.train_targets,
            self.dev_targets,
            self.n_classes,
            self.activation,
            self.batch_size,
            self.seed,
            self.objective,
            self.tune,
            self.folds,
            sorted(self.train),
            self.origin,
        ]
        digest = hashlib.sha256(json.dumps(content).encode())
        if self.origin:
            return digest.hexdigest()[:24]
        for vectors in (self.train, self.dev):
            for pooling in sorted(vectors):
                digest.update(pooling.encode())
                digest.update(np.ascontiguousarray(vectors[pooling]).tobytes())
        return digest.hexdigest()[:24]


def grid(**values: Sequence[Any]) -> list[Point]:
    """All combinations of the values of `Point`'s fields, points of one shape together.

    Raises:
        UserError: for values that a field cannot have.
    """
    values = {name: list(dict.fromkeys(choices)) for name, choices in values.items()}
    faults = [
        f"{name} {value}"
        for name, choices in values.items()
        for value in choices
        if not _is_possible(name, value)
    ]
    if faults:
        advice = ""
        if "pooling attention" in faults:
            advice = (
                "; attention is trained with the head: take finetune_classifier.py --tune head "
                "--pooling attention"
            )
        raise UserError(
            f"the grid cannot hold {', '.join(faults)}; wanted pooling "
            f"{', '.join(features.POOLINGS)}, class_weight none or balanced, dropout below 1, "
            f"epochs from 1, and no negative number{advice}"
        )
    combinations = itertools.product(*values.values())
    points = [Point(**dict(zip(values, choice, strict=True))) for choice in combinations]
    return sorted(points, key=shape_of)


def _is_possible(name: str, value: Any) -> bool:
    if name == "pooling":
        return value in features.POOLINGS
    if name == "class_weight":
        return value in ("none", "balanced")
    if name == "dropout":
        return 0 <= value < 1
    return value >= (1 if name == "epochs" else 0)


def shape_of(point: Point) -> tuple[str, int]:
    """Pooling and width of the hidden layer: points alike in both are stacked."""
    return point.pooling, point.hidden_layer


def stacks(points: Sequence[Point], size: int = STACK) -> list[list[Point]]:
    """Points in order of shape, in parts of one shape that are trained at once."""
    parts: list[list[Point]] = []
    for (_, hidden), group in itertools.groupby(points, key=shape_of):
        of_shape = list(group)
        most = max(1, size // 4) if hidden else size
        parts += [of_shape[start : start + most] for start in range(0, len(of_shape), most)]
    return parts


def train_and_score(
    data: SearchData, points: Sequence[Point], *, progress: bool = False
) -> list[dict[str, object]]:
    """Trains and scores points of one shape.

    Returns:
        One row for each point: its fields, its scores, and its thresholds (`offsets`) where they
        are tuned.
    """
    rows = []
    logits_of_points, targets = held_out_scores(data, points, progress=progress)
    for point, logits in zip(points, logits_of_points, strict=True):
        offsets = tune_offsets(logits, targets, data.objective) if data.tune else None
        row = asdict(point) | decision_scores(logits, targets, offsets)
        if offsets is not None:
            row["untuned_macro_f1"] = decision_scores(logits, targets)["macro_f1"]
            row["offsets"] = offsets.tolist()
        rows.append(row)
    return rows


def held_out_scores(
    data: SearchData, points: Sequence[Point], *, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (P, N, C) of texts from heads that were not trained on them, and their targets.

    The texts are those of dev, or with folds all of train and dev.
    """
    pooling = points[0].pooling
    options: JsonObject = {
        "n_classes": data.n_classes,
        "activation": data.activation,
        "seed": data.seed,
        "batch_size": data.batch_size,
        "progress": progress,
    }
    if not data.folds:
        heads = train_heads(data.train[pooling], data.train_targets, points, **options)
        return heads.scores(data.dev[pooling]), np.array(data.dev_targets)
    vectors = np.concatenate([data.train[pooling], data.dev[pooling]])
    targets = np.array([*data.train_targets, *data.dev_targets])
    logits = np.empty((len(points), len(vectors), data.n_classes), np.float32)
    for fold in data.folds:
        others = np.setdiff1d(np.arange(len(vectors)), fold)
        heads = train_heads(vectors[others], targets[others].tolist(), points, **options)
        logits[:, fold] = heads.scores(vectors[fold])
    return logits, targets


def search(
    data: SearchData, points: Sequence[Point], folder: Path, *, progress: bool = True
) -> list[dict[str, object]]:
    """Trains and scores all points; the rows of each stack are written as soon as it is trained.

    Args:
        folder: where the rows are kept; those of an earlier, interrupted search are used.

    Returns:
        The rows in the order of the points.
    """
    rows: list[dict[str, object]] = []
    key, known = data.key(), 0
    for stack in stacks(points):
        content = json.dumps([key, [asdict(point) for point in stack]])
        file = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.json"
        try:
            of_stack = json.loads(file.read_text(encoding="utf-8"))
            known += len(of_stack)
        except (OSError, ValueError):
            of_stack = train_and_score(data, stack, progress=progress)
            with replacing(file) as f:
                json.dump(of_stack, f)
        rows += of_stack
    if known:
        logger.info("%d of %d points are there from an earlier search", known, len(points))
    return rows


def best_row(rows: Iterable[JsonObject], objective: str) -> JsonObject:
    """The row with the highest objective; of several the first."""
    return max(rows, key=lambda row: row[objective])


def point_of(row: Fields) -> Point:
    """The point that a row is of."""
    return Point(**{name: row[name] for name in Point.__slots__})


def refit(features: np.ndarray, targets: Sequence[object], point: Point, data: SearchData) -> Heads:
    """Trains one head on more texts, with all else as in the search."""
    return train_heads(
        features,
        targets,
        [point],
        n_classes=data.n_classes,
        activation=data.activation,
        batch_size=data.batch_size,
        seed=data.seed,
    )
