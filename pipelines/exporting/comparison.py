"""Two models on the same examples: their scores, how many answers are equal, and their speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from pipelines.evaluation.tasks import Task, metric_name
from pipelines.examples import Example, JsonObject, Prediction, joined_by_id
from pipelines.formatting import score, seconds, size, text_table

TOLERANCE = 0.003  # of the primary metric: 0.3 points
WARM_UP = 8  # texts that are answered before time is taken


class Measured(NamedTuple):
    """What a model answered, and how long that took."""

    predictions: list[Prediction]
    seconds: float


def measure(
    family: ModuleType, loaded: Any, examples: Sequence[Example], *, progress: bool
) -> Measured:
    """Answers all examples; loading and the first answers do not count."""
    family.predict(loaded, examples[:WARM_UP], progress=False)
    start = time.perf_counter()
    predictions = family.predict(loaded, examples, progress=progress)
    return Measured(predictions, time.perf_counter() - start)


def rows_of(
    task: Task,
    examples: Sequence[Example],
    measured: Sequence[Measured],
    *,
    names: Sequence[str],
    sizes: Sequence[int],
) -> list[JsonObject]:
    """A row for each model, the one to compare with first.

    Args:
        names: of the models.
        sizes: bytes of each on disk.
    """
    reference = measured[0].predictions
    rows: list[JsonObject] = []
    for name, each, number_of_bytes in zip(names, measured, sizes, strict=True):
        pairs = joined_by_id(examples, each.predictions)
        rows.append(
            {
                "name": name,
                "score": float(task.statistic(task.counts(pairs).sum(0))),
                "equal": equal_share(reference, each.predictions),
                "seconds_per_text": each.seconds / len(examples),
                "bytes": number_of_bytes,
            }
        )
    return rows


def equal_share(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The share of examples with the same answer, whatever its score; both in the same order."""
    equal = sum(answer(a) == answer(b) for a, b in zip(left, right, strict=True))
    return equal / max(len(left), 1)


def answer(prediction: Prediction) -> object:
    """What is predicted, without probabilities."""
    if prediction.spans is not None:
        return {(span.start, span.end, span.label) for span in prediction.spans}
    return prediction.label


def table(comparison: JsonObject) -> list[str]:
    """The lines of the comparison in `export.json`, for a terminal."""
    head = ["model", metric_name(comparison["metric"]), "equal answers", "a text", "on disk"]
    rows = [
        [
            row["name"],
            score(row["score"]),
            f"{100 * row['equal']:.1f} %",
            seconds(row["seconds_per_text"]),
            size(row["bytes"]),
        ]
        for row in comparison["models"]
    ]
    return text_table(head, rows)
