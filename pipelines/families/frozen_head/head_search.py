"""A grid of heads on frozen features: trained in stacks, scored on dev, kept on disk or in a study stack by stack."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluation.classification import accuracy, class_report, matthews
from pipelines.evaluation.span_scores import averages, precision_recall_f1
from pipelines.examples import replacing
from pipelines.families.frozen_head import Heads, Point, features, train_heads

OBJECTIVES = ("macro_f1", "accuracy", "micro_f1", "weighted_f1", "matthews")
STACK = 64  # heads at a time; a quarter of it where they have a hidden layer
VERSION = 2
CUTS = 200


@dataclass(frozen=True, slots=True)
class SearchData:
    """What all points of a grid see.

    Attributes:
        train, dev: pooling -> float32 of shape (N, H), or (N, T, H) for `token`.
        train_targets, dev_targets: class numbers, or rows of 0.0 and 1.0 where a text may have several classes.
        n_classes: of the scores.
        activation: behind a hidden layer.
        batch_size: texts of a step.
        seed: of the first weights, the order of the texts, and dropout.
        objective: one of `OBJECTIVES`.
        tune: whether each point's thresholds are tuned on what it is scored on.
        folds: numbers of the texts of train and dev together, in parts: a point is scored on all of them, each part by
            a head trained on the others. Empty: on dev.
        origin: a name of what the vectors are made of, such as `features.origin`. Without one their bytes stand for
            it, which differ between machines.
    """

    train: Mapping[str, np.ndarray]
    dev: Mapping[str, np.ndarray]
    train_targets: Sequence[Any]
    dev_targets: Sequence[Any]
    n_classes: int
    activation: str = "tanh"
    batch_size: int = 64
    seed: int = 0
    objective: str = "macro_f1"
    tune: bool = False
    folds: Sequence[Sequence[int]] = ()
    origin: str = ""

    def key(self) -> str:
        """A hash of all of it: results of another search are never taken for this one's."""
        digest = hashlib.sha256(json.dumps([
            VERSION, self.train_targets, self.dev_targets, self.n_classes, self.activation, self.batch_size, self.seed,
            self.objective, self.tune, self.folds, sorted(self.train), self.origin]).encode())
        if not self.origin:
            for vectors in (self.train, self.dev):
                for pooling in sorted(vectors):
                    digest.update(pooling.encode() + np.ascontiguousarray(vectors[pooling]).tobytes())
        return digest.hexdigest()[:24]


def grid(**values: Sequence[Any]) -> list[Point]:
    """All combinations of the values of `Point`'s fields, points of one shape together.

    Raises:
        UserError: for a value that a field cannot have.
    """
    values = {name: list(dict.fromkeys(given)) for name, given in values.items()}
    least = {"learning_rate": 0.0, "weight_decay": 0.0, "dropout": 0.0, "hidden_layer": 0, "epochs": 1}
    wrong = [f"{name} {value}" for name, low in least.items() for value in values.get(name, ()) if not low <= value]
    wrong += [f"dropout {value}" for value in values.get("dropout", ()) if value >= 1]
    wrong += [f"class_weight {value}" for value in values.get("class_weight", ()) if value not in ("none", "balanced")]
    wrong += [f"pooling {value}" for value in values.get("pooling", ()) if value not in features.POOLINGS]
    if wrong:
        attention = any("attention" in fault for fault in wrong)
        raise UserError(f"the grid cannot hold {', '.join(wrong)}; wanted pooling {', '.join(features.POOLINGS)}, "
                        "class_weight none or balanced, dropout below 1, epochs from 1, and no negative number" +
                        ("; attention is learnt with the head: take finetune_classifier.py --tune head "
                         "--pooling attention" if attention else ""))
    points = [Point(**dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())]
    return sorted(points, key=lambda point: (point.pooling, point.hidden_layer))


