"""JSON lines, the project's own form: `id`, `text` or `features`, `pair`, `spans` or `label`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.corpora.convert.content import Content, Losses, span_row
from pipelines.corpora.images.paths import relative_to
from pipelines.corpora.writing import write_jsonl
from pipelines.examples import Example, JsonObject, Steps


def write(path: Path, content: Content, losses: Losses) -> None:
    """Writes an object for each example."""
    rows = [
        json_row(example, content.scores.get(example.id), folder=path.parent)
        for example in content.examples
    ]
    write_jsonl(path, rows)


def json_row(
    example: Example, scores: Mapping[str, float] | None = None, *, folder: Path | None = None
) -> JsonObject:
    """The object of one line; an unlabelled example has neither `spans` nor `label`.

    Args:
        folder: of the file; the path of a picture is written from there on.
    """
    row: JsonObject = {"id": example.id, "text": example.text}
    if isinstance(example.features, str):
        row = {"id": example.id, "image": relative_to(example.features, folder or Path())}
    elif isinstance(example.features, Steps):
        row = {"id": example.id, "features": _numbers(example.features)}
    if example.pair is not None:
        row["pair"] = example.pair
    if example.spans is not None:
        row["spans"] = [span_row(span) for span in example.spans]
    if example.label is not None:
        row["label"] = list(example.label) if isinstance(example.label, tuple) else example.label
    if scores is not None:
        row["scores"] = dict(scores)
    return row


def _numbers(steps: Steps) -> list[list[float]]:
    """The numbers (T, D) as the shortest decimals that are read as the same float32."""
    values = np.frombuffer(steps.values, "<f4")  # (T · D,)
    shortest = np.array([float(str(value)) for value in values])
    return shortest.reshape(-1, steps.width).tolist()  # (T, D)
