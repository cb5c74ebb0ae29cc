"""JSON lines, the project's own form: `id`, `text`, `pair`, and `spans` or `label` a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.corpora.convert.content import Content, Losses, span_row
from pipelines.corpora.images.paths import relative_to
from pipelines.examples import Example, JsonObject, write_jsonl


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
    if isinstance(example.features, str):
        path = relative_to(example.features, folder or Path())
        row: JsonObject = {"id": example.id, "image": path}
    else:
        row = {"id": example.id, "text": example.text}
    if example.pair is not None:
        row["pair"] = example.pair
    if example.spans is not None:
        row["spans"] = [span_row(span) for span in example.spans]
    if example.label is not None:
        row["label"] = list(example.label) if isinstance(example.label, tuple) else example.label
    if scores is not None:
        row["scores"] = dict(scores)
    return row
