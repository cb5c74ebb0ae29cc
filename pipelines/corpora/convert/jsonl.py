"""JSON lines, the project's own form: `id`, `text` or `features`, `pair`, `spans` or `label`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipelines.corpora.convert.content import Content, Losses, span_row
from pipelines.examples import Example, JsonObject, Steps, write_jsonl


def write(path: Path, content: Content, losses: Losses) -> None:
    """Writes an object for each example."""
    rows = (json_row(example, content.scores.get(example.id)) for example in content.examples)
    write_jsonl(path, rows)


def json_row(example: Example, scores: Mapping[str, float] | None = None) -> JsonObject:
    """The object of one line; an unlabelled example has neither `spans` nor `label`."""
    row: JsonObject = {"id": example.id, "text": example.text}
    if isinstance(example.features, Steps):
        values = np.frombuffer(example.features.values, "<f4")  # (T · D,)
        # The shortest decimals that are read as the same float32.
        shortest = np.array([float(str(value)) for value in values])
        steps = shortest.reshape(-1, example.features.width)  # (T, D)
        row = {"id": example.id, "features": steps.tolist()}
    if example.pair is not None:
        row["pair"] = example.pair
    if example.spans is not None:
        row["spans"] = [span_row(span) for span in example.spans]
    if example.label is not None:
        row["label"] = list(example.label) if isinstance(example.label, tuple) else example.label
    if scores is not None:
        row["scores"] = dict(scores)
    return row