def stacks(points: Sequence[Point], size: int = STACK) -> list[list[Point]]:
    """Points of one shape together, as many as are trained at once."""
    found = []
    for (_, hidden), group in itertools.groupby(points, key=lambda point: (point.pooling, point.hidden_layer)):
        members = list(group)
        room = max(1, size // 4) if hidden else size
        found += [members[start:start + room] for start in range(0, len(members), room)]
    return found


def train_and_score(data: SearchData, points: Sequence[Point], *, progress: bool = False) -> list[dict[str, Any]]:
    """One row a point: its fields, its scores, and its thresholds (`offsets`) where they are tuned."""
    rows = []
    of_points, targets = held_out_scores(data, points, progress=progress)
    for point, logits in zip(points, of_points, strict=True):
        offsets = tune_offsets(logits, targets, data.objective) if data.tune else None
        row = asdict(point) | scores(logits, targets, offsets)
        if offsets is not None:
            row["untuned_macro_f1"] = scores(logits, targets, None)["macro_f1"]
            row["offsets"] = offsets.tolist()
        rows.append(row)
    return rows


def held_out_scores(data: SearchData, points: Sequence[Point], *, progress: bool = False
                    ) -> tuple[np.ndarray, np.ndarray]:
    """Scores (P, N, C) of texts by heads that have not seen them, and what these texts are: dev, or all by folds."""
    pooling = points[0].pooling
    options: dict[str, Any] = {"n_classes": data.n_classes, "activation": data.activation, "seed": data.seed,
                               "batch_size": data.batch_size, "progress": progress}
    if not data.folds:
        heads = train_heads(data.train[pooling], data.train_targets, points, **options)
        return heads.scores(data.dev[pooling]), np.array(data.dev_targets)
    vectors = np.concatenate([data.train[pooling], data.dev[pooling]])
    targets = np.array([*data.train_targets, *data.dev_targets])
    found = np.empty((len(points), len(vectors), data.n_classes), np.float32)
    for fold in data.folds:
        others = np.setdiff1d(np.arange(len(vectors)), fold)
        found[:, fold] = train_heads(vectors[others], targets[others].tolist(), points, **options).scores(vectors[fold])
    return found, targets


def search(data: SearchData, points: Sequence[Point], folder: Path, *, progress: bool = True,
           told: Callable[[str], object] = print) -> list[dict[str, Any]]:
    """Trains and scores all points; each stack's rows are kept in the folder as soon as they are there.

    Returns:
        The rows in the order of the points, those of an earlier, unfinished search among them.
    """
    rows: list[dict[str, Any]] = []
    key, found = data.key(), 0
    for stack in stacks(points):
        asked = json.dumps([key, [asdict(point) for point in stack]])
        file = folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            found += len(kept)
        except (OSError, ValueError):
            kept = train_and_score(data, stack, progress=progress)
            with replacing(file) as f:
                json.dump(kept, f)
        rows += kept
    if found:
        told(f"{found} of {len(points)} points were there from an earlier search")
    return rows


def best_row(rows: Iterable[dict[str, Any]], objective: str) -> dict[str, Any]:
    """The row with the highest objective; of several the first."""
    return max(rows, key=lambda row: row[objective])


def point_of(row: Mapping[str, Any]) -> Point:
    return Point(**{name: row[name] for name in Point.__slots__})


def refit(features: np.ndarray, targets: Sequence[Any], point: Point, data: SearchData) -> Heads:
    """Trains one head on more texts, with all else as it was in the search."""
    return train_heads(features, targets, [point], n_classes=data.n_classes, activation=data.activation,
                       batch_size=data.batch_size, seed=data.seed)


def scores(logits: np.ndarray, targets: np.ndarray, offsets: np.ndarray | None) -> dict[str, float]:
    """`OBJECTIVES` of the decisions from scores (N, C), against class numbers (N,) or sets (N, C)."""
    moved = logits if offsets is None else logits + offsets
    classes = list(map(str, range(logits.shape[1])))
    if targets.ndim == 2:
        gold, given = targets > 0, moved > 0
        per_class = {label: precision_recall_f1((gold & given)[:, i].sum(), gold[:, i].sum(), given[:, i].sum())
                     for i, label in enumerate(classes)}
        micro = precision_recall_f1((gold & given).sum(), gold.sum(), given.sum())
        report: dict[str, Any] = {"micro": micro} | averages(per_class)
        right, correlation = float((gold == given).all(1).mean()), float(np.mean([
            matthews(_confusion(gold[:, i].astype(int), given[:, i].astype(int), 2)) for i in range(len(classes))]))
    else:
        matrix = _confusion(targets, moved.argmax(1), len(classes))
        # A class that neither gold nor answers have is no class of this text collection.
        there = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
        matrix = matrix[np.ix_(there, there)]
        report = class_report(matrix, [classes[i] for i in there])
        right, correlation = accuracy(matrix), matthews(matrix)
    return {"macro_f1": report["macro"]["f1"], "accuracy": right, "micro_f1": report["micro"]["f1"],
            "weighted_f1": report["weighted"]["f1"], "matthews": correlation}


def _confusion(gold: np.ndarray, given: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(gold * size + given, minlength=size * size).reshape(size, size)


def tune_offsets(logits: np.ndarray, targets: np.ndarray, objective: str) -> np.ndarray:
    """What to add to each class's score so that the objective is highest on these texts; (C,).

    One class after the other, until no cut between two texts gains anything; two classes are one threshold, and where
    a text may have several classes each has its own.
    """
    offsets = np.zeros(logits.shape[1], dtype=np.float64)
    several = targets.ndim == 2
    best = scores(logits, targets, offsets)[objective]
    for _ in range(1 if several or len(offsets) == 2 else 3):
        before = best
        for number in range(len(offsets) - (not several and len(offsets) == 2)):
            rest = 0.0 if several else np.delete(logits + offsets, number, axis=1).max(axis=1)
            for cut in _cuts(rest - logits[:, number]):
                tried = offsets.copy()
                tried[number] = cut
                gained = scores(logits, targets, tried)[objective]
                if gained > best + 1e-12:
                    best, offsets = gained, tried
        if best <= before:
            break
    return offsets


def _cuts(values: np.ndarray) -> np.ndarray:
    """Midpoints between neighbouring values, at most `CUTS` of them, evenly spread."""
    ordered = np.unique(values)
    middle = (ordered[1:] + ordered[:-1]) / 2
    return middle[np.unique(np.linspace(0, len(middle) - 1, min(CUTS, len(middle))).astype(int))] if len(middle) else \
        ordered
